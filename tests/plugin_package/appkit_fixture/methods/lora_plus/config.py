"""Options of the LoRA+ method."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from appkit.adapters.lora.config import LoraOptions
from appkit.adapters.lora.config import servable as lora_servable
from appkit.method import Servable

__all__ = ["LoraPlusOptions", "servable"]


class LoraPlusOptions(BaseModel):
    """`method.<key>=` for method=lora_plus."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["lora_plus"] = "lora_plus"
    rank: int = Field(16, ge=1, le=512, description="r: rows of A")
    alpha: float = Field(32, gt=0, description="the update is scaled by alpha / rank")
    targets: tuple[str, ...] | Literal["all-linear"] = Field(
        "all-linear", description="names of linear layers; all-linear is each but the output layer"
    )
    ratio: float = Field(16, ge=1, le=1000, description="learning rate of B over that of A; 1 is plain LoRA")
    clip: float | None = Field(None, gt=0, description="entries of B are kept within ± this; none: free")

    @property
    def lora(self) -> LoraOptions:
        """The plain LoRA that is built and exported."""
        return LoraOptions(rank=self.rank, alpha=self.alpha, targets=self.targets)


def servable(options: LoraPlusOptions) -> Servable:
    """As plain LoRA: only the optimization differs."""
    return lora_servable(options.lora)
