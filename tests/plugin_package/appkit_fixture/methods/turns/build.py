"""A plain LoRA of which one layer learns at a time."""

from __future__ import annotations

import random
from typing import Any

from appkit.method import Training

__all__ = ["thaw"]


def thaw(model: Any, training: Training) -> None:
    """Let the layer learn whose turn it is: drawn from (seed, turn) alone, so that a resumed run draws the same."""
    layers = model.get_base_model().get_decoder().layers
    turn = training.step // training.options.period
    chosen = random.Random(f"{training.seed} {turn}").randrange(len(layers))
    for number, layer in enumerate(layers):
        for name, parameter in layer.named_parameters():
            if ".lora_" in name:
                parameter.requires_grad_(number == chosen)
