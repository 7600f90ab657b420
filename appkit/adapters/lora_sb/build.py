"""Builds a LoRA-SB model: R (r, r) between frozen factors from the first step of full fine-tuning."""

from __future__ import annotations

from itertools import islice
from typing import Any

import torch

from appkit.adapters.carrier import carrier
from appkit.adapters.factors import ADAPTER, drive, keep, layers, pair, principal, replace, require_rank
from appkit.adapters.gradients import each_gradient
from appkit.adapters.lora_sb.config import LoraSbOptions
from appkit.adapters.lora_xs.build import core_factors
from appkit.method import Training

__all__ = ["before_training", "build"]


def build(base: Any, options: LoraSbOptions) -> Any:
    """Build it, equal to the base until `before_training`.

    Raises ConfigError when a layer has fewer singular vectors than the rank.
    """
    model = carrier(base, options)
    require_rank(model, options.rank)
    for _, layer in layers(model):
        A, B = pair(layer)
        replace(layer, A=A, B=B, train=False)
        keep(layer, "R", torch.zeros(options.rank, options.rank, device=A.device), train=True)
    drive(model, core_factors)
    return model


def before_training(model: Any, training: Training) -> None:
    """Start each layer at the best rank-r approximation of -eta sign(G), AdamW's first step on the weight.

    G (O, I) is the gradient summed over the first batches. Afterwards the model no longer computes what the base does.
    """
    options = training.options
    starts = []
    device = next(model.parameters()).device
    # a randomized SVD draws from the global generators: from the seed alone here, and nothing that comes later moves
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(training.seed)
        for _, layer, G in each_gradient(
            model, lambda: islice(training.batches(), options.batches), training.loss
        ):
            step = -options.first_step * G.sign()  # (O, I)
            starts.append((layer, *principal(step, options.rank, options.niter)))
    for layer, U, S, Vh in starts:
        replace(layer, A=Vh, B=U, train=False)
        layer.lora_R.data.copy_(torch.diag(S / layer.scaling[ADAPTER]))
