"""Bundles and aliases while the gateway runs, for admin keys: no restart, no dropped request."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from appkit.bundles.manifest import below_root
from appkit.errors import BundleError
from appkit.serving.gateway.faults import Fault
from appkit.serving.gateway.registry import Target
from appkit.serving.gateway.request import Admin, One

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["admin"])


class NewBundle(BaseModel):
    model_config = ConfigDict(extra="forbid")

    path: str = Field(min_length=1, max_length=512, description="its directory below the bundle root")
    alias: str | None = Field(
        None, max_length=64, description="to point to it; none: its own name, if that is free"
    )


class Pointed(BaseModel):
    model_config = ConfigDict(extra="forbid")

    bundle: str = Field(min_length=1, max_length=256, description="name@sha of a version that is served")
    share: float = Field(1.0, gt=0, le=1, description="of the alias's requests; below 1 it is the canary")


@router.get("/bundles")
async def bundles(one: One, key: Admin) -> dict[str, Any]:
    """Versions, aliases, what is being loaded and what was refused, with the reason."""
    return {
        "bundles": [_shown(target) for target in one.registry.versions.values()],
        "aliases": {name: asdict(alias) for name, alias in one.registry.aliases.items()},
        "starting": one.starting,
        "refused": one.refused,
    }


@router.post("/bundles", status_code=201)
async def add(asked: NewBundle, one: One, key: Admin) -> dict[str, Any]:
    """Check a bundle, load it and serve it. 409 when a ceiling stands against it, 422 when it is not sound."""
    if one.root is None:
        raise Fault(409, "no bundle root; start the gateway with --bundles DIR")
    path = below_root(one.root, asked.path)
    try:
        target = await one.registry.add(path, asked.alias)
    except BundleError as error:  # where the root lies is nothing to tell
        raise BundleError(str(error).replace(f"{one.root}/", "")) from None
    one.refused = {given: why for given, why in one.refused.items() if Path(given).resolve() != path}
    return _shown(target)


@router.delete("/bundles/{ref}")
async def remove(ref: str, one: One, key: Admin) -> dict[str, Any]:
    """Stop serving a version: answered once the last request that uses it has ended. Its directory stays."""
    return _shown(await one.registry.remove(ref))


@router.put("/aliases/{alias}")
async def point(alias: str, asked: Pointed, one: One, key: Admin) -> dict[str, Any]:
    """Move an alias, or give a share of its requests to a canary."""
    return asdict(one.registry.point(alias, asked.bundle, asked.share))


@router.post("/aliases/{alias}/rollback")
async def rollback(alias: str, one: One, key: Admin) -> dict[str, Any]:
    """Withdraw the canary; without one, go back to the version before."""
    return asdict(one.registry.rollback(alias))


@router.delete("/aliases/{alias}")
async def unpoint(alias: str, one: One, key: Admin) -> dict[str, Any]:
    """Delete an alias; its version stays."""
    one.registry.unpoint(alias)
    return {"deleted": alias}


def _shown(target: Target) -> dict[str, Any]:
    deployment = target.deployment
    if deployment is None:
        raise BundleError(f"{target.ref} is a base")
    return {
        "bundle": target.ref,
        "sha": deployment.sha,
        "task": deployment.task.name,
        "base": deployment.base_name,
        "dtype": deployment.dtype,
        "rank": deployment.manifest["exported"].get("rank"),
        "running": target.running,
        "certificate": deployment.certificate and deployment.certificate["made_at"],
        "metrics": deployment.manifest.get("metrics"),
    }
