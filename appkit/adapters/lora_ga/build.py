"""Builds a LoRA-GA model: factors from the gradient's singular vectors, on an unmodified base."""

from __future__ import annotations

from itertools import islice
from typing import Any

import torch

from appkit.adapters.carrier import carrier
from appkit.adapters.factors import (
    drive,
    fix_signs,
    keep_start,
    principal,
    replace,
    require_rank,
    since_start,
)
from appkit.adapters.gradients import each_gradient
from appkit.adapters.lora_ga.config import LoraGaOptions
from appkit.method import Training

__all__ = ["before_training", "build"]


def build(base: Any, options: LoraGaOptions) -> Any:
    """Build it, as a plain LoRA until `before_training`. Raises ConfigError for layers of fewer than 2r outputs."""
    model = carrier(base, options, use_rslora=options.rslora)
    require_rank(model, 2 * options.rank, "2 * method.rank")
    drive(model, since_start)
    return model


def before_training(model: Any, training: Training) -> None:
    """Replace the factors by singular vectors of the gradient over the first micro-batches; the update is 0 then."""
    options, rank = training.options, training.options.rank
    starts = []
    for _, layer, G in each_gradient(
        model, lambda: islice(training.batches(), options.batches), training.loss
    ):
        U, V = _decompose(G, rank, options.niter, training.seed)
        # the rule of the authors' code: outputs keep their size whatever the width
        length = G.shape[0] ** 0.25 / options.gamma**0.5
        A, B = fix_signs(V[:rank]), fix_signs(U[rank:]).T  # (r, I), (O, r)
        starts.append((layer, A * length, B * length))
    for layer, A, B in starts:
        replace(layer, A=A, B=B, train=True)
        keep_start(layer)


def _decompose(G: torch.Tensor, rank: int, niter: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """G (O, I) -> the 2r largest left (2r, O) and right (2r, I) singular vectors, as rows."""
    # a randomized SVD draws numbers, and is computed with as many vectors as in the authors' code
    with torch.random.fork_rng(devices=[G.device] if G.is_cuda else []):
        torch.manual_seed(seed)
        U, _, Vh = principal(G, min(4 * rank, *G.shape), niter)
    return U.T[: 2 * rank], Vh[: 2 * rank]
