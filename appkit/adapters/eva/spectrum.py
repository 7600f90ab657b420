"""Spectrum holds principal components of rows that come in batches (incremental PCA), and shares ranks out by them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

__all__ = ["Spectrum", "distribute", "fold"]

NITER = 2
"""subspace iterations of a randomized SVD; more components are kept than are used, so few suffice"""


@dataclass(frozen=True)
class Spectrum:
    """What is known of the rows (n, I) that were folded in."""

    count: int
    """n"""
    mean: torch.Tensor
    """(I,)"""
    total: torch.Tensor
    """(), the sum of squares of the rows less their mean"""
    singular: torch.Tensor
    """(k,), largest first: square roots of the part of `total` along each component"""
    components: torch.Tensor
    """(k, I), orthonormal"""

    @property
    def explained(self) -> torch.Tensor:
        """Shares of the variance along each component, (k,)."""
        return self.singular.square() / self.total.clamp(min=torch.finfo(torch.float32).tiny)


def fold(before: Spectrum | None, rows: torch.Tensor, most: int, seed: int) -> Spectrum:
    """Fold rows (n, I) fp32 into what is known; `most` components are kept, exactly if there are no more.

    The random numbers of the approximation for wide rows come from `seed`.
    """
    count, mean = len(rows), rows.mean(0)
    stacked = rows - mean
    total = stacked.square().sum()
    if before is not None:
        known, added = before.count, count
        count = known + added
        # the rows' distance from the old mean, as a row of its own (Ross et al. 2008)
        shift = (before.mean - mean) * (known * added / count) ** 0.5
        stacked = torch.cat([before.singular[:, None] * before.components, stacked, shift[None]])
        total = before.total + total + shift.square().sum()
        mean = (before.mean * known + mean * added) / count
    singular, components = _decompose(stacked, most, seed)
    return Spectrum(count, mean, total, singular, components)


def distribute(explained: Mapping[str, torch.Tensor], rank: int) -> dict[str, int]:
    """Share layers * rank components out: the first of each layer, then those with the largest share of variance.

    explained: shares (k,), largest first, by layer; k is the layer's largest rank. Earlier layers come first at a tie.
    """
    ranks = dict.fromkeys(explained, 1)
    more = [(share, name) for name, shares in explained.items() for share in shares[1:].tolist()]
    more.sort(key=lambda pair: -pair[0])  # stable
    for _, name in more[: (rank - 1) * len(ranks)]:
        ranks[name] += 1
    return ranks


def _decompose(rows: torch.Tensor, most: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows (m, I) -> singular values (k,) and right singular vectors (k, I), k = `most` or all."""
    if 2 * most < min(rows.shape):
        with torch.random.fork_rng(devices=[rows.device] if rows.is_cuda else []):
            torch.manual_seed(seed)
            _, S, V = torch.svd_lowrank(rows, most, niter=NITER)
        return S, V.T
    _, S, Vh = torch.linalg.svd(rows, full_matrices=False)
    return S[:most], Vh[:most]
