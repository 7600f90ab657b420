"""What certificates are made of: single checks, their limits, and the task's metric through an engine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from appkit.errors import AppkitError

if TYPE_CHECKING:
    from appkit.config import RunConfig
    from appkit.data.rows import Record
    from appkit.task import Prediction, Task

__all__ = ["FP32_LIMIT", "NOISE", "SHARE", "Check", "metric_check"]

FP32_LIMIT = 1e-4
"""nats, the largest difference of a log-probability that two fp32 computations may have"""
NOISE = 2.0
"""bf16: mean |engine - reference| in multiples of the training side's own bf16 noise"""
SHARE = 0.1
"""bf16: mean |engine - reference| as a share of mean |adapter - base|"""


@dataclass(frozen=True)
class Check:
    """One comparison; figure: what was found, in words. passed None: it could not be made, and figure says why."""

    name: str
    passed: bool | None
    figure: str


async def metric_check(
    task: Task,
    config: RunConfig,
    manifest: Mapping[str, Any],
    rows: int | None,
    answered: Callable[[Sequence[Record]], Awaitable[list[Prediction]]],
) -> Check:
    """The primary metric of what an engine answers to the test rows: what was recorded must lie in its interval.

    Of fewer rows than were recorded it is told only: other rows have other scores.
    """
    from appkit.data.rows import fingerprint
    from appkit.data.splits import subset
    from appkit.evaluation.scores import score
    from appkit.rag.rows import load_rows

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
    chosen = subset(records, rows) if rows else records
    found = score(task, chosen, await answered(chosen), 1000)[task.primary].interval
    recorded = manifest["metrics"]["adapter"]["metrics"][task.primary]["value"]
    fits = found.low - 1e-9 <= recorded <= found.high + 1e-9 if len(chosen) == len(records) else None
    figure = f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}] on {len(chosen)} rows, recorded {recorded:.3f}"
    return Check(name, fits, figure)
