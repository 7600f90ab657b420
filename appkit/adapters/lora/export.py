"""Exports the adapter in the form that engines load: a plain LoRA on the unmodified base."""

from __future__ import annotations

import math
from typing import Any

import torch

from appkit.adapters.lora.config import LoraOptions
from appkit.method import LoraForm

__all__ = ["export"]


def export(model: Any, options: LoraOptions) -> LoraForm:
    """Export the adapter's config and tensors under PEFT's names.

    An initialization that changed the base (PiSSA, OLoRA) is turned into an update of the original base:
    s (B A - B0 A0) = s [B | -B0] [A ; A0], of twice the rank. It does not contain the rounding of the base when the
    factors were taken out of it: most of the error on a bf16 base.
    """
    from peft import get_peft_model_state_dict

    config = model.peft_config["default"].to_dict()
    config["inference_mode"] = True
    config["target_modules"] = sorted(config["target_modules"])
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in get_peft_model_state_dict(model).items()
    }
    if not options.changes_base:
        return LoraForm(config, tensors, error=0.0)
    scaling = options.alpha / (math.sqrt(options.rank) if options.rslora else options.rank)
    error = 0.0
    for path, module in model.named_modules():
        if not hasattr(module, "lora_A_start"):
            continue
        A, B = tensors[f"{path}.lora_A.weight"], tensors[f"{path}.lora_B.weight"]
        A0, B0 = module.lora_A_start.cpu(), module.lora_B_start.cpu()
        doubled_A, doubled_B = torch.cat([A, A0]), torch.cat([B, -B0], dim=1)
        tensors[f"{path}.lora_A.weight"], tensors[f"{path}.lora_B.weight"] = doubled_A, doubled_B
        update = B @ A - B0 @ A0
        apart = (doubled_B @ doubled_A - update).norm() * scaling + module.base_rounding.cpu()
        error = max(error, float(apart / (update.norm() * scaling).clamp_min(1e-12)))
    config |= {
        "r": 2 * options.rank,
        "lora_alpha": scaling * 2 * options.rank,
        "use_rslora": False,
        "init_lora_weights": True,
    }
    return LoraForm(config, tensors, error)
