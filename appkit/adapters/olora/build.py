"""Builds an OLoRA model: factors from the weight's QR decomposition, on an unmodified base."""

from __future__ import annotations

from typing import Any

import torch

from appkit.adapters.carrier import carrier
from appkit.adapters.factors import drive, keep_start, layers, replace, require_rank, since_start, weight
from appkit.adapters.olora.config import OloraOptions

__all__ = ["build"]


def build(base: Any, options: OloraOptions) -> Any:
    """Build it. Raises ConfigError when a layer has fewer columns in Q than the rank."""
    model = carrier(base, options)
    require_rank(model, options.rank)
    for _, layer in layers(model):
        Q, R = torch.linalg.qr(weight(layer))  # (O, min), (min, I)
        replace(layer, A=R[: options.rank], B=Q[:, : options.rank], train=True)
        keep_start(layer)
    drive(model, since_start)
    return model
