"""Config defines the options of PiSSA."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from appkit.adapters.options import LowRankOptions

__all__ = ["PissaOptions"]


class PissaOptions(LowRankOptions):
    """Options `method.<key>=` of method=pissa."""

    name: Literal["pissa"] = "pissa"
    niter: int = Field(
        0,
        ge=0,
        le=100,
        description="subspace iterations of a randomized SVD (4 to 16 is usual); 0: exact SVD",
    )
