"""Batch lays rows end to end, without padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from appkit.models.segments import Segments, shared_prefix

__all__ = ["Batch", "Example", "Labelled", "by_length", "collate", "collate_labelled", "collate_texts"]


@dataclass(frozen=True)
class Example:
    """One row as tokens, prompt and answer."""

    tokens: tuple[int, ...]
    """token ids"""
    supervised: int
    """index of the answer's first token; it and all later ones are learned"""
    domain: str | None = None
    """of its row; the loss is also given by it, and a mix draws by it"""
    whole: bool = False
    """the prompt is learned too"""

    @property
    def start(self) -> int:
        """Index of the first token that is learned."""
        return 1 if self.whole else self.supervised

    @property
    def targets(self) -> int:
        """How many tokens are learned."""
        return len(self.tokens) - self.start

    @property
    def answered(self) -> int:
        """How many tokens the answer has, with the end of the turn."""
        return len(self.tokens) - self.supervised


@dataclass(frozen=True)
class Labelled:
    """A text as tokens, with the labels of a label head."""

    tokens: tuple[int, ...]
    """token ids"""
    places: tuple[int, ...]
    """indices of the tokens that carry a label, ascending: the first of each word, or the last of a sequence"""
    labels: tuple[int, ...] | tuple[tuple[float, ...], ...] | tuple[float, ...] = ()
    """one for each place: a class, a share of 0 or 1 for each class, or a number; empty when predicting"""
    domain: str | None = None
    """of its row; the loss is also given by it, and a mix draws by it"""

    @property
    def targets(self) -> int:
        """How many units the loss counts: words, or one sequence."""
        return len(self.places)

    @property
    def answered(self) -> int:
        """How many units an answer gives: as many as the loss counts."""
        return self.targets


@dataclass(frozen=True)
class Batch:
    """Rows laid end to end: T tokens, of which L predict a label."""

    tokens: torch.Tensor
    """(1, T) int64, token ids"""
    positions: torch.Tensor
    """(1, T) int64, the place of each token in its row"""
    segments: Segments
    """which tokens belong to which row"""
    label_positions: torch.Tensor
    """(L,) int64; the token at `label_positions[i]` predicts `labels[i]`"""
    labels: torch.Tensor
    """(L,) int64: next tokens, or classes; of a label head also (L, C) or (L,) float32: shares of classes, numbers"""


def collate(
    examples: Sequence[Example], device: torch.device | str = "cpu", *, share_prefix: bool = True
) -> Batch:
    """Lay the examples end to end; with `share_prefix` the tokens they all begin with only once."""
    # the token that predicts a row's first label must be its own: it has another label in every row
    limit = min(example.start for example in examples) - 1 if share_prefix and len(examples) > 1 else 0
    prefix = shared_prefix([example.tokens for example in examples], limit)
    lengths = [len(example.tokens) - prefix for example in examples]
    segments = Segments.of(lengths, device, prefix=prefix)
    tokens = list(examples[0].tokens[:prefix])
    label_positions: list[int] = []
    labels: list[int] = []
    for example in examples:
        start = len(tokens) - prefix
        tokens += example.tokens[prefix:]
        label_positions += range(start + example.start - 1, start + len(example.tokens) - 1)
        labels += example.tokens[example.start :]
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
    """Lay labelled texts end to end; when predicting, `labels` is empty."""
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


def collate_texts(
    texts: Sequence[Sequence[int]], device: torch.device | str = "cpu", *, causal: bool = True
) -> Batch:
    """Lay texts without labels end to end; under causal attention the tokens they all begin with only once."""
    # each text keeps a token of its own, since the caller needs its states
    limit = min(map(len, texts)) - 1 if causal and len(texts) > 1 else 0
    prefix = shared_prefix(texts, limit)
    segments = Segments.of([len(text) - prefix for text in texts], device, prefix=prefix, causal=causal)
    line = [*texts[0][:prefix], *(token for text in texts for token in text[prefix:])]
    none = torch.zeros(0, dtype=torch.long, device=device)
    return Batch(torch.tensor([line], device=device), segments.positions[None], segments, none, none)


def by_length(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Group texts (row numbers) of similar length that pad to at most `tokens` tokens; a longer text is alone.

    The longest come first, so that a lack of memory shows at once.
    """
    groups: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if groups and lengths[groups[-1][0]] * (len(groups[-1]) + 1) <= tokens:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups
