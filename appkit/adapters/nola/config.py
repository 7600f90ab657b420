"""Config defines the options of NOLA."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from appkit.adapters.options import LowRankOptions

__all__ = ["NolaOptions", "count_coefficients"]


class NolaOptions(LowRankOptions):
    """Options `method.<key>=` of method=nola."""

    name: Literal["nola"] = "nola"
    bases: int = Field(
        128, ge=1, le=65536, description="K: random bases of each factor; 2 K numbers are trained in a layer"
    )
    seed: int | None = Field(
        None, ge=0, lt=2**31, description="of all bases; none: drawn from the run's own seed"
    )


def count_coefficients(options: NolaOptions, shapes: Sequence[tuple[int, int]]) -> int:
    """Count K coefficients of A's bases and K of B's for each layer, whatever its shape."""
    return 2 * options.bases * len(shapes)
