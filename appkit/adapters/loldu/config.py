"""Config defines the options of LoLDU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from appkit.adapters.options import LowRankOptions

__all__ = ["LolduOptions", "count_trained"]


class LolduOptions(LowRankOptions):
    """Options `method.<key>=` of method=loldu."""

    name: Literal["loldu"] = "loldu"
    train_scale: bool = Field(
        False, description="train the layer's scale σ too, which starts at alpha / rank; 1 number a layer"
    )


def count_trained(options: LolduOptions, shapes: Sequence[tuple[int, int]]) -> int:
    """Count the pivots, and the scale if it is trained, of each layer of `shapes` (O, I)."""
    return (options.rank + options.train_scale) * len(shapes)
