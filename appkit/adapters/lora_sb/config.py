"""Config defines the options of LoRA-SB."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from appkit.adapters.options import LowRankOptions, match_rank

__all__ = ["LoraSbOptions"]


class LoraSbOptions(LowRankOptions):
    """Options `method.<key>=` of method=lora_sb."""

    name: Literal["lora_sb"] = "lora_sb"
    alpha: float = Field(
        default_factory=match_rank, gt=0, description="the update is scaled by alpha / rank; unset: by 1"
    )
    first_step: float = Field(
        1e-4, gt=0, le=1, description="eta: learning rate of the full step that the start approximates"
    )
    batches: int = Field(
        8, ge=1, description="micro-batches whose gradients are summed for it, the run's first ones"
    )
    niter: int = Field(
        0, ge=0, le=100, description="subspace iterations of a randomized SVD (10 is usual); 0: exact SVD"
    )
