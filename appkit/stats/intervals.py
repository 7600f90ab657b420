"""Intervals computes bootstrap intervals and paired tests for metrics that aggregate per-row statistics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from appkit.task import row_mean

__all__ = ["Comparison", "Interval", "bootstrap", "calibration_error", "compare", "reliability"]

Aggregate = Callable[[np.ndarray], float]

POWER_Z = 1.96 + 0.8416
"""sum of the normal quantiles of a two-sided 5 % test with 80 % power"""


@dataclass(frozen=True)
class Interval:
    """A metric's value and its bootstrap percentile interval."""

    value: float
    """over all n rows"""
    low: float
    high: float
    n: int
    """rows"""
    level: float = 0.95
    """confidence level, 0 to 1"""


@dataclass(frozen=True)
class Comparison:
    """The difference b - a of a metric on the same rows."""

    difference: float
    low: float
    """of the 95 % bootstrap percentile interval"""
    high: float
    p: float
    """two-sided, by approximate randomization: each row's two results are swapped with probability 1/2 (Noreen 1989)"""
    detectable: float
    """the smallest true difference that so many rows show in 80 % of samples"""
    n: int
    """rows"""


def _draw_resamples(rows: int, count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, rows, (count, rows))


def _aggregate_resamples(matrix: np.ndarray, aggregate: Aggregate, picks: np.ndarray) -> np.ndarray:
    if aggregate is row_mean:  # all resamples at once
        return np.asarray(matrix[:, 0][picks].mean(1))
    return np.array([aggregate(matrix[pick]) for pick in picks])


def bootstrap(matrix: np.ndarray, aggregate: Aggregate, resamples: int = 2000, seed: int = 0) -> Interval:
    """Compute value and 95 % percentile interval (Efron & Tibshirani 1993): matrix (N, K) of per-row statistics."""
    value = aggregate(matrix)
    values = _aggregate_resamples(matrix, aggregate, _draw_resamples(len(matrix), resamples, seed))
    low, high = np.percentile(values, [2.5, 97.5])
    return Interval(float(value), float(low), float(high), len(matrix))


def compare(
    a: np.ndarray, b: np.ndarray, aggregate: Aggregate, resamples: int = 2000, seed: int = 0
) -> Comparison:
    """Compare two systems on the same rows: a, b (N, K) are their per-row statistics.

    Raises ValueError when the numbers of rows differ.
    """
    if a.shape != b.shape:
        raise ValueError(f"paired comparison needs the same rows, got {a.shape} and {b.shape}")
    rows = len(a)
    difference = aggregate(b) - aggregate(a)
    picks = _draw_resamples(rows, resamples, seed)
    resampled = _aggregate_resamples(b, aggregate, picks) - _aggregate_resamples(a, aggregate, picks)
    low, high = np.percentile(resampled, [2.5, 97.5])
    spread = float(resampled.std(ddof=1))
    # no row differs: if a share of 1 - 0.2^(1/n) of rows differed, a sample would show one in 80 % of cases
    detectable = POWER_Z * spread if spread else 1 - 0.2 ** (1 / rows)
    swaps = np.random.default_rng([seed, 1]).random((resamples, rows)) < 0.5
    if aggregate is row_mean:
        each = (b - a)[:, 0]
        shuffled = np.where(swaps, -each, each).mean(1)
    else:
        shuffled = np.array(
            [aggregate(np.where(s[:, None], a, b)) - aggregate(np.where(s[:, None], b, a)) for s in swaps]
        )
    # the observed labelling is one of the possible ones, hence + 1 (never p = 0)
    p = (1 + int((np.abs(shuffled) >= abs(difference) - 1e-12).sum())) / (1 + resamples)
    return Comparison(float(difference), float(low), float(high), float(p), detectable, rows)


BINS = 10
"""bins of `reliability`, at most"""


def reliability(right: np.ndarray, judged: np.ndarray) -> np.ndarray:
    """Put answers into bins of equal mass, the least likely first.

    right (N,) 0 or 1, judged (N,) probabilities -> (B, 3): each bin's share right, mean probability and rows.
    """
    ordered = np.column_stack([right, judged])[np.argsort(judged, kind="stable")]
    bins = min(BINS, len(ordered))
    size, longer = divmod(len(ordered), bins)
    sizes = np.full(bins, size)
    sizes[:longer] += 1  # as np.array_split has it
    starts = np.cumsum(sizes) - sizes
    return np.column_stack([np.add.reduceat(ordered, starts) / sizes[:, None], sizes])


def calibration_error(bins: np.ndarray) -> float:
    """Compute the expected calibration error from `reliability`'s bins (B, 3): |share right - probability| by rows."""
    return float(np.abs(bins[:, 0] - bins[:, 1]) @ bins[:, 2] / bins[:, 2].sum())
