"""Heads: what is learned at the labelled positions. A head declares the unit its loss is counted in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from appkit.models.batch import Batch

__all__ = ["Head"]


@dataclass(frozen=True)
class Head:
    """What the training loop needs of a head.

    unit: what `targets` of an example counts. collate: (examples, device) -> batch. loss: (model, batch) -> the sum
    over the units.
    """

    unit: str
    collate: Callable[[Any, Any], Batch]
    loss: Callable[[Any, Batch], torch.Tensor]
