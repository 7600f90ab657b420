"""Changes bundles and aliases while the gateway runs, for admin keys: no restart, no dropped request."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from appkit.bundles.files import escape
from appkit.bundles.manifest import below_root
from appkit.errors import BundleError
from appkit.serving.gateway.body import CheckedRoute
from appkit.serving.gateway.faults import Fault
from appkit.serving.gateway.registry import Target
from appkit.serving.gateway.request import Admin, RunningGateway

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["admin"], route_class=CheckedRoute)


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
async def list_bundles(gateway: RunningGateway, key: Admin) -> dict[str, Any]:
    """List versions, aliases, what is being loaded, and what was refused with the reason."""
    return {
        "bundles": [_describe(target) for target in gateway.registry.versions.values()],
        "aliases": {name: asdict(alias) for name, alias in gateway.registry.aliases.items()},
        "starting": gateway.starting,
        "refused": gateway.refused,
    }


@router.post("/bundles", status_code=201)
async def add_bundle(bundle: NewBundle, gateway: RunningGateway, key: Admin) -> dict[str, Any]:
    """Check a bundle, load it and serve it. 409 when a ceiling stands against it, 422 when it is not sound."""
    if gateway.root is None:
        raise Fault(409, "no bundle root; start the gateway with --bundles DIR")
    path = below_root(gateway.root, bundle.path)
    try:
        target = await gateway.registry.add(path, bundle.alias)
    except BundleError as error:  # the answer must not name the root's directory
        raise BundleError(escape(str(error).replace(f"{gateway.root}/", ""))) from None
    gateway.refused = {
        directory: why for directory, why in gateway.refused.items() if Path(directory).resolve() != path
    }
    return _describe(target)


@router.delete("/bundles/{ref}")
async def remove_bundle(ref: str, gateway: RunningGateway, key: Admin) -> dict[str, Any]:
    """Stop serving a version; answers once the last request that uses it has ended. Its directory stays."""
    return _describe(await gateway.registry.remove(ref))


@router.put("/aliases/{alias}")
async def point_alias(alias: str, target: Pointed, gateway: RunningGateway, key: Admin) -> dict[str, Any]:
    """Move an alias, or give a share of its requests to a canary."""
    return asdict(gateway.registry.point(alias, target.bundle, target.share))


@router.post("/aliases/{alias}/rollback")
async def roll_back_alias(alias: str, gateway: RunningGateway, key: Admin) -> dict[str, Any]:
    """Withdraw the canary; without one, go back to the version before."""
    return asdict(gateway.registry.rollback(alias))


@router.delete("/aliases/{alias}")
async def delete_alias(alias: str, gateway: RunningGateway, key: Admin) -> dict[str, Any]:
    """Delete an alias; its version stays."""
    gateway.registry.unpoint(alias)
    return {"deleted": alias}


def _describe(target: Target) -> dict[str, Any]:
    deployment = target.deployment
    if deployment is None:
        raise BundleError(f"{target.ref} is a base")
    certificate = deployment.certificate or {}
    return {
        "bundle": target.ref,
        "sha": deployment.sha,
        "task": deployment.task.name,
        "base": deployment.base_name,
        "dtype": deployment.dtype,
        "rank": deployment.manifest["exported"]["rank"],
        "running": target.running,
        "certificate": certificate["made_at"] if certificate.get("sealed") else None,
        # elsewhere: another machine, or nobody, made the certificate that lies in the bundle
        "certified": "here" if certificate.get("sealed") else "elsewhere" if certificate else "no",
        "metrics": deployment.manifest.get("metrics"),
    }
