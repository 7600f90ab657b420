"""Padding-free batches: rows laid end to end, and the plan that says which rows form which step.

The plan is a pure function of the rows' lengths, the sizes, the seed and the epoch: a resumed run walks the
same path as an unbroken one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from appkit.attention import Segments

__all__ = [
    "Batch",
    "Example",
    "Labelled",
    "Step",
    "by_length",
    "collate",
    "collate_labelled",
    "plan",
    "shared_prefix",
    "steps_per_epoch",
]


@dataclass(frozen=True)
class Example:
    """One row as tokens.

    tokens: prompt and answer. supervised: the first token that is learned; all from there on are.
    """

    tokens: tuple[int, ...]
    supervised: int

    @property
    def targets(self) -> int:
        """Supervised tokens."""
        return len(self.tokens) - self.supervised


@dataclass(frozen=True)
class Labelled:
    """A text as tokens, and what a label head has to say of it.

    places: the tokens that carry a label, ascending: the first of each word, or the last of a sequence. labels: one for
    each place: a class, a share of 0 or 1 for each class, or a number; empty when it is to be predicted.
    """

    tokens: tuple[int, ...]
    places: tuple[int, ...]
    labels: tuple[int, ...] | tuple[tuple[float, ...], ...] | tuple[float, ...] = ()

    @property
    def targets(self) -> int:
        """What the loss counts: words, or one sequence."""
        return len(self.places)


@dataclass(frozen=True)
class Batch:
    """Rows laid end to end: T tokens, of which L positions predict a supervised token.

    tokens, positions: (1, T) int64. label_positions, labels: (L,) int64; the token at place
    `label_positions[i]` predicts `labels[i]`. weights: (L,) float32. rows: (L,) int64, the row of each label.
    Of a label head, labels may be (L, C) or (L,) float32: shares of classes, numbers.
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    segments: Segments
    label_positions: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor
    rows: torch.Tensor


@dataclass(frozen=True)
class Step:
    """The rows of one optimizer step, in micro-batches of row numbers."""

    batches: tuple[tuple[int, ...], ...]


def shared_prefix(sequences: Sequence[Sequence[int]], limit: int) -> int:
    """How many tokens, at most `limit`, all sequences begin with."""
    first, last = min(map(tuple, sequences)), max(map(tuple, sequences))  # the two that differ soonest
    stop = min(limit, len(first), len(last))
    return next((place for place in range(stop) if first[place] != last[place]), stop)


def collate(
    examples: Sequence[Example], device: torch.device | str = "cpu", *, share_prefix: bool = True
) -> Batch:
    """Lay the examples end to end, the tokens they all begin with only once (unless told otherwise)."""
    # the token that predicts a row's first label must be its own: it has another label in every row
    limit = min(example.supervised for example in examples) - 1 if share_prefix and len(examples) > 1 else 0
    prefix = shared_prefix([example.tokens for example in examples], limit)
    lengths = [len(example.tokens) - prefix for example in examples]
    segments = Segments.of(lengths, device, prefix=prefix)
    tokens = list(examples[0].tokens[:prefix])
    label_positions: list[int] = []
    labels: list[int] = []
    rows: list[int] = []
    for row, example in enumerate(examples):
        start = len(tokens) - prefix
        tokens += example.tokens[prefix:]
        label_positions += range(start + example.supervised - 1, start + len(example.tokens) - 1)
        labels += example.tokens[example.supervised :]
        rows += [row] * example.targets
    return Batch(
        torch.tensor([tokens], device=device),
        segments.positions[None],
        segments,
        torch.tensor(label_positions, device=device),
        torch.tensor(labels, device=device),
        torch.ones(len(labels), device=device),
        torch.tensor(rows, device=device),
    )


def collate_labelled(
    examples: Sequence[Labelled], device: torch.device | str = "cpu", *, causal: bool = True
) -> Batch:
    """Lay the examples end to end. Of examples that are to be predicted, labels is empty."""
    lengths = [len(example.tokens) for example in examples]
    segments = Segments.of(lengths, device, causal=causal)
    starts = np.cumsum([0, *lengths[:-1]])
    places = [int(s) + p for s, example in zip(starts, examples, strict=True) for p in example.places]
    rows = [row for row, example in enumerate(examples) for _ in example.places]
    labels = torch.tensor([label for example in examples for label in example.labels], device=device)
    return Batch(
        torch.tensor([[token for example in examples for token in example.tokens]], device=device),
        segments.positions[None],
        segments,
        torch.tensor(places, device=device),
        labels.float() if labels.is_floating_point() else labels,
        torch.ones(len(places), device=device),
        torch.tensor(rows, device=device),
    )


def by_length(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Numbers of texts in groups of like length that pad to at most `tokens` tokens; one longer than that is alone.

    The longest first: what does not fit in memory fails at once.
    """
    groups: list[list[int]] = []
    for one in sorted(range(len(lengths)), key=lambda one: -lengths[one]):
        if groups and lengths[groups[-1][0]] * (len(groups[-1]) + 1) <= tokens:
            groups[-1].append(one)
        else:
            groups.append([one])
    return groups


def steps_per_epoch(rows: int, batch_rows: int) -> int:
    return math.ceil(rows / batch_rows)


def plan(lengths: Sequence[int], batch_rows: int, batch_tokens: int, epochs: float, seed: int) -> list[Step]:
    """The steps of a whole run.

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
            steps.append(Step(_micro_batches(rows, lengths, batch_tokens)))
    return steps[:total]


def _micro_batches(rows: list[int], lengths: Sequence[int], batch_tokens: int) -> tuple[tuple[int, ...], ...]:
    batches: list[list[int]] = [[]]
    tokens = 0
    for row in rows:
        if batches[-1] and tokens + lengths[row] > batch_tokens:
            batches.append([])
            tokens = 0
        batches[-1].append(row)
        tokens += lengths[row]
    return tuple(tuple(batch) for batch in batches)
