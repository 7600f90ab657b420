"""Config defines the options of LaMDA."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator

from appkit.adapters.options import LowRankOptions
from appkit.method import Servable

__all__ = ["LamdaOptions", "count_trained", "servable_spread"]


class LamdaOptions(LowRankOptions):
    """Options `method.<key>=` of method=lamda."""

    name: Literal["lamda"] = "lamda"
    freeze: float = Field(
        0.3,
        ge=0,
        le=1,
        description="share of the steps in which B freezes, column by column; then N alone is trained",
    )
    init: Literal["svd", "kaiming"] = Field(
        "svd", description="svd: the weight's singular vectors; kaiming: a random A and a B of zeros"
    )
    spread: float = Field(
        1.0,
        ge=1,
        le=8,
        description="above 1, LaMDA++: a layer's rank is within rank / spread and rank * spread, by its spectrum",
    )

    @model_validator(mode="after")
    def _check_that_b_can_leave_zero(self) -> LamdaOptions:
        if self.init == "kaiming" and self.freeze == 0:
            raise ValueError(
                "init=kaiming starts with B = 0, and freeze=0 would leave it there; raise freeze, or use init=svd"
            )
        return self


def servable_spread(options: LamdaOptions) -> Servable:
    """Say who can serve an export whose layers have up to rank * spread."""
    return Servable(("vllm", "transformers"), int(options.rank * options.spread))


def count_trained(options: LamdaOptions, shapes: Sequence[tuple[int, int]]) -> int:
    """Count the parameters of B (O, r), trained at first, and of N (r, r); of LaMDA++ as if all ranks were alike."""
    return sum(options.rank * (out + options.rank) for out, _ in shapes)
