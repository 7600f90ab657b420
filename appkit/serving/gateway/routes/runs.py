"""Training from elsewhere, for admin keys: words and rows, their check, a curve that grows, a bundle to serve."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect

from appkit.serving.gateway.faults import Fault
from appkit.serving.gateway.overrides import list_choices
from appkit.serving.gateway.request import Admin, One
from appkit.serving.gateway.trainer import Trainer

__all__ = ["UPLOAD", "router"]

router = APIRouter(prefix="/v1/runs", tags=["admin"])
UPLOAD = re.compile(r"/v1/runs/[^/]+/rows/[^/]+")
"""Paths whose bodies may be as large as a file of rows."""


class NewRun(BaseModel):
    model_config = ConfigDict(extra="forbid")

    words: list[Annotated[str, Field(max_length=2000)]] = Field(
        min_length=1, max_length=100, description="KEY=VALUE, as of `appkit train`; none that names a place"
    )


def _trainer(one: One, key: Admin) -> Trainer:
    """Raises Fault 409 where there is no place for runs."""
    if one.trainer is None:
        raise Fault(409, "runs need a place below the bundle root; start the gateway with --bundles DIR")
    return one.trainer


Runs = Annotated[Trainer, Depends(_trainer)]


@router.get("")
async def runs(trainer: Runs) -> dict[str, Any]:
    """What can be chosen on this machine: tasks, models that are here, methods, presets; its runs, newest first."""
    found = await asyncio.to_thread(list_choices)
    return found | {
        "runs": trainer.lines(),
        "running": trainer.running,
    }


@router.post("", status_code=201)
async def new(asked: NewRun, trainer: Runs) -> dict[str, Any]:
    """A run of these words: next its rows, unless the task ships some, and the check."""
    return trainer.line(await asyncio.to_thread(trainer.new, asked.words))


@router.put("/{run}/rows/{split}")
async def put(
    run: str,
    split: Literal["train", "dev", "test"],
    request: Request,
    trainer: Runs,
    kind: Annotated[str, Query(max_length=20, description="suffix of the file, such as .csv")] = ".jsonl",
) -> dict[str, Any]:
    """A file of rows as the body, byte for byte; kept under a name of the gateway's."""
    try:
        await trainer.put(run, split, kind.lower(), request.stream())
    except ClientDisconnect:
        raise Fault(499, "the client hung up") from None
    return trainer.line(run)


@router.post("/{run}/check")
async def check(run: str, trainer: Runs) -> dict[str, Any]:
    """What `appkit data check` says; `ok`: it may be started. Of each kind of finding the first 100, and a count."""
    return await trainer.check(run)


@router.post("/{run}/start")
async def start(run: str, trainer: Runs) -> dict[str, Any]:
    """Train a run whose check passed, or go on with one that was stopped or failed. 409 while another is trained."""
    await trainer.start(run)
    return trainer.line(run)


@router.post("/{run}/stop")
async def stop(run: str, trainer: Runs) -> dict[str, Any]:
    """As ctrl-C: it ends its step and saves, and can go on later. A second time: at once."""
    await trainer.stop(run)
    return trainer.line(run)


@router.get("/{run}")
async def show(
    run: str,
    trainer: Runs,
    one: One,
    after: Annotated[int, Query(ge=0, description="points behind this step")] = 0,
) -> dict[str, Any]:
    """Phase, progress, last lines, curve; once it is done verdict, scores, and the path for POST /v1/bundles."""
    bundle = trainer.folder(run) / "bundle"
    served = [
        target.ref
        for target in one.registry.versions.values()
        if target.deployment and target.deployment.path == bundle
    ]
    return await trainer.show(run, after) | {"served": served[0] if served else None}
