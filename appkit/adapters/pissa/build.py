"""Builds a PiSSA model: factors from the weight's singular vectors, on an unmodified base."""

from __future__ import annotations

from typing import Any

from appkit.adapters.carrier import carrier
from appkit.adapters.factors import (
    ADAPTER,
    drive,
    keep_start,
    layers,
    principal,
    replace,
    require_rank,
    since_start,
    weight,
)
from appkit.adapters.pissa.config import PissaOptions

__all__ = ["build"]


def build(base: Any, options: PissaOptions) -> Any:
    """Build it. Raises ConfigError when a layer has fewer singular vectors than the rank."""
    model = carrier(base, options)
    require_rank(model, options.rank)
    for _, layer in layers(model):
        U, S, Vh = principal(weight(layer), options.rank, options.niter)
        root = (S / layer.scaling[ADAPTER]).sqrt()  # (r,)
        replace(layer, A=root[:, None] * Vh, B=U * root, train=True)
        keep_start(layer)
    drive(model, since_start)
    return model
