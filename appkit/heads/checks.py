"""Defines the checks of a certificate, and how far an engine may be from what training recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

__all__ = ["FP32_LIMIT", "NOISE", "SHARE", "Check", "distance_check", "effect_check", "same_answers_check"]

FP32_LIMIT = 1e-4
"""nats, the largest difference of a log-probability that two fp32 computations may have"""
NOISE = 2.0
"""bf16: mean |engine - reference| in multiples of the training side's own bf16 noise"""
SHARE = 0.1
"""bf16: mean |engine - reference| as a share of mean |adapter - base|"""


@dataclass(frozen=True)
class Check:
    """Holds one comparison of a certificate."""

    name: str
    """what was compared"""
    passed: bool | None
    """None: it could not be made, and figure says why"""
    figure: str
    """what was measured, in words"""


def distance_check(
    name: str,
    difference: np.ndarray,
    unit: str,
    *,
    exact: bool,
    effect: float,
    noise: np.ndarray | None,
    scale: float = 1.0,
) -> Check:
    """Compares an engine's numbers with the recorded ones.

    difference: engine - reference. exact: both computed in fp32; then the largest difference counts, `scale` times
    `FP32_LIMIT` at most. Otherwise the mean does: against `effect`, mean |adapter - base|, and against `noise`, what
    rounding to bf16 changed on the training side (None: not recorded).
    """
    import numpy as np

    apart = np.abs(difference)
    if exact:
        kind, off, limit = "largest", float(apart.max()), FP32_LIMIT * scale
    else:
        kind, off, limit = "mean", float(apart.mean()), SHARE * effect
        if noise is not None:
            limit = min(limit, NOISE * float(np.abs(noise).mean()))
    return Check(
        name, off <= limit, f"{kind} difference {off:.1e} {unit.format(apart.size)}, limit {limit:.1e}"
    )


def effect_check(moved: float, effect: float, what: str) -> Check:
    """Compares how far the adapter moves the engine's numbers with how far it moved them in training."""
    share = moved / effect
    return Check(
        "the adapter acts", 0.5 < share < 2, f"it moves {what} by {share:.2f} of what it did in training"
    )


def same_answers_check(same: int, of: int, which: str, *, exact: bool) -> Check:
    """Requires equal answers of two fp32 computations; for other dtypes it only reports how many are equal."""
    figure = f"{same} of {of} {which} equal{'' if exact else ', which is not asked of bf16'}"
    return Check("answers", same == of if exact else None, figure)
