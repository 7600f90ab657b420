"""Options of the turns method."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from appkit.adapters.options import LowRankOptions

__all__ = ["TurnsOptions"]


class TurnsOptions(LowRankOptions):
    """`method.<key>=` for method=turns, beside rank, alpha and targets."""

    name: Literal["turns"] = "turns"
    period: int = Field(20, ge=1, description="steps that a layer learns before the next is drawn")
