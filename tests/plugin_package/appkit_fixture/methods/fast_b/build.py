"""A plain LoRA whose factors learn at different rates."""

from __future__ import annotations

from typing import Any

import torch

from appkit.method import Training
from appkit_fixture.methods.fast_b.config import FastBOptions

__all__ = ["clip", "param_groups"]


def param_groups(model: Any, options: FastBOptions, learning_rate: float) -> list[dict[str, Any]]:
    """All trained parameters: B at `ratio` times `learning_rate`, A and a head over labels at that."""
    fast = _factors_b(model)
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    slow = [parameter for name, parameter in trained if ".lora_B." not in name]
    return [{"params": slow, "lr": learning_rate}, {"params": fast, "lr": learning_rate * options.ratio}]


@torch.no_grad()
def clip(model: Any, training: Training) -> None:
    """Bring every B back within the bound, if there is one: a fast B can run away before A has turned."""
    bound = training.options.clip
    if bound is not None:
        for parameter in _factors_b(model):
            parameter.clamp_(-bound, bound)


def _factors_b(model: Any) -> list[torch.nn.Parameter]:
    return [parameter for name, parameter in model.named_parameters() if ".lora_B." in name]
