"""Builds a LoRA-XS model: R (r, r) between frozen factors from the weight's singular vectors, on an unmodified base."""

from __future__ import annotations

from typing import Any

import torch

from appkit.adapters.carrier import carrier
from appkit.adapters.factors import (
    ADAPTER,
    drive,
    keep,
    layers,
    pair,
    principal,
    replace,
    require_rank,
    weight,
)
from appkit.adapters.lora_xs.config import LoraXsOptions

__all__ = ["build", "core_factors"]

SPREAD = 1e-5
"""standard deviation of R at the start, as in the authors' code; the update begins near 0"""


def build(base: Any, options: LoraXsOptions) -> Any:
    """Build it. Raises ConfigError when a layer has fewer singular vectors than the rank."""
    model = carrier(base, options)
    require_rank(model, options.rank)
    for _, layer in layers(model):
        U, S, Vh = principal(weight(layer), options.rank, options.niter)
        replace(layer, A=S[:, None] * Vh, B=U, train=False)
        R = SPREAD * torch.randn(options.rank, options.rank)
        keep(layer, "R", R.to(U.device), train=True)
    drive(model, core_factors)
    return model


def core_factors(layer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return R A (r, I) and s B (O, r): the update is s B R A, with R (r, r) trained."""
    A, B = pair(layer)
    return layer.lora_R @ A, B * layer.scaling[ADAPTER]
