"""Builds a LoLDU model: frozen triangular factors of the weight, and their trained pivots."""

from __future__ import annotations

from typing import Any

import torch

from appkit.adapters.carrier import carrier
from appkit.adapters.factors import ADAPTER, drive, keep, layers, pair, replace, require_rank, weight
from appkit.adapters.loldu.config import LolduOptions
from appkit.errors import ConfigError

__all__ = ["build"]


def build(base: Any, options: LolduOptions) -> Any:
    """Build it. Raises ConfigError when a layer has fewer pivots than the rank, or one of them is 0."""
    model = carrier(base, options)
    r = options.rank
    require_rank(model, r)
    for name, layer in layers(model):
        P, L, U = torch.linalg.lu(weight(layer))  # (O, O), (O, min), (min, I)
        pivots = U.diagonal()[:r]
        _check_pivots(name, pivots)
        replace(layer, A=U[:r] / pivots[:, None], B=P @ L[:, :r], train=False)
        keep(layer, "z", pivots, train=True)
        keep(layer, "z0", pivots, train=False)
        scale = torch.full_like(pivots[:1], layer.scaling[ADAPTER])  # (1,)
        keep(layer, "scale", scale, train=options.train_scale)
    drive(model, product)
    return model


def product(layer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return U_r (r, I) and P L_r diag(σ z - s z0) (O, r): what changed since the start."""
    A, B = pair(layer)
    return A, B * (layer.lora_scale * layer.lora_z - layer.scaling[ADAPTER] * layer.lora_z0)


def _check_pivots(name: str, pivots: torch.Tensor) -> None:
    """Raise ConfigError for a pivot (r,) that is 0: U cannot be divided by it."""
    zero = (pivots == 0).nonzero()
    if len(zero):
        first = int(zero[0])
        less = f"method.rank={first} or less, or " if first else ""
        raise ConfigError(
            f"method.rank is {len(pivots)}, and pivot {first + 1} of {name} is 0: the columns of its weight are "
            f"dependent; use {less}other method.targets"
        )
