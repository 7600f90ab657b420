"""Options that the methods with low-rank updates share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from appkit.method import Servable

__all__ = ["LowRankOptions", "count_factors", "match_rank", "servable", "servable_doubled"]


class LowRankOptions(BaseModel):
    """Options `method.<key>=` of every method whose update is s B A, with A (rank, I) and B (O, rank)."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    rank: int = Field(16, ge=1, le=512, description="r: rows of A")
    alpha: float = Field(32, gt=0, description="the update is scaled by alpha / rank")
    targets: tuple[str, ...] | Literal["all-linear"] = Field(
        "all-linear",
        description="names of linear layers, such as q_proj; all-linear is each but the output layer",
    )


def match_rank(values: dict[str, Any]) -> float:
    """Return the alpha with which the update's scale is 1, as a default_factory."""
    return float(values.get("rank", 1))


def servable(options: LowRankOptions) -> Servable:
    """Say who can serve an export of rank r."""
    return Servable(("vllm", "transformers"), options.rank)


def servable_doubled(options: LowRankOptions) -> Servable:
    """Say who can serve an export of rank 2r: the factors and those they started from."""
    return Servable(("vllm", "transformers"), 2 * options.rank)


def count_factors(options: LowRankOptions, shapes: Sequence[tuple[int, int]]) -> int:
    """Count the parameters of one A (rank, I) and B (O, rank) for each layer of `shapes` (O, I)."""
    return options.rank * sum(out + into for out, into in shapes)
