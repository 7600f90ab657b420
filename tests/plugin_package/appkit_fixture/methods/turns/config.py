"""Options of the turns method."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from appkit.adapters.lora.config import LoraOptions
from appkit.adapters.lora.config import servable as lora_servable
from appkit.method import Servable

__all__ = ["TurnsOptions", "servable"]


class TurnsOptions(BaseModel):
    """`method.<key>=` for method=turns."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["turns"] = "turns"
    rank: int = Field(16, ge=1, le=512, description="r: rows of A")
    period: int = Field(20, ge=1, description="steps that a layer learns before the next is drawn")

    @property
    def lora(self) -> LoraOptions:
        """The plain LoRA that is built and exported."""
        return LoraOptions(rank=self.rank)


def servable(options: TurnsOptions) -> Servable:
    """As plain LoRA: only the optimization differs."""
    return lora_servable(options.lora)
