"""Measures the task's own metric through an engine."""

from __future__ import annotations

import asyncio

from appkit.data.rows import Record, fingerprint
from appkit.data.splits import subset
from appkit.errors import AppkitError
from appkit.evaluation.scores import score
from appkit.heads.checks import Check
from appkit.heads.head import Wishes
from appkit.rag.rows import load_rows
from appkit.serving.deployment import Deployment
from appkit.serving.engines.protocol import Engine
from appkit.task import Prediction

__all__ = ["check_metric"]

AT_ONCE = 64
"""rows that an engine answers side by side"""


async def check_metric(deployment: Deployment, engine: Engine, adapter: str, rows: int | None) -> Check:
    """Measures the primary metric of an engine's answers; the recorded value must lie in its interval.

    On fewer rows than were recorded it is only reported: other rows have other scores.
    """
    manifest, task, config = deployment.manifest, deployment.task, deployment.config
    name = f"metric {task.primary}"
    if rows == 0:
        return Check(name, None, "left out (rows=0)")
    try:
        splits, documents = load_rows(task, config)
    except AppkitError as error:
        return Check(name, None, f"not measured, the test rows are not here: {error}")
    if documents != manifest["data"].get("documents"):
        return Check(name, None, "not measured, the documents are not those of the bundle")
    records = subset(splits.test, config.eval.rows) if config.eval.rows else list(splits.test)
    if fingerprint(records) != manifest["data"]["test"]:
        return Check(name, None, "not measured, the test rows are not those of the bundle")
    chosen_records = subset(records, rows) if rows else records
    head = deployment.head
    limit = asyncio.Semaphore(AT_ONCE)

    async def answer(record: Record) -> Prediction:
        async with limit:
            reply = await head.ask(engine, adapter, head.question(record.value, Wishes()))
        return reply.prediction

    predictions = await asyncio.gather(*map(answer, chosen_records))
    interval = score(task, chosen_records, predictions, 1000)[task.primary].interval
    recorded = manifest["metrics"]["adapter"]["metrics"][task.primary]["value"]
    fits = (
        interval.low - 1e-9 <= recorded <= interval.high + 1e-9
        if len(chosen_records) == len(records)
        else None
    )
    figure = (
        f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}] on {len(chosen_records)} rows, "
        f"recorded {recorded:.3f}"
    )
    return Check(name, fits, figure)
