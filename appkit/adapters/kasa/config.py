"""Config defines the options of KaSA."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from appkit.adapters.options import LowRankOptions, count_factors

__all__ = ["KasaOptions", "count_trained"]


class KasaOptions(LowRankOptions):
    """Options `method.<key>=` of method=kasa."""

    name: Literal["kasa"] = "kasa"
    beta: float = Field(
        1e-4, ge=0, description="weight of the squared singular values in the loss, in nats; 0: no such term"
    )
    gamma: float = Field(
        1e-3, ge=0, description="weight of A's and B's distance from orthonormal, in nats; 0: no such term"
    )


def count_trained(options: KasaOptions, shapes: Sequence[tuple[int, int]]) -> int:
    """Count the parameters of A, B and the r singular values for each layer of `shapes` (O, I)."""
    return count_factors(options, shapes) + options.rank * len(shapes)
