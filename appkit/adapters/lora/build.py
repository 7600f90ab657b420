"""Builds a LoRA model on a base, through PEFT."""

from __future__ import annotations

from typing import Any

from appkit.adapters.carrier import carrier
from appkit.adapters.lora.config import LoraOptions

__all__ = ["lora_model"]


def lora_model(base: Any, options: LoraOptions) -> Any:
    """Build the PEFT model over `base`; `carrier` says what is trained and what is refused."""
    return carrier(
        base,
        options,
        lora_dropout=options.dropout,
        use_rslora=options.rslora,
        use_dora=options.dora,
        init_lora_weights=True if options.init == "default" else options.init,
    )
