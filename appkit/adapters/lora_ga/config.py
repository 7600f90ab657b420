"""Config defines the options of LoRA-GA."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from appkit.adapters.options import LowRankOptions

__all__ = ["LoraGaOptions"]


class LoraGaOptions(LowRankOptions):
    """Options `method.<key>=` of method=lora_ga."""

    name: Literal["lora_ga"] = "lora_ga"
    alpha: float = Field(
        16,
        gt=0,
        description="the update is scaled by alpha / sqrt(rank), or by alpha / rank with rslora=false",
    )
    rslora: bool = Field(True, description="scale by alpha / sqrt(rank), as the authors; false: alpha / rank")
    gamma: float = Field(
        16,
        gt=0,
        le=1e6,
        description="the factors start as long as outputs^(1/4) / sqrt(gamma); 16 to 64 is usual",
    )
    batches: int = Field(
        8, ge=1, le=10_000, description="micro-batches whose gradient is taken before the first step"
    )
    niter: int = Field(
        4, ge=0, le=100, description="subspace iterations of a randomized SVD of the gradient; 0: exact SVD"
    )
