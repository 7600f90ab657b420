"""Options of the method fast_b."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from appkit.adapters.options import LowRankOptions

__all__ = ["FastBOptions"]


class FastBOptions(LowRankOptions):
    """`method.<key>=` for method=fast_b, beside rank, alpha and targets."""

    name: Literal["fast_b"] = "fast_b"
    ratio: float = Field(16, ge=1, le=1000, description="learning rate of B over that of A; 1 is plain LoRA")
    clip: float | None = Field(None, gt=0, description="entries of B are kept within ± this; none: free")
