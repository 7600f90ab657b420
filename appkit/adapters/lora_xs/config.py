"""Config defines the options of LoRA-XS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from appkit.adapters.options import LowRankOptions

__all__ = ["LoraXsOptions", "count_cores"]


class LoraXsOptions(LowRankOptions):
    """Options `method.<key>=` of method=lora_xs."""

    name: Literal["lora_xs"] = "lora_xs"
    niter: int = Field(
        0, ge=0, le=100, description="subspace iterations of a randomized SVD (10 is usual); 0: exact SVD"
    )


def count_cores(options: LowRankOptions, shapes: Sequence[tuple[int, int]]) -> int:
    """Count the parameters of one R (rank, rank) for each layer of `shapes` (O, I)."""
    return options.rank**2 * len(shapes)
