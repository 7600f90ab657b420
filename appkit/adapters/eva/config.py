"""Config defines the options of EVA."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from appkit.adapters.options import LowRankOptions
from appkit.method import Servable

__all__ = ["EvaOptions", "servable"]


class EvaOptions(LowRankOptions):
    """Options `method.<key>=` of method=eva."""

    name: Literal["eva"] = "eva"
    rho: float = Field(
        2,
        ge=1,
        le=64,
        description="a layer's rank is at most rho * rank, the mean is rank; 1: the same in all layers",
    )
    tau: float = Field(
        0.99,
        gt=0,
        le=1,
        description="cosine of the components of two batches at which no more batches are seen",
    )
    batches: int = Field(
        32, ge=1, le=10_000, description="micro-batches that are seen before the first step, at most"
    )
    supervised: bool = Field(
        True, description="see only tokens that predict a token or label of the loss; false: all tokens"
    )

    @property
    def largest_rank(self) -> int:
        """The rank that no layer exceeds."""
        return int(self.rho * self.rank)


def servable(options: EvaOptions) -> Servable:
    """Say who can serve an export whose layers have ranks up to rho * r."""
    return Servable(("vllm", "transformers"), options.largest_rank)
