"""Builds an NLoRA, SLoRA or IntTune model: a matrix N (r, r) between the factors A and B."""

from __future__ import annotations

import math
from typing import Any

import torch

from appkit.adapters.carrier import carrier
from appkit.adapters.factors import ADAPTER, drive, keep, layers, pair, replace, require_rank, weight
from appkit.adapters.nlora.config import NloraOptions

__all__ = ["build"]


def build(base: Any, options: NloraOptions) -> Any:
    """Build it. Raises ConfigError when a layer has fewer rows or columns than the rank, but for slora."""
    model = carrier(base, options)
    r = options.rank
    if options.variant != "slora":
        require_rank(model, r)
    for _, layer in layers(model):
        if options.variant == "slora":
            A, _ = pair(layer)  # it is random, and B = 0: the carrier's own start
            N = torch.nn.init.kaiming_uniform_(torch.empty(r, r), a=math.sqrt(5))
            keep(layer, "N", N.to(A.device), train=True)
        else:
            W = weight(layer)  # (O, I)
            replace(layer, A=W[:r], B=W[:, :r], train=options.variant == "nlora")
            keep(layer, "N", W[:r, :r], train=True)
    drive(model, product)
    return model


def product(layer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return N A (r, I) and s B (O, r)."""
    A, B = pair(layer)
    return layer.lora_N @ A, B * layer.scaling[ADAPTER]
