"""Intervals computes bootstrap intervals and paired tests for metrics that aggregate per-row statistics.

Rows of one document are not independent: with `clusters`, whole documents are drawn and swapped (Field and Welsh 2007).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    """two-sided, by approximate randomization: each row's, or document's, two results are swapped with probability 1/2
    (Noreen 1989)"""
    detectable: float
    """the smallest true difference that so many rows show in 80 % of samples"""
    n: int
    """rows"""


@dataclass(frozen=True)
class _Units:
    """What a resample draws: rows, or the documents that they belong to."""

    of_row: np.ndarray
    """(N,) number of each row's unit, from 0"""
    count: int

    @classmethod
    def of(cls, rows: int, clusters: np.ndarray | None) -> _Units:
        if clusters is None:
            return cls(np.arange(rows), rows)
        if len(clusters) != rows:
            raise ValueError(f"each row belongs to a cluster, got {len(clusters)} clusters of {rows} rows")
        names, of_row = np.unique(clusters, return_inverse=True)
        # of one document nothing could be drawn
        return cls(of_row, len(names)) if len(names) > 1 else cls(np.arange(rows), rows)

    def resample(
        self, matrices: Sequence[np.ndarray], aggregate: Aggregate, resamples: int, seed: int
    ) -> list[np.ndarray]:
        """Compute the aggregate of each (N, K) matrix over the same resamples; returns a (resamples,) for each."""
        picks = np.random.default_rng(seed).integers(0, self.count, (resamples, self.count))
        if self.count == len(self.of_row):  # a row each, whose order does not matter
            order = np.argsort(self.of_row)
            if aggregate is row_mean:  # all resamples at once
                return [matrix[order, 0][picks].mean(1) for matrix in matrices]
            return [np.array([aggregate(matrix[order[pick]]) for pick in picks]) for matrix in matrices]
        sizes = np.bincount(self.of_row, minlength=self.count)
        if aggregate is row_mean:
            rows = sizes[picks].sum(1)
            sums = [np.bincount(self.of_row, matrix[:, 0], self.count) for matrix in matrices]
            return [total[picks].sum(1) / rows for total in sums]
        order = np.argsort(self.of_row, kind="stable")
        members = np.split(order, np.cumsum(sizes)[:-1])
        chosen = [np.concatenate([members[unit] for unit in pick]) for pick in picks]
        return [np.array([aggregate(matrix[rows]) for rows in chosen]) for matrix in matrices]


def bootstrap(
    matrix: np.ndarray,
    aggregate: Aggregate,
    resamples: int = 2000,
    seed: int = 0,
    clusters: np.ndarray | None = None,
) -> Interval:
    """Compute value and 95 % percentile interval (Efron & Tibshirani 1993): matrix (N, K) of per-row statistics.

    clusters: (N,) the document of each row, drawn as a whole; None: rows are drawn.
    """
    (values,) = _Units.of(len(matrix), clusters).resample([matrix], aggregate, resamples, seed)
    low, high = np.percentile(values, [2.5, 97.5])
    return Interval(float(aggregate(matrix)), float(low), float(high), len(matrix))


def compare(
    a: np.ndarray,
    b: np.ndarray,
    aggregate: Aggregate,
    resamples: int = 2000,
    seed: int = 0,
    clusters: np.ndarray | None = None,
) -> Comparison:
    """Compare two systems on the same rows: a, b (N, K) are their per-row statistics; clusters as in `bootstrap`.

    Raises ValueError when the numbers of rows differ.
    """
    if a.shape != b.shape:
        raise ValueError(f"paired comparison needs the same rows, got {a.shape} and {b.shape}")
    rows, units = len(a), _Units.of(len(a), clusters)
    difference = aggregate(b) - aggregate(a)
    of_a, of_b = units.resample([a, b], aggregate, resamples, seed)
    resampled = of_b - of_a
    low, high = np.percentile(resampled, [2.5, 97.5])
    spread = float(resampled.std(ddof=1))
    # no unit differs: if a share of 1 - 0.2^(1/n) of units differed, a sample would show one in 80 % of cases
    detectable = POWER_Z * spread if spread else 1 - 0.2 ** (1 / units.count)
    swaps = (np.random.default_rng([seed, 1]).random((resamples, units.count)) < 0.5)[:, units.of_row]
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
