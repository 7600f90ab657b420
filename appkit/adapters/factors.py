"""Factors carries low-rank updates whose factors are computed from what is trained.

PEFT's LoRA is the carrier (`carrier.py`): it finds the layers, trains a label head, disables and unloads the adapter,
and knows 4-bit layers. A method adds its own tensors to the carrier's layers and says which factors they make:

    factors(layer) -> A (k, I), B (O, k), fp32 and differentiable; the update is B A, with every scale in it

Forward, merge and export call this one function, so what is exported is what was trained. k may differ from the rank.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping
from types import MethodType
from typing import Any

import torch
from torch.nn.functional import linear

from appkit.adapters.low_rank import LowRank
from appkit.errors import ConfigError
from appkit.method import LoraForm

__all__ = [
    "Factors",
    "drive",
    "export",
    "fix_signs",
    "keep",
    "keep_start",
    "layers",
    "load_state",
    "pair",
    "principal",
    "replace",
    "require_rank",
    "since_start",
    "state",
    "weight",
]

Factors = Callable[[Any], tuple[torch.Tensor, torch.Tensor]]
ADAPTER = "default"
"""PEFT's name of the only adapter"""


def layers(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield the name in the bare base and the LoRA layer of each adapted layer, in the model's order."""
    for name, module in model.named_modules():
        if ADAPTER in getattr(module, "lora_A", ()):
            yield name.removeprefix("base_model.model."), module


def pair(layer: Any) -> tuple[torch.nn.Parameter, torch.nn.Parameter]:
    """Return the carrier's own A (r, I) and B (O, r)."""
    return layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight


def weight(layer: Any) -> torch.Tensor:
    """Return a copy of the layer's frozen weight (O, I) in fp32; a 4-bit weight is dequantized."""
    stored = layer.get_base_layer().weight
    quantized = getattr(stored, "quant_state", None)
    if quantized is None:
        # a view would be trained with the base's own memory
        copied: torch.Tensor = stored.detach().to(torch.float32, copy=True)
        return copied
    from bitsandbytes import functional

    packed = stored.data
    if getattr(quantized, "packing_format_for_cpu", False):
        # a forward of an evaluation has packed it anew for this CPU; the inverse changes the state that it gets
        packed, quantized = functional._convert_weight_packed_for_cpu_inverse(
            packed, copy.deepcopy(quantized)
        )
    dequantized: torch.Tensor = functional.dequantize_4bit(packed, quantized).float()
    return dequantized


def principal(matrix: torch.Tensor, rank: int, niter: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return U (O, r), S (r,), Vh (r, I) of `matrix` (O, I), the largest singular values first.

    With niter they come from a randomized SVD, which draws from torch's global generator.
    """
    if niter:
        U, S, V = torch.svd_lowrank(matrix, rank, niter=niter)
        return U, S, V.T
    U, S, Vh = torch.linalg.svd(matrix, full_matrices=False)
    return U[:, :rank], S[:rank], Vh[:rank]


def fix_signs(vectors: torch.Tensor) -> torch.Tensor:
    """Make the largest entry of each row positive: a singular vector has no sign of its own."""
    largest = vectors.abs().argmax(1, keepdim=True)
    return vectors * vectors.gather(1, largest).sign()


def require_rank(model: Any, rank: int, key: str = "method.rank", parts: str = "singular vectors") -> None:
    """Raise ConfigError when a layer has fewer `parts` than `rank`, before any is computed."""
    for name, layer in layers(model):
        most = min(layer.in_features, layer.out_features)
        if rank > most:
            raise ConfigError(
                f"{key} is {rank}, and {name} ({layer.out_features} x {layer.in_features}) has {most} {parts}; "
                f"use {key}={most} or less, or other method.targets"
            )


def replace(layer: Any, *, A: torch.Tensor | None = None, B: torch.Tensor | None = None, train: bool) -> None:
    """Replace factors of the carrier by fp32 ones, of any rank."""
    for module, tensor in ((layer.lora_A, A), (layer.lora_B, B)):
        if tensor is not None:
            copied = tensor.detach().to(torch.float32, copy=True).contiguous()
            module[ADAPTER].weight = torch.nn.Parameter(copied, requires_grad=train)


def keep(layer: Any, name: str, tensor: torch.Tensor, *, train: bool) -> None:
    """Add `tensor` to the layer as `layer.lora_<name>`: a trained fp32 parameter, or state that checkpoints store.

    Raises ValueError for a name that the layer has: PEFT's own `lora_bias`, for example.
    """
    name = f"lora_{name}"
    if hasattr(layer, name):
        raise ValueError(f"the layer has a {name} of its own; choose another name")
    if train:
        layer.register_parameter(name, torch.nn.Parameter(tensor.detach().to(torch.float32, copy=True)))
    else:
        # not persistent: PEFT would put it into the adapter's file
        layer.register_buffer(name, tensor.detach().clone(), persistent=False)


def keep_start(layer: Any) -> None:
    """Keep the factors as they are now, for `since_start`; the update is 0 from here on."""
    A, B = pair(layer)
    keep(layer, "A0", A, train=False)
    keep(layer, "B0", B, train=False)


def since_start(layer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the factors, of rank 2r, of what changed since `keep_start`: s (B A - B0 A0).

    Methods that start at a part of the weight take it out of the base, W - s B0 A0 + s B A; here the base stays as it
    is, in 4 bits too, and engines load the same sum as an adapter.
    """
    A, B = pair(layer)
    if not hasattr(layer, "lora_A0"):
        return A, B * layer.scaling[ADAPTER]
    # (B - B0) A + B0 (A - A0), not B A - B0 A0: in bf16 the difference of two large products would lose small steps
    return torch.cat([A, A - layer.lora_A0]), torch.cat(
        [B - layer.lora_B0, layer.lora_B0], dim=1
    ) * layer.scaling[ADAPTER]


def drive(model: Any, factors: Factors) -> None:
    """Make every adapted layer compute W x + bias + B (A x) with the method's factors, when it merges as well."""
    for _, layer in layers(model):
        layer.factors = factors
        # bound methods, not closures: a deep copy of the model computes with its own tensors
        layer.forward = MethodType(_forward, layer)
        layer.enable_adapters = MethodType(_enable_adapters, layer)
        layer.get_delta_weight = MethodType(_delta, layer)


def _forward(layer: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    if layer.merged or layer.disable_adapters or args or kwargs:
        result: torch.Tensor = type(layer).forward(layer, x, *args, **kwargs)
        return result
    base = layer.base_layer
    A, B = layer.factors(layer)
    if type(base) is torch.nn.Linear and not base.weight.requires_grad:
        out: torch.Tensor = LowRank.apply(x, base.weight, base.bias, A, B, 1.0)  # type: ignore[no-untyped-call]
        return out
    added: torch.Tensor = base(x) + linear(linear(x, A.to(x.dtype)), B.to(x.dtype))
    return added


def _enable_adapters(layer: Any, enabled: bool) -> None:
    """Takes the place of PEFT's, which makes A and B trainable when it enables them, frozen ones too."""
    layer._disable_adapters = not enabled


def _delta(layer: Any, adapter: str) -> torch.Tensor:
    """Takes the place of PEFT's `get_delta_weight`: (O, I)."""
    A, B = layer.factors(layer)
    delta: torch.Tensor = B @ A
    return delta


def state(model: Any) -> dict[str, torch.Tensor]:
    """Return what is neither trained nor part of the base: frozen factors and what `keep` stored; a `Method.state`."""
    tensors = {}
    for name, layer in layers(model):
        for key, tensor in [*layer.named_parameters(), *layer.named_buffers()]:
            if key.startswith("lora_") and not tensor.requires_grad:
                tensors[f"{name}.{key}"] = tensor.detach()
    return tensors


def load_state(model: Any, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put a checkpoint's state back, in shapes that `build` did not give as well; a `Method.load_state`."""
    by_name = dict(layers(model))
    for full, tensor in tensors.items():
        name, _, key = full.partition(".lora_")
        layer = by_name[name]
        owner, _, leaf = f"lora_{key}".rpartition(".")
        module = layer.get_submodule(owner)
        tensor = tensor.to(layer.get_base_layer().weight.device)
        if leaf in module._parameters:
            module._parameters[leaf] = torch.nn.Parameter(tensor, requires_grad=False)
        else:
            module.register_buffer(leaf, tensor, persistent=False)


def export(model: Any, options: Any) -> LoraForm:
    """Export a plain LoRA of the unmodified base, with scale 1 and the rank that each layer's factors have.

    A `Method.export` for every model that `drive` has: the factors say all, the options nothing more.

    A layer whose rank differs from the largest is named in `rank_pattern`, and with the same number in `alpha_pattern`:
    the scale is 1 in engines that read the patterns, and in those that divide alpha by r.
    """
    from peft import get_peft_model_state_dict

    with warnings.catch_warnings():
        # of factors that are drawn from a seed PEFT's parameters are empty; they are not read here
        warnings.filterwarnings("ignore", ".*tensor\\(s\\) have invalid shape")
        states = get_peft_model_state_dict(model)
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in states.items() if ".lora_" not in name
    }
    ranks = {}
    for name, layer in layers(model):
        with torch.no_grad():
            A, B = layer.factors(layer)
        ranks[name] = len(A)
        for side, factor in (("A", A), ("B", B)):
            tensors[f"base_model.model.{name}.lora_{side}.weight"] = (
                factor.detach().cpu().contiguous().clone()
            )
    most = max(ranks.values())
    pattern = {name: rank for name, rank in ranks.items() if rank != most}
    config = model.peft_config[ADAPTER].to_dict()
    config |= {
        "r": most,
        "lora_alpha": most,
        "rank_pattern": pattern,
        "alpha_pattern": dict(pattern),
        "lora_dropout": 0.0,
        "use_rslora": False,
        "init_lora_weights": True,
        "inference_mode": True,
        "target_modules": sorted(config["target_modules"]),
    }
    return LoraForm(config, tensors, error=0.0)
