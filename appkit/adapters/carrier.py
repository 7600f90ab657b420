"""Carrier builds PEFT's LoRA on a base: the layers and the head that every low-rank method trains, and exports it."""

from __future__ import annotations

from typing import Any

import torch

from appkit.adapters.low_rank import install
from appkit.adapters.options import LowRankOptions
from appkit.errors import ConfigError
from appkit.method import LoraForm

__all__ = ["carrier", "export"]


def carrier(base: Any, options: LowRankOptions, **peft_options: Any) -> Any:
    """Build the PEFT model over `base`, with fp32 factors and everything else frozen.

    A label head of the base is trained too, in fp32, as PEFT does (`modules_to_save`). Plain layers take the short path
    of `low_rank`; the others keep PEFT's own forward. The random factors come from torch's global generator: seed it
    first. `peft_options` are more arguments of PEFT's LoraConfig.

    Raises ConfigError when a target names no linear layer of the base.
    """
    from peft import LoraConfig, get_peft_model

    targets = "all-linear" if options.targets == "all-linear" else list(options.targets)
    _check_targets(base, targets)
    kind = _find_peft_task(base)
    if kind != "CAUSAL_LM" and targets == "all-linear":
        targets = _list_decoder_layers(base)  # PEFT's "all-linear" would include a token head
    config = LoraConfig(
        task_type=kind,
        r=options.rank,
        lora_alpha=options.alpha,
        target_modules=targets,
        bias="none",
        **peft_options,
    )
    model = get_peft_model(base, config, autocast_adapter_dtype=True)
    for parameter in model.parameters():
        if parameter.requires_grad:
            # factors stay in fp32: bf16 updates below 2^-8 of a weight would vanish
            parameter.data = parameter.data.float()
    install(model)
    return model


def export(model: Any, options: LowRankOptions) -> LoraForm:
    """Export the adapter as PEFT stores it: its config, and its tensors under PEFT's names."""
    from peft import get_peft_model_state_dict

    config = model.peft_config["default"].to_dict()
    config["inference_mode"] = True
    config["target_modules"] = sorted(config["target_modules"])
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in get_peft_model_state_dict(model).items()
    }
    return LoraForm(config, tensors, error=0.0)


def _find_peft_task(base: Any) -> str:
    """Find PEFT's task type of a transformers model: it decides which head is saved."""
    name = type(base).__name__
    kinds = {"ForSequenceClassification": "SEQ_CLS", "ForTokenClassification": "TOKEN_CLS"}
    return next((kind for suffix, kind in kinds.items() if name.endswith(suffix)), "CAUSAL_LM")


def _list_decoder_layers(base: Any) -> list[str]:
    """List the last parts of the decoder's linear layers' names, without the head's."""
    decoder = getattr(base, base.base_model_prefix)
    linear = (name for name, module in decoder.named_modules() if isinstance(module, torch.nn.Linear))
    return sorted({name.rsplit(".", 1)[-1] for name in linear})


def _check_targets(base: Any, targets: str | list[str]) -> None:
    if targets == "all-linear":
        return
    if not targets:
        raise ConfigError(
            "method.targets is an empty list: nothing would be trained; name layers, or all-linear"
        )
    linear = {
        name.rsplit(".", 1)[-1]
        for name, module in base.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    unknown = [target for target in targets if target not in linear]
    if unknown:
        raise ConfigError(
            f"method.targets names {', '.join(map(repr, unknown))}, which the base does not have; "
            f"its linear layers: {', '.join(sorted(linear))}"
        )
