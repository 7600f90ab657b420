"""Config defines the options of MiSS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from appkit.adapters.options import LowRankOptions, match_rank

__all__ = ["MissOptions", "count_shards"]


class MissOptions(LowRankOptions):
    """Options `method.<key>=` of method=miss."""

    name: Literal["miss"] = "miss"
    alpha: float = Field(
        default_factory=match_rank, gt=0, description="the update is scaled by alpha / rank; unset: by 1"
    )


def count_shards(options: LowRankOptions, shapes: Sequence[tuple[int, int]]) -> int:
    """Count the parameters of one B (O, rank) for each layer of `shapes` (O, I)."""
    return options.rank * sum(out for out, _ in shapes)
