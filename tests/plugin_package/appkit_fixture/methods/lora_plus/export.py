"""The adapter as engines load it: LoRA+ trains a plain LoRA, so LoRA's own export is the right one."""

from __future__ import annotations

from typing import Any

from appkit.adapters.lora.export import export as lora_export
from appkit.method import LoraForm
from appkit_fixture.methods.lora_plus.config import LoraPlusOptions

__all__ = ["export"]


def export(model: Any, options: LoraPlusOptions) -> LoraForm:
    """Adapter config and tensors under PEFT's names, exact."""
    return lora_export(model, options.lora)
