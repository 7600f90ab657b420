"""Config defines the options of OLoRA."""

from __future__ import annotations

from typing import Literal

from appkit.adapters.options import LowRankOptions

__all__ = ["OloraOptions"]


class OloraOptions(LowRankOptions):
    """Options `method.<key>=` of method=olora."""

    name: Literal["olora"] = "olora"
