"""Passages are ranked: rankings are fused, and QIM judges."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

__all__ = ["fused", "levels", "qim", "signed_qim"]

RRF = 60
"""k of reciprocal rank fusion, as its authors chose it"""


def fused(rankings: Sequence[Sequence[int]], k: int = RRF) -> list[tuple[int, float]]:
    """Items with the sum of 1 / (k + rank) over the rankings, best first; of equal ones the smaller number first.

    Reciprocal rank fusion: Cormack, Clarke and Büttcher 2009.
    """
    scores: defaultdict[int, float] = defaultdict(float)
    for ranking in rankings:
        for rank, item in enumerate(ranking, 1):
            scores[item] += 1 / (k + rank)
    return sorted(scores.items(), key=lambda one: (-one[1], one[0]))


def levels(vectors: np.ndarray, k: int) -> np.ndarray:
    """vectors (..., n) -> their components' levels (..., n), 0 to k - 1, between each vector's own least and greatest.

    A constant vector is all level 0.
    """
    low = vectors.min(-1, keepdims=True)
    width = vectors.max(-1, keepdims=True) - low
    found: np.ndarray = np.round((vectors - low) / np.where(width > 0, width, 1) * (k - 1)).astype(np.int64)
    return found


def qim(query: np.ndarray, passages: np.ndarray, k: int = 16) -> np.ndarray:
    """query (n,), passages (N, n) -> how much the query's levels tell of each passage's: (N,), 0 or more.

    Both are quantized to k levels; then sum over the levels v of the query of n_v² (mean of y over v - mean of y)²,
    over n times the deviation of y. A constant passage scores 0, which the formula leaves open.
    """
    x, y = levels(query, k), levels(passages, k).astype(np.float64)
    n = len(x)
    groups = np.eye(k)[x]  # (n, k)
    counts = groups.sum(0)  # (k,)
    # n_v (mean over v - mean) is the sum over v, less its share of the whole sum
    pulls = y @ groups - counts * y.mean(-1, keepdims=True)  # (N, k)
    spread = y.std(-1)
    found: np.ndarray = (pulls**2).sum(-1) / np.where(spread > 0, n * spread, np.inf)
    return found


def signed_qim(query: np.ndarray, passages: np.ndarray, k: int = 16) -> np.ndarray:
    """QIM with the sign of the correlation: by itself it takes a vector and its opposite for equally near."""
    centred = (passages - passages.mean(-1, keepdims=True)) @ (query - query.mean())
    found: np.ndarray = np.where(centred < 0, -1.0, 1.0) * qim(query, passages, k)
    return found
