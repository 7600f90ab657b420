"""Attention computes each row of a packed batch by itself, or over a growing cache when decoding.

A packed batch is one long line of T tokens. That suits linear layers but not attention: over the whole T x T square
most work is masked away, and a wrong mask leaks rows into each other. Here the packed queries, keys and values are
scattered into (rows, longest) and attended row by row. Tokens that all rows begin with (the chat template's opening,
the instruction) are laid down once, before the rows, and every row attends to them: their hidden states do not depend
on later tokens, so the sum of the rows' losses and its gradient are the same as with a copy in each row. Unmasked
attention (every token of a row sees all of that row, as in LS-unLLaMA, arXiv 2310.01208) has no such prefix.

Virtual tokens (`Segments.virtual`) are keys and values alone: every row sees them before its first token, as far as a
sliding window reaches. They are as PEFT puts them into the cache: neither rotated nor normalized as a token's keys are.

Registered with transformers as the attention implementation "appkit"; the model passes `segments` through.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from appkit.models.matmul import orient
from appkit.models.segments import Segments, visible

__all__ = ["NAME", "use"]

NAME = "appkit"
SHORT = 160  # keys; up to here plain products are the faster attention on CPUs


def _mask_whole_row(
    place: torch.Tensor, lengths: torch.Tensor, window: int | None, queries: int
) -> torch.Tensor:
    """Make the mask of unmasked attention: the row's tokens, at most `window` - 1 away from each of the last `queries`.

    place (N,), lengths: tokens of each row, virtual ones too (S,) -> (S, 1 or queries, N) bool.
    """
    own = (place < lengths[:, None])[:, None]  # (S, 1, N)
    if window is None or window >= len(place):
        return own
    distance = (place[-queries:, None] - place).abs()
    return (own & (distance < window)) | (distance == 0)  # pads see themselves


def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    place: torch.Tensor,
    scale: float,
    dropout: float,
    window: int | None,
    lengths: torch.Tensor | None = None,
) -> torch.Tensor:
    """Attend row by row: query (S, H, L, D), key and value (S, K, N, D) -> (S, H, L, D).

    The queries are the last L of the N tokens, which stand at `place` (N,). lengths: (S,), for unmasked attention, the
    tokens of each row, virtual ones too; None: causal.
    """
    S, H, L, D = query.shape
    K, N = key.shape[1:3]
    windowed = window is not None and window < N
    if query.device.type != "cpu" or dropout or N > SHORT:
        if lengths is not None:
            mask: torch.Tensor | None = _mask_whole_row(place, lengths, window, L)[:, None]
        else:
            mask = visible(place[-L:], place, window) if L < N or windowed else None
        return scaled_dot_product_attention(
            query, key, value, mask, dropout, is_causal=mask is None, scale=scale, enable_gqa=H != K
        )
    # Rows are short: three plain products beat the tiled kernel, whose bf16 backward is up to 6 times as slow.
    # Query heads that share a key head stand side by side, (S K, G L, D), so that keys are not copied for each.
    if lengths is None:
        shown = visible(place[-L:], place, window).repeat(H // K, 1)  # (G L, N)
    else:
        shown = _mask_whole_row(place, lengths, window, L).repeat_interleave(K, 0)  # (S K, 1 or L, N)
        shown = shown.repeat(1, H // K, 1) if shown.shape[1] > 1 else shown
    scores = torch.baddbmm(
        torch.zeros(shown.shape, dtype=query.dtype).masked_fill_(~shown, float("-inf")),
        query.reshape(S * K, -1, D),
        key.reshape(S * K, N, D).transpose(1, 2),
        alpha=scale,
    )  # (S K, G L, N)
    weights = torch.softmax(scores, -1, dtype=torch.float32).to(query.dtype)
    return (weights @ value.reshape(S * K, N, D)).view(S, H, L, D)


def _attend_packed(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    segments: Segments | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attend over a packed batch: query (1, H, T, D), key and value (1, K, T, D), K divides H -> (1, T, H, D), None.

    Raises ValueError for options that this implementation does not support.
    """
    if segments is None:
        raise ValueError("the 'appkit' attention needs segments=Segments.of(lengths) in the model call")
    if softcap is not None:
        raise ValueError(
            "attention soft-capping is not supported; choose a base without attn_logit_softcapping"
        )
    if attention_mask is not None:
        raise ValueError("the 'appkit' attention takes no mask: segments say which tokens see each other")
    if segments.cache is not None:
        return segments.cache.attend(module, query, key, value, segments, scaling, sliding_window), None
    P, L = segments.prefix, segments.longest
    shared_keys, shared_values = key[:, :, :P], value[:, :, :P]
    if segments.virtual is not None:
        virtual_keys, virtual_values = segments.virtual[module.layer_idx]
        shared_keys = torch.cat([virtual_keys.to(key.dtype), shared_keys], 2)  # (1, K, n + P, D)
        shared_values = torch.cat([virtual_values.to(value.dtype), shared_values], 2)
    N = shared_keys.shape[2]
    place = torch.arange(N + L, device=query.device)
    keys, values = segments.spread(key[:, :, P:]), segments.spread(value[:, :, P:])
    if N:
        S = segments.rows
        keys = torch.cat([shared_keys.expand(S, -1, -1, -1), keys], 2)  # (S, K, N + L, D)
        values = torch.cat([shared_values.expand(S, -1, -1, -1), values], 2)
    scale = query.shape[3] ** -0.5 if scaling is None else scaling
    # Pads stand behind a row's tokens, so the causal rule alone hides them.
    lengths = None if segments.causal else segments.lengths + N
    out = _attend(
        segments.spread(query[:, :, P:]), keys, values, place, scale, dropout, sliding_window, lengths
    )
    packed = segments.pack(out)
    if not P:
        return packed, None
    shared = _attend(query[:, :, :P], shared_keys, shared_values, place[:N], scale, dropout, sliding_window)
    return torch.cat([shared.transpose(1, 2), packed], 1), None


def use(model: torch.nn.Module) -> None:
    """Make `model` (a transformers model) attend through `Segments`."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    orient(model)
    ALL_ATTENTION_FUNCTIONS.register(NAME, _attend_packed)
    model.set_attn_implementation(NAME)  # type: ignore[operator]
