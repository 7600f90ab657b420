"""Intervals and paired comparisons for any metric that is an aggregate of per-row statistics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from appkit.task import row_mean

__all__ = ["Comparison", "Interval", "bootstrap", "calibration_error", "compare", "reliability"]

Aggregate = Callable[[np.ndarray], float]

POWER_Z = 1.96 + 0.8416
"""Normal quantiles of a two-sided 5 % test with 80 % power."""


@dataclass(frozen=True)
class Interval:
    """value over all n rows, and the percentile interval of its bootstrap."""

    value: float
    low: float
    high: float
    n: int
    level: float = 0.95


@dataclass(frozen=True)
class Comparison:
    """The difference b - a on the same rows.

    p: two-sided, by approximate randomization (each row's two results are swapped with probability 1/2;
    Noreen 1989). detectable: the smallest true difference that so many rows would show four times in five.
    """

    difference: float
    low: float
    high: float
    p: float
    detectable: float
    n: int


def _resamples(rows: int, count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, rows, (count, rows))


def _over(matrix: np.ndarray, aggregate: Aggregate, picks: np.ndarray) -> np.ndarray:
    if aggregate is row_mean:  # all resamples at once
        return np.asarray(matrix[:, 0][picks].mean(1))
    return np.array([aggregate(matrix[pick]) for pick in picks])


def bootstrap(matrix: np.ndarray, aggregate: Aggregate, resamples: int = 2000, seed: int = 0) -> Interval:
    """matrix (N, K) of per-row statistics -> value and 95 % percentile interval (Efron & Tibshirani 1993)."""
    value = aggregate(matrix)
    values = _over(matrix, aggregate, _resamples(len(matrix), resamples, seed))
    low, high = np.percentile(values, [2.5, 97.5])
    return Interval(float(value), float(low), float(high), len(matrix))


def compare(
    a: np.ndarray, b: np.ndarray, aggregate: Aggregate, resamples: int = 2000, seed: int = 0
) -> Comparison:
    """a, b (N, K): statistics of two systems on the same rows.

    Raises ValueError when the numbers of rows differ.
    """
    if a.shape != b.shape:
        raise ValueError(f"paired comparison needs the same rows, got {a.shape} and {b.shape}")
    rows = len(a)
    difference = aggregate(b) - aggregate(a)
    picks = _resamples(rows, resamples, seed)
    resampled = _over(b, aggregate, picks) - _over(a, aggregate, picks)
    low, high = np.percentile(resampled, [2.5, 97.5])
    spread = float(resampled.std(ddof=1))
    # no row differs: a share of 1 - 0.2^(1/n) of differing rows would have shown one four times in five
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


def reliability(right: np.ndarray, judged: np.ndarray) -> np.ndarray:
    """right (N,) 0 or 1, judged (N,) probabilities -> (B, 3): of each bin the share right, mean probability, rows.

    Bins of equal mass, the least likely first.
    """
    ordered = np.column_stack([right, judged])[np.argsort(judged, kind="stable")]
    bins = min(BINS, len(ordered))
    size, longer = divmod(len(ordered), bins)
    sizes = np.full(bins, size)
    sizes[:longer] += 1  # as np.array_split has it
    starts = np.cumsum(sizes) - sizes
    return np.column_stack([np.add.reduceat(ordered, starts) / sizes[:, None], sizes])


def calibration_error(bins: np.ndarray) -> float:
    """bins (B, 3) of `reliability` -> expected calibration error: |share right - probability|, weighted by rows."""
    return float(np.abs(bins[:, 0] - bins[:, 1]) @ bins[:, 2] / bins[:, 2].sum())
