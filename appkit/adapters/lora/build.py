"""Builds a LoRA model on a base, through PEFT."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch

from appkit.adapters.lora.config import LoraOptions
from appkit.adapters.low_rank import install
from appkit.adapters.whole import swapped
from appkit.errors import ConfigError

__all__ = ["lora_model"]


def lora_model(base: Any, options: LoraOptions) -> Any:
    """Build the PEFT model over `base`, with fp32 factors and everything else frozen.

    A label head of the base is trained too, in fp32, as PEFT does (`modules_to_save`). Plain layers take the short path
    of `low_rank`; the others keep PEFT's own forward. The random factors come from torch's global generator: seed it
    first.

    Raises ConfigError when a target names no linear layer of the base.
    """
    from peft import LoraConfig, get_peft_model

    targets = "all-linear" if options.targets == "all-linear" else list(options.targets)
    _check_targets(base, targets)
    kind = _find_peft_task(base)
    if kind != "CAUSAL_LM" and targets == "all-linear":
        targets = _list_decoder_layers(base)  # PEFT's "all-linear" would include a token head
    init: bool | str = True if options.init == "default" else options.init
    config = LoraConfig(
        task_type=kind,
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=targets,
        use_rslora=options.rslora,
        use_dora=options.dora,
        init_lora_weights=init,
        bias="none",
    )
    if options.changes_base and getattr(base, "is_quantized", False):
        raise ConfigError(
            f"method.init={options.init} changes the base's weights, which stay quantized here; "
            "use quant=none, quant.dequantize=always, or method.init=default"
        )
    weights = _copy_matrices(base) if options.changes_base else {}
    model = get_peft_model(base, config, autocast_adapter_dtype=True)
    for parameter in model.parameters():
        if parameter.requires_grad:
            # factors stay in fp32: bf16 updates below 2^-8 of a weight would vanish
            parameter.data = parameter.data.float()
    if options.changes_base:
        _remember_start(model, weights)
    install(model)
    return model


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


def _copy_matrices(base: Any) -> dict[torch.nn.Module, torch.Tensor]:
    """Copy every weight that an initialization may change to the CPU."""
    return {
        module: module.weight.detach().to("cpu", copy=True)
        for module in base.modules()
        if isinstance(getattr(module, "weight", None), torch.Tensor) and module.weight.ndim == 2
    }


def _remember_start(model: Any, weights: dict[torch.nn.Module, torch.Tensor]) -> None:
    # ΔW = s (B A - B0 A0): the export needs the start factors B0, A0 that were taken out of the base, and the
    # distance between the base's remaining weight, rounded to its dtype, and W - s B0 A0
    originals = {}
    for path, module in model.named_modules():
        if hasattr(module, "lora_A") and "default" in getattr(module, "lora_A", {}):
            module.register_buffer(
                "lora_A_start", module.lora_A["default"].weight.detach().clone(), persistent=False
            )
            module.register_buffer(
                "lora_B_start", module.lora_B["default"].weight.detach().clone(), persistent=False
            )
            layer = module.get_base_layer()
            residual = (layer.weight.detach().float() + module.get_delta_weight("default").detach()).cpu()
            rounded = (residual - weights[layer].float()).norm()
            module.register_buffer("base_rounding", rounded, persistent=False)
            originals[f"{path}.base_layer.weight"] = weights[layer]
    model.originals = originals
    # methods, not closures: a deep copy of the model then restores its own base
    model.disable_adapter, model.unload = MethodType(_disable_adapter, model), MethodType(_unload, model)


@contextmanager
def _disable_adapter(model: Any) -> Iterator[None]:
    """Disable the adapter as PEFT does, with the weights that the base had before the initialization changed them."""
    own = dict(model.named_parameters())
    weights = {name: weight.to(own[name]) for name, weight in model.originals.items()}
    with type(model).disable_adapter(model), swapped(own, weights):
        yield


def _unload(model: Any) -> Any:
    """Remove the adapter as PEFT does, and restore the base's original weights."""
    own = dict(model.named_parameters())
    for name, weight in model.originals.items():
        own[name].data.copy_(weight)
    return model.base_model.unload()
