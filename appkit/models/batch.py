"""Padding-free batches: rows laid end to end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from appkit.models.segments import Segments, shared_prefix

__all__ = ["Batch", "Example", "Labelled", "by_length", "collate", "collate_labelled"]


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
    `label_positions[i]` predicts `labels[i]`.
    Of a label head, labels may be (L, C) or (L,) float32: shares of classes, numbers.
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    segments: Segments
    label_positions: torch.Tensor
    labels: torch.Tensor


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
    for example in examples:
        start = len(tokens) - prefix
        tokens += example.tokens[prefix:]
        label_positions += range(start + example.supervised - 1, start + len(example.tokens) - 1)
        labels += example.tokens[example.supervised :]
    return Batch(
        torch.tensor([tokens], device=device),
        segments.positions[None],
        segments,
        torch.tensor(label_positions, device=device),
        torch.tensor(labels, device=device),
    )


def collate_labelled(
    examples: Sequence[Labelled], device: torch.device | str = "cpu", *, causal: bool = True
) -> Batch:
    """Lay the examples end to end. Of examples that are to be predicted, labels is empty."""
    lengths = [len(example.tokens) for example in examples]
    segments = Segments.of(lengths, device, causal=causal)
    starts = np.cumsum([0, *lengths[:-1]])
    places = [int(s) + p for s, example in zip(starts, examples, strict=True) for p in example.places]
    labels = torch.tensor([label for example in examples for label in example.labels], device=device)
    return Batch(
        torch.tensor([[token for example in examples for token in example.tokens]], device=device),
        segments.positions[None],
        segments,
        torch.tensor(places, device=device),
        labels.float() if labels.is_floating_point() else labels,
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
