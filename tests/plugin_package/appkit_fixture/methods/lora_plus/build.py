"""A plain LoRA whose factors learn at different rates."""

from __future__ import annotations

from typing import Any

import torch

from appkit.adapters.lora.build import lora_model
from appkit_fixture.methods.lora_plus.config import LoraPlusOptions

__all__ = ["build", "clip", "param_groups"]


def build(base: Any, options: LoraPlusOptions) -> Any:
    """PEFT model over `base` with fp32 factors; everything else frozen."""
    model = lora_model(base, options.lora)
    model.clip_b = options.clip
    return model


def param_groups(model: Any, options: LoraPlusOptions, learning_rate: float) -> list[dict[str, Any]]:
    """All trained parameters: B at `ratio` times `learning_rate`, A and a head over labels at that."""
    fast = _factors_b(model)
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    slow = [parameter for name, parameter in trained if ".lora_B." not in name]
    return [{"params": slow, "lr": learning_rate}, {"params": fast, "lr": learning_rate * options.ratio}]


@torch.no_grad()
def clip(model: Any) -> None:
    """Bring every B back within the bound, if there is one: a fast B can run away before A has turned."""
    if model.clip_b is not None:
        for parameter in _factors_b(model):
            parameter.clamp_(-model.clip_b, model.clip_b)


def _factors_b(model: Any) -> list[torch.nn.Parameter]:
    return [parameter for name, parameter in model.named_parameters() if ".lora_B." in name]
