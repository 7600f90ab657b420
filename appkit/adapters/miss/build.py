"""Builds a MiSS model: a trained B over a frozen A of zeros and ones, on an unmodified base."""

from __future__ import annotations

from typing import Any

import torch

from appkit.adapters.carrier import carrier
from appkit.adapters.factors import ADAPTER, drive, layers, pair, replace
from appkit.adapters.miss.config import MissOptions
from appkit.errors import ConfigError

__all__ = ["build"]


def build(base: Any, options: MissOptions) -> Any:
    """Build it. Raises ConfigError when a layer has fewer inputs than the rank."""
    model = carrier(base, options)
    for name, layer in layers(model):
        if options.rank > layer.in_features:
            raise ConfigError(
                f"method.rank is {options.rank}, and {name} has {layer.in_features} inputs to share among as many "
                f"columns; use method.rank={layer.in_features} or less, or other method.targets"
            )
    for _, layer in layers(model):
        replace(layer, A=_share(options.rank, layer.in_features, pair(layer)[0].device), train=False)
    drive(model, shard_factors)
    return model


def shard_factors(layer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return A (r, I), zeros and ones, and s B (O, r), with B trained."""
    A, B = pair(layer)
    return A, B * layer.scaling[ADAPTER]


def _share(rank: int, inputs: int, device: torch.device) -> torch.Tensor:
    """Return A (r, I) that sums each r-th input; a last shard shorter than r has the first columns alone."""
    shard = torch.arange(inputs, device=device) % rank  # (I,)
    return (shard == torch.arange(rank, device=device)[:, None]).float()
