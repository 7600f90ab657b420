"""The task's own metric through an engine."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from appkit.serving.certify.checks import Check, metric_check
from appkit.serving.deployment import Subject
from appkit.serving.engines.protocol import Engine, Job

if TYPE_CHECKING:
    from appkit.data.rows import Record

__all__: list[str] = []


async def continuations(
    engine: Engine, prompts: Sequence[Sequence[int]], stop: frozenset[int], cap: int
) -> list[tuple[int, ...]]:
    """Greedy answers of the subject, without the token that ended them."""
    jobs = [Job("subject", tuple(prompt), cap, stop) for prompt in prompts]
    return [piece.tokens for piece in await asyncio.gather(*map(engine.complete, jobs))]


async def words_metric(
    subject: Subject, engine: Engine, stop: frozenset[int], cap: int, rows: int | None
) -> Check:
    """The task's own metric through the engine."""
    from appkit.models.generate import cut_loop
    from appkit.task import Prediction

    task, config = subject.task, subject.config

    async def answered(records: Sequence[Record]) -> list[Prediction]:
        prompts = [subject.chat.prompt(task.prompt(record.value, config.task)) for record in records]
        predictions = []
        for tokens in await continuations(engine, prompts, stop, cap):
            kept = cut_loop(tokens, config.decoding.loop)
            text = subject.chat.decode(kept).strip()
            predictions.append(
                Prediction(text, task.parse(text), len(kept), len(kept) >= cap or len(kept) < len(tokens))
            )
        return predictions

    return await metric_check(task, config, subject.manifest, rows, answered)
