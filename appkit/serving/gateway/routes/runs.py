"""Trains from elsewhere, for admin keys: takes words and rows, checks them, shows the curve and the bundle."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect

from appkit.serving.gateway.body import CheckedRoute
from appkit.serving.gateway.faults import Fault
from appkit.serving.gateway.overrides import list_choices
from appkit.serving.gateway.request import Admin, RunningGateway
from appkit.serving.gateway.trainer import Trainer

__all__ = ["UPLOAD", "router"]

router = APIRouter(prefix="/v1/runs", tags=["admin"], route_class=CheckedRoute)
UPLOAD = re.compile(r"/v1/runs/[^/]+/rows/[^/]+")
"""paths whose bodies may be as large as a file of rows"""


class NewRun(BaseModel):
    model_config = ConfigDict(extra="forbid")

    words: list[Annotated[str, Field(max_length=2000)]] = Field(
        min_length=1, max_length=100, description="KEY=VALUE, as of `appkit train`; none that names a place"
    )


def _require_trainer(gateway: RunningGateway, key: Admin) -> Trainer:
    """Returns the gateway's trainer. Raises Fault 409 where there is no directory for runs."""
    if gateway.trainer is None:
        raise Fault(409, "runs need a place below the bundle root; start the gateway with --bundles DIR")
    return gateway.trainer


Runs = Annotated[Trainer, Depends(_require_trainer)]


@router.get("")
async def list_runs(trainer: Runs) -> dict[str, Any]:
    """List runs, newest first, and what can be chosen: tasks, models on this machine, methods, presets."""
    choices = await asyncio.to_thread(list_choices)
    return choices | {
        "runs": trainer.lines(),
        "running": trainer.running,
    }


@router.post("", status_code=201)
async def create_run(new_run: NewRun, trainer: Runs) -> dict[str, Any]:
    """Make a run of these words; next come its rows, unless the task ships some, and the check."""
    return trainer.line(await asyncio.to_thread(trainer.new, new_run.words))


@router.put("/{run}/rows/{split}")
async def upload_rows(
    run: str,
    split: Literal["train", "dev", "test"],
    request: Request,
    trainer: Runs,
    kind: Annotated[
        str, Query(max_length=20, description="suffix of the file, such as .csv or .csv.gz")
    ] = ".jsonl",
) -> dict[str, Any]:
    """Store the body, byte for byte, as a file of rows of the run, under a name that the gateway chooses."""
    try:
        await trainer.put(run, split, kind.lower(), request.stream())
    except ClientDisconnect:
        raise Fault(499, "the client hung up") from None
    return trainer.line(run)


@router.post("/{run}/check")
async def check_run(run: str, trainer: Runs) -> dict[str, Any]:
    """Check the data as `appkit data check` does; `ok`: the run may be started. 100 findings of a kind at most."""
    return await trainer.check(run)


@router.post("/{run}/start")
async def start_run(run: str, trainer: Runs) -> dict[str, Any]:
    """Train a run whose check passed, or go on with one that was stopped or failed. 409 while another is trained."""
    await trainer.start(run)
    return trainer.line(run)


@router.post("/{run}/stop")
async def stop_run(run: str, trainer: Runs) -> dict[str, Any]:
    """Stop a run as ctrl-C does: it ends its step, saves, and can go on later. A second call ends it at once."""
    await trainer.stop(run)
    return trainer.line(run)


@router.get("/{run}")
async def show_run(
    run: str,
    trainer: Runs,
    gateway: RunningGateway,
    after: Annotated[int, Query(ge=0, description="points behind this step")] = 0,
) -> dict[str, Any]:
    """Show phase, progress, last lines and curve; of a finished run verdict, scores and path for POST /v1/bundles."""
    bundle = trainer.folder(run) / "bundle"
    served = [
        target.ref
        for target in gateway.registry.versions.values()
        if target.deployment and target.deployment.path == bundle
    ]
    return await trainer.show(run, after) | {"served": served[0] if served else None}
