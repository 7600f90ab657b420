"""Exports the adapter as PEFT stores it."""

from __future__ import annotations

from typing import Any

from appkit.adapters.lora.config import LoraOptions
from appkit.method import LoraForm

__all__ = ["export"]


def export(model: Any, options: LoraOptions) -> LoraForm:
    """Export the adapter's config and tensors under PEFT's names."""
    from peft import get_peft_model_state_dict

    config = model.peft_config["default"].to_dict()
    config["inference_mode"] = True
    config["target_modules"] = sorted(config["target_modules"])
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in get_peft_model_state_dict(model).items()
    }
    return LoraForm(config, tensors, error=0.0)
