"""Config defines the options of LoRA+."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from appkit.adapters.options import LowRankOptions

__all__ = ["LoraPlusOptions"]


class LoraPlusOptions(LowRankOptions):
    """Options `method.<key>=` of method=lora_plus."""

    name: Literal["lora_plus"] = "lora_plus"
    ratio: float = Field(
        16, ge=1, le=1000, description="learning rate of B over that of A; 1 is plain LoRA, 16 the paper's"
    )
