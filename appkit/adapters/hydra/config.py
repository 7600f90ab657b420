"""Config defines the options of Hydra."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from appkit.adapters.options import LowRankOptions
from appkit.method import Servable

__all__ = ["HydraOptions", "count_branches", "servable_both"]


class HydraOptions(LowRankOptions):
    """Options `method.<key>=` of method=hydra; `rank` is that of the parallel branch."""

    name: Literal["hydra"] = "hydra"
    sequential_rank: int = Field(
        16, ge=1, le=512, description="rows of the branch on the layer's output; added to the export's rank"
    )


def servable_both(options: HydraOptions) -> Servable:
    """Say who can serve an export with the ranks of both branches."""
    return Servable(("vllm", "transformers"), options.rank + options.sequential_rank)


def count_branches(options: HydraOptions, shapes: Sequence[tuple[int, int]]) -> int:
    """Count the parameters of both branches for each layer of `shapes` (O, I)."""
    return sum(options.rank * (out + into) + options.sequential_rank * 2 * out for out, into in shapes)
