"""Config defines the options of NLoRA, SLoRA and IntTune."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from appkit.adapters.options import LowRankOptions, count_factors

__all__ = ["NloraOptions", "count_trained"]


class NloraOptions(LowRankOptions):
    """Options `method.<key>=` of method=nlora."""

    name: Literal["nlora"] = "nlora"
    variant: Literal["nlora", "slora", "int_tune"] = Field(
        "nlora",
        description="nlora: A, N, B start at slices of the weight; slora: they start as LoRA's do; "
        "int_tune: as nlora, and N alone is trained",
    )


def count_trained(options: NloraOptions, shapes: Sequence[tuple[int, int]]) -> int:
    """Count the parameters of N (r, r), and of A and B unless they are frozen, for each layer of `shapes` (O, I)."""
    middle = options.rank**2 * len(shapes)
    return middle if options.variant == "int_tune" else middle + count_factors(options, shapes)
