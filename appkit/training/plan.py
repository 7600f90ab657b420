"""Plan says which rows form which step.

It is a pure function of the rows' lengths, the sizes, the seed and the epoch: a resumed run takes the same steps as an
uninterrupted one.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Mix", "Step", "plan", "steps_per_epoch"]


@dataclass(frozen=True)
class Step:
    """The rows of one optimizer step."""

    batches: tuple[tuple[int, ...], ...]
    """micro-batches of row numbers"""


@dataclass(frozen=True)
class Mix:
    """How often the rows of each source are drawn."""

    sources: tuple[int, ...]
    """of each row, from 0"""
    shares: tuple[float, ...]
    """of each source among the rows of an epoch; the sum is 1"""

    @classmethod
    def of(cls, names: Sequence[Hashable], shares: Mapping[Any, float]) -> Mix:
        """Make it of each row's source, by name."""
        numbers = {name: number for number, name in enumerate(shares)}
        return cls(tuple(numbers[name] for name in names), tuple(shares.values()))

    def draw(self, seed: int, epoch: int) -> np.ndarray:
        """Draw the rows of an epoch, (N,): as many as there are rows, of each source its share.

        A source's rows come in turn, in another order each time round, over all epochs: none is drawn twice as long as
        another was not drawn once.
        """
        sources = np.array(self.sources)
        drawn = []
        for source, count in enumerate(self._count_rows()):
            members = np.flatnonzero(sources == source)
            first = epoch * count
            turns = range(first // len(members), -(-(first + count) // len(members)))
            line = [np.random.default_rng([seed, source, turn]).permutation(members) for turn in turns]
            start = first % len(members)
            drawn.append(np.concatenate([*line, members[:0]])[start : start + count])
        return np.random.default_rng([seed, epoch]).permutation(np.concatenate(drawn))

    def _count_rows(self) -> list[int]:
        """Share the rows of an epoch out, by the largest remainder."""
        exact = np.array(self.shares) * len(self.sources)
        counts = np.floor(exact).astype(int)
        rest = np.argsort(-(exact - counts), kind="stable")[: len(self.sources) - counts.sum()]
        counts[rest] += 1
        return [int(count) for count in counts]


def steps_per_epoch(rows: int, batch_rows: int) -> int:
    """Count the steps of an epoch; the last one may have fewer rows."""
    return math.ceil(rows / batch_rows)


def plan(
    lengths: Sequence[int],
    batch_rows: int,
    batch_tokens: int,
    epochs: float,
    seed: int,
    mix: Mix | None = None,
) -> list[Step]:
    """Plan the steps of a whole run.

    Every epoch visits each row once, or with a `mix` as many rows by its shares, in an order drawn from (seed, epoch).
    A step takes `batch_rows` rows;
    inside it they are sorted by length and cut into micro-batches of at most `batch_tokens` tokens, so that
    attention, padded to a micro-batch's longest row, wastes little. A fraction of an epoch is its first part.
    """
    per_epoch = steps_per_epoch(len(lengths), batch_rows)
    total = max(1, round(epochs * per_epoch))
    steps: list[Step] = []
    for epoch in range(math.ceil(total / per_epoch)):
        random = np.random.default_rng([seed, epoch])
        order = random.permutation(len(lengths)) if mix is None else mix.draw(seed, epoch)
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
