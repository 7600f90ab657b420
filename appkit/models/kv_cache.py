"""KV cache keeps keys and values of earlier tokens while decoding."""

from __future__ import annotations

from typing import Any

import torch

from appkit.models.segments import Segments, VirtualTokens, visible

__all__ = ["Cache"]


class Cache:
    """Keys and values of B rows after a shared prefix, for every layer.

    A layer's own keys are (B, K, capacity, D), preallocated: appending copies one token, not the history.
    The prefix is (1, K, P, D), stored once and read once per step for any B; it begins with the virtual tokens, if
    there are any. `slots` are the rows of the next pass, S of the B, in the order of its segments.
    """

    def __init__(self, layers: int, virtual: VirtualTokens | None = None) -> None:
        self.prefix: list[tuple[torch.Tensor, torch.Tensor] | None] = (
            [None] * layers if virtual is None else [*virtual]
        )
        self.own: list[tuple[torch.Tensor, torch.Tensor] | None] = [None] * layers
        self.prefix_length = virtual[0][0].shape[2] if virtual else 0
        self.capacity = 0
        self.lengths = torch.zeros(0, dtype=torch.int64)  # (B,) own tokens so far
        self.slots: torch.Tensor | None = None  # (S,); None: all rows

    def begin(self, rows: int, capacity: int, device: torch.device) -> None:
        """Clear the rows (not the prefix) and make room for `rows` of at most `capacity` own tokens."""
        self.own = [None] * len(self.own)
        self.capacity = capacity
        self.lengths = torch.zeros(rows, dtype=torch.int64, device=device)

    def advance(self, segments: Segments) -> None:
        """Add the tokens of a finished forward pass to the lengths. Raises ValueError for another number of rows."""
        if segments.rows != len(self.before):
            raise ValueError(f"the pass had {segments.rows} rows, the cache has {len(self.before)} for it")
        if self.slots is None:
            self.lengths = self.lengths + segments.lengths
        else:
            self.lengths[self.slots] += segments.lengths

    @property
    def before(self) -> torch.Tensor:
        """Own tokens (S,) of this pass's rows before it."""
        return self.lengths if self.slots is None else self.lengths[self.slots]

    def reset(self, rows: list[int]) -> None:
        """Set these rows' lengths to 0; the causal rule hides their old keys until they are overwritten."""
        self.lengths[rows] = 0

    def keep(self, rows: torch.Tensor) -> None:
        """Drop all rows but these (row numbers, in their new order)."""
        self.lengths = self.lengths[rows]
        self.own = [None if pair is None else (pair[0][rows], pair[1][rows]) for pair in self.own]

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
        """Store this pass's keys and values of the module's layer, and attend: (1, H, R, D) -> (1, R, H, D)."""
        layer = module.layer_idx
        B, H, K, D = segments.rows, query.shape[1], key.shape[1], query.shape[3]
        if self.own[layer] is None:
            shape = (len(self.lengths), K, self.capacity, D)
            self.own[layer] = (key.new_zeros(shape), value.new_zeros(shape))
        keys, values = self.own[layer]
        before = self.before
        place = before[segments.row] + segments.column  # (R,)
        slot = segments.row if self.slots is None else self.slots[segments.row]
        keys[slot, :, place] = key[0].transpose(0, 1)
        values[slot, :, place] = value[0].transpose(0, 1)
        N = int((before + segments.lengths).max())
        keys, values = keys[:, :, :N], values[:, :, :N]
        if self.slots is not None:
            keys, values = keys[self.slots], values[self.slots]

        L, P, G = segments.longest, self.prefix_length, H // K
        rows = segments.spread(query) * (D**-0.5 if scaling is None else scaling)
        grouped = rows.reshape(B, K, G * L, D)  # queries that share a key head, side by side
        columns = torch.arange(L, device=query.device)
        at = P + before[:, None] + columns  # (B, L) positions of the queries
        own_at = P + torch.arange(N, device=query.device)
        mask = visible(at, own_at.expand(B, N), window)  # (B, L, N)
        scores = (grouped @ keys.transpose(2, 3)).view(B, K, G, L, N)
        scores = scores.masked_fill(~mask[:, None, None], float("-inf"))
        pair = self.prefix[layer]
        if pair is not None:
            together = grouped.transpose(0, 1).reshape(K, B * G * L, D)
            shared = (together @ pair[0][0].transpose(1, 2)).view(K, B, G, L, P).transpose(0, 1)
            if window is not None and window < P + N:
                shared_at = torch.arange(P, device=query.device).expand(B, P)
                shared = shared.masked_fill(~visible(at, shared_at, window)[:, None, None], float("-inf"))
            scores = torch.cat([shared, scores], -1)  # (B, K, G, L, P + N)
        weights = torch.softmax(scores.float(), -1).to(query.dtype)
        out = weights[..., -N:].reshape(B, K, G * L, N) @ values  # (B, K, G L, D)
        if pair is not None:
            weights = weights[..., :P].transpose(0, 1).reshape(K, B * G * L, P)
            out = out + (weights @ pair[1][0]).view(K, B, G * L, D).transpose(0, 1)
        return segments.pack(out.reshape(B, H, L, D))

    def freeze_prefix(self) -> None:
        """Add the single row computed so far to the prefix of all later rows."""
        P = int(self.lengths.max())
        self.prefix_length += P
        self.prefix = [
            None
            if pair is None
            else (_extend(before, 0, pair[0][:, :, :P]), _extend(before, 1, pair[1][:, :, :P]))
            for before, pair in zip(self.prefix, self.own, strict=True)
        ]
        self.begin(0, 0, self.lengths.device)


def _extend(before: tuple[torch.Tensor, torch.Tensor] | None, side: int, fresh: torch.Tensor) -> torch.Tensor:
    """Copy keys (side 0) or values (1) behind those that were there before."""
    return fresh.clone() if before is None else torch.cat([before[side].to(fresh.dtype), fresh], 2)
