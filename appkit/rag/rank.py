"""Ranks passages: reciprocal rank fusion of several rankings, and the QIM score."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

__all__ = ["fused", "levels", "qim", "signed_qim"]

RRF = 60
"""k of reciprocal rank fusion, as its authors chose it"""


def fused(rankings: Sequence[Sequence[int]], k: int = RRF) -> list[tuple[int, float]]:
    """Fuse rankings by the sum of 1 / (k + rank), best first; of equal items the smaller number first.

    Reciprocal rank fusion: Cormack, Clarke and Büttcher 2009.
    """
    scores: defaultdict[int, float] = defaultdict(float)
    for ranking in rankings:
        for rank, item in enumerate(ranking, 1):
            scores[item] += 1 / (k + rank)
    return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))


def levels(vectors: np.ndarray, k: int) -> np.ndarray:
    """Quantize vectors (..., n) to levels (..., n), 0 to k - 1, between each vector's own minimum and maximum.

    A constant vector is all level 0.
    """
    low = vectors.min(-1, keepdims=True)
    width = vectors.max(-1, keepdims=True) - low
    quantized: np.ndarray = np.round((vectors - low) / np.where(width > 0, width, 1) * (k - 1)).astype(
        np.int64
    )
    return quantized


def qim(query: np.ndarray, passages: np.ndarray, k: int = 16) -> np.ndarray:
    """Compute the dependence of each passage's levels on the query's: query (n,), passages (N, n) -> (N,), 0 or more.

    Both are quantized to k levels; then sum over the levels v of the query of n_v² (mean of y over v - mean of y)²,
    over n times the deviation of y. A constant passage, for which the formula is undefined, scores 0.
    """
    x, y = levels(query, k), levels(passages, k).astype(np.float64)
    n = len(x)
    groups = np.eye(k)[x]  # (n, k)
    counts = groups.sum(0)  # (k,)
    # n_v (mean over v - mean) is the sum over v, less its share of the whole sum
    pulls = y @ groups - counts * y.mean(-1, keepdims=True)  # (N, k)
    spread = y.std(-1)
    scores: np.ndarray = (pulls**2).sum(-1) / np.where(spread > 0, n * spread, np.inf)
    return scores


def signed_qim(query: np.ndarray, passages: np.ndarray, k: int = 16) -> np.ndarray:
    """Compute QIM with the sign of the correlation; QIM alone gives a vector and its opposite the same score."""
    centred = (passages - passages.mean(-1, keepdims=True)) @ (query - query.mean())
    scores: np.ndarray = np.where(centred < 0, -1.0, 1.0) * qim(query, passages, k)
    return scores
