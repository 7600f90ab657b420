"""Builds the optimizer's groups of LoRA+; its model and its export are the carrier's."""

from __future__ import annotations

from typing import Any

from appkit.adapters.factors import layers, pair
from appkit.adapters.lora_plus.config import LoraPlusOptions

__all__ = ["param_groups"]


def param_groups(model: Any, options: LoraPlusOptions, learning_rate: float) -> list[dict[str, Any]]:
    """Group what is trained: A and a label head learn at `learning_rate`, B `ratio` times as fast."""
    fast = [pair(layer)[1] for _, layer in layers(model)]
    known = {id(parameter) for parameter in fast}
    slow = [weight for weight in model.parameters() if weight.requires_grad and id(weight) not in known]
    return [{"params": slow, "lr": learning_rate}, {"params": fast, "lr": learning_rate * options.ratio}]
