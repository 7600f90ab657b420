"""Segments says how rows lie end to end in one line of tokens, and which tokens see each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

__all__ = ["KeyValues", "Segments", "VirtualTokens", "shared_prefix", "visible"]


class KeyValues(Protocol):
    """Keys and values of earlier tokens, which new ones attend to while decoding."""

    def attend(
        self,
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        segments: Segments,
        scaling: float | None,
        window: int | None,
    ) -> torch.Tensor:
        """Attend: query (1, H, R, D), key and value (1, K, R, D) of the new tokens -> (1, R, H, D)."""


VirtualTokens = Sequence[tuple[torch.Tensor, torch.Tensor]]
"""keys and values (1, K, n, D) of n tokens without an id, by layer"""


@dataclass(frozen=True)
class Segments:
    """How S rows lie in one line of tokens: first `prefix` shared tokens, then the rows' own, R in all."""

    row: torch.Tensor
    """(R,) int64, the row of each own token"""
    column: torch.Tensor
    """(R,) int64, its place among the row's own tokens"""
    rows: int
    """S"""
    longest: int
    """L, the most own tokens of a row"""
    lengths: torch.Tensor
    """(S,) int64, own tokens of each row"""
    prefix: int = 0
    """shared tokens before the rows"""
    cache: KeyValues | None = None
    """keys and values of earlier tokens, when decoding"""
    causal: bool = True
    """a token sees itself and the tokens before it; False: all tokens of its row"""
    virtual: VirtualTokens | None = None
    """what stands before the shared tokens of every row, and takes positions of its own; None: nothing"""

    @classmethod
    def of(
        cls,
        lengths: list[int],
        device: torch.device | str = "cpu",
        *,
        prefix: int = 0,
        cache: KeyValues | None = None,
        causal: bool = True,
    ) -> Segments:
        """Lay rows of `lengths` own tokens after `prefix` shared ones. Raises ValueError for an unmasked prefix."""
        if not causal and (prefix or cache is not None):
            raise ValueError("unmasked attention shares no prefix and keeps no cache")
        counts = torch.tensor(lengths, device=device)
        row = torch.repeat_interleave(torch.arange(len(lengths), device=device), counts)
        starts = torch.cumsum(counts, 0) - counts
        column = torch.arange(int(counts.sum()), device=device) - starts[row]
        return cls(row, column, len(lengths), max(lengths), counts, prefix, cache, causal)

    @property
    def positions(self) -> torch.Tensor:
        """The place of every token in its sequence, (prefix + R,) int64; virtual tokens have the first places."""
        shared = torch.arange(self.prefix, device=self.column.device)
        own = torch.cat([shared, self.column + self.prefix])
        return own if self.virtual is None else own + self.virtual[0][0].shape[2]

    def spread(self, packed: torch.Tensor) -> torch.Tensor:
        """Spread a packed tensor over rows: (1, H, R, D) -> (S, H, L, D), zero where a row has no token."""
        S, L = self.rows, self.longest
        padded = packed.new_zeros(S, L, packed.shape[1], packed.shape[3])
        return padded.index_put((self.row, self.column), packed[0].transpose(0, 1)).transpose(1, 2)

    def pack(self, rows: torch.Tensor) -> torch.Tensor:
        """Pack rows end to end: (S, H, L, D) -> (1, R, H, D)."""
        return rows.transpose(1, 2)[self.row, self.column][None]


def visible(queries: torch.Tensor, keys: torch.Tensor, window: int | None) -> torch.Tensor:
    """Make the causal mask, at most `window` - 1 tokens back: positions (..., Q), (..., N) -> (..., Q, N) bool."""
    distance = queries[..., :, None] - keys[..., None, :]
    return distance >= 0 if window is None else (distance >= 0) & (distance < window)


def shared_prefix(sequences: Sequence[Sequence[int]], limit: int) -> int:
    """Count the tokens, at most `limit`, that all sequences begin with."""
    first, last = min(map(tuple, sequences)), max(map(tuple, sequences))  # the two that differ soonest
    stop = min(limit, len(first), len(last))
    return next((place for place in range(stop) if first[place] != last[place]), stop)
