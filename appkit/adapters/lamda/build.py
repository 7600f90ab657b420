"""Builds a LaMDA model, freezes B column by column, and shares ranks out by the weights' spectra."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

import torch

from appkit.adapters.carrier import carrier
from appkit.adapters.factors import ADAPTER, drive, keep, layers, pair, replace, require_rank, weight
from appkit.adapters.lamda.config import LamdaOptions
from appkit.method import Training

__all__ = ["build", "count_frozen", "freeze", "product", "put_back", "share_ranks"]


def build(base: Any, options: LamdaOptions) -> Any:
    """Build it. Raises ConfigError when a layer has fewer singular vectors than the rank, if any are computed."""
    model = carrier(base, options)
    if options.init == "svd" or options.spread > 1:
        require_rank(model, options.rank)
    for rank, (_, layer) in zip(_ranks(model, options.rank, options.spread), layers(model), strict=True):
        if options.init == "svd":
            U, S, Vh = torch.linalg.svd(weight(layer), full_matrices=False)
            A, B, N = Vh[:rank], U[:, :rank], torch.diag(S[:rank] / layer.scaling[ADAPTER])
        else:
            # drawn on the CPU, they are the same on every device
            random = (
                torch.nn.init.kaiming_uniform_(torch.empty(rank, n), a=5**0.5)
                for n in (layer.in_features, rank)
            )
            A, N = (tensor.to(pair(layer)[0].device) for tensor in random)
            B = A.new_zeros(layer.out_features, rank)
        replace(layer, A=A, train=False)
        replace(layer, B=B, train=True)
        keep(layer, "N", N, train=True)
        # the update is 0 from here on
        keep(layer, "start", pair(layer)[1] @ layer.lora_N, train=False)  # (O, r)
        layer.frozen_columns, layer.frozen = 0, None
    drive(model, product)
    return model


def product(layer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return A (r, I) and s (B N - B0 N0) (O, r), without a gradient for the frozen columns of B."""
    A, B = pair(layer)
    frozen, live = B[:, : layer.frozen_columns].detach(), B[:, layer.frozen_columns :]
    return A, (torch.cat([frozen, live], dim=1) @ layer.lora_N - layer.lora_start) * layer.scaling[ADAPTER]


def count_frozen(rank: int, step: int, steps: int, share: float) -> int:
    """Count the columns of B, of `rank`, that are frozen in step `step` (from 0) of `steps`."""
    window = share * steps
    return rank if step >= window else int(rank * step / window)


def freeze(model: Any, training: Training) -> None:
    """Freeze the columns of B whose time has come: those of the largest singular values first."""
    for _, layer in layers(model):
        B = pair(layer)[1].detach()
        count = count_frozen(B.shape[1], training.step, training.steps, training.options.freeze)
        layer.frozen_columns, layer.frozen = count, B[:, :count].clone()


def put_back(model: Any, training: Training) -> None:
    """Undo what momentum and weight decay did to frozen columns, which have no gradient."""
    for _, layer in layers(model):
        pair(layer)[1].detach()[:, : layer.frozen_columns] = layer.frozen


def _ranks(model: Any, rank: int, spread: float) -> list[int]:
    """Compute each layer's rank: all alike, or by the energy of the weight beyond `rank` singular values."""
    adapted = [layer for _, layer in layers(model)]
    if spread == 1:
        return [rank] * len(adapted)
    scores = []
    for layer in adapted:
        energy = torch.linalg.svdvals(weight(layer)).square()
        scores.append(float(energy[rank:].sum() / energy.sum()))
    most = [min(layer.in_features, layer.out_features) for layer in adapted]
    return share_ranks(scores, most, rank, spread)


def share_ranks(scores: Sequence[float], most: Sequence[int], rank: int, spread: float) -> list[int]:
    """Share len(scores) * rank out in proportion to the scores, >= 0, each within rank / spread and rank * spread.

    most: what each can have, at least `rank`. Shared as seats in a parliament: each next one goes to the highest score
    over what its owner has, plus a half.
    """
    ranks = [max(1, int(rank / spread))] * len(scores)
    limits = [min(int(rank * spread), limit) for limit in most]
    queue = [(-score / (ranks[i] + 0.5), i) for i, score in enumerate(scores) if ranks[i] < limits[i]]
    heapq.heapify(queue)
    for _ in range(len(scores) * rank - sum(ranks)):
        _, i = heapq.heappop(queue)
        ranks[i] += 1
        if ranks[i] < limits[i]:
            heapq.heappush(queue, (-scores[i] / (ranks[i] + 0.5), i))
    return ranks
