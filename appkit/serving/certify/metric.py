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
from appkit.stats.intervals import Interval
from appkit.task import Prediction

__all__ = ["check_metric"]

AT_ONCE = 64
"""rows that an engine answers side by side"""


async def check_metric(deployment: Deployment, engine: Engine, adapter: str, rows: int | None) -> Check:
    """Measures the primary metric of an engine's answers; the recorded value must lie in its interval.

    On fewer rows than were recorded it is only reported: other rows have other scores. So it is where training recorded
    no value; an engine whose answers have none where training's had fails.
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
    # a metric that could score no row has no entry
    recorded = manifest["metrics"].get("adapter", {}).get("metrics", {}).get(task.primary)
    return _compare(name, interval, recorded and recorded["value"], len(chosen_records), len(records))


def _compare(name: str, interval: Interval, recorded: float | None, answered: int, rows: int) -> Check:
    """Compares the measured value with the recorded one. answered: rows of the measured one; rows: of the recorded."""
    figure = f"no value on {answered} rows"
    if interval.n:
        figure = f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}] on {answered} rows"
    if recorded is None:
        return Check(name, None, f"{figure}, no value was recorded")
    fits = interval.n > 0 and interval.low - 1e-9 <= recorded <= interval.high + 1e-9
    return Check(name, fits if answered == rows else None, f"{figure}, recorded {recorded:.3f}")
