"""Applies a label head: states are pooled, and the trained copy of the head gives logits in fp32."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from appkit.models.batch import Batch
from appkit.models.forward import without_wrapper

__all__ = ["apply", "pooled", "trained_head"]


def pooled(hidden: torch.Tensor, batch: Batch, pooling: str) -> torch.Tensor:
    """Pools states (T, d) for the head: (L, d) at the labelled places, or (S, d), mean or maximum of each row."""
    if pooling in ("last", "none"):
        return hidden[batch.label_positions]
    segments = batch.segments
    out = hidden.new_zeros(segments.rows, hidden.shape[1])
    if pooling == "mean":
        return out.index_add(0, segments.row, hidden) / segments.lengths[:, None]
    index = segments.row[:, None].expand_as(hidden)
    return out.scatter_reduce(0, index, hidden, "amax", include_self=False)


def trained_head(model: Any) -> torch.nn.Linear:
    """Finds the trained head, which PEFT keeps as a copy beside the untrained one, with the adapter on or off."""
    head = without_wrapper(model).score
    linear: torch.nn.Linear = head.modules_to_save["default"] if hasattr(head, "modules_to_save") else head
    return linear


def apply(model: Any, seen: torch.Tensor) -> torch.Tensor:
    """Applies the head: (L, d) -> logits (L, C), in fp32 whatever the base computes in."""
    head = trained_head(model)
    return functional.linear(seen, head.weight.float(), None if head.bias is None else head.bias.float())
