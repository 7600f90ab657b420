"""Plan says which rows form which step.

It is a pure function of the rows' lengths, the sizes, the seed and the epoch: a resumed run takes the same steps as an
uninterrupted one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Step", "plan", "steps_per_epoch"]


@dataclass(frozen=True)
class Step:
    """The rows of one optimizer step."""

    batches: tuple[tuple[int, ...], ...]
    """micro-batches of row numbers"""


def steps_per_epoch(rows: int, batch_rows: int) -> int:
    """Count the steps of an epoch; the last one may have fewer rows."""
    return math.ceil(rows / batch_rows)


def plan(lengths: Sequence[int], batch_rows: int, batch_tokens: int, epochs: float, seed: int) -> list[Step]:
    """Plan the steps of a whole run.

    Every epoch visits each row once, in an order drawn from (seed, epoch). A step takes `batch_rows` rows;
    inside it they are sorted by length and cut into micro-batches of at most `batch_tokens` tokens, so that
    attention, padded to a micro-batch's longest row, wastes little. A fraction of an epoch is its first part.
    """
    per_epoch = steps_per_epoch(len(lengths), batch_rows)
    total = max(1, round(epochs * per_epoch))
    steps: list[Step] = []
    for epoch in range(math.ceil(total / per_epoch)):
        order = np.random.default_rng([seed, epoch]).permutation(len(lengths))
        for start in range(0, len(order), batch_rows):
            rows = sorted(
                (int(row) for row in order[start : start + batch_rows]), key=lambda row: lengths[row]
            )
            steps.append(Step(_cut_micro_batches(rows, lengths, batch_tokens)))
    return steps[:total]


def _cut_micro_batches(
    rows: list[int], lengths: Sequence[int], batch_tokens: int
) -> tuple[tuple[int, ...], ...]:
    batches: list[list[int]] = [[]]
    tokens = 0
    for row in rows:
        if batches[-1] and tokens + lengths[row] > batch_tokens:
            batches.append([])
            tokens = 0
        batches[-1].append(row)
        tokens += lengths[row]
    return tuple(tuple(batch) for batch in batches)
