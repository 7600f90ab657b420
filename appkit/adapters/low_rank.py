"""Low rank computes LoRA's product in fewer passes over the activations than PEFT does.

PEFT's forward casts the input to the factors' dtype, drops out, multiplies twice, scales and adds: five passes
over the activations for two thin products. Here the product is added into the base's output in place, the scale is
multiplied into B, and the small fp32 factors are cast, not the activations.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch

from appkit.models.matmul import product

__all__ = ["LowRank", "install"]


class LowRank(torch.autograd.Function):
    """Computes x W^T + bias + s (x A^T) B^T, (..., O): x (..., I), weight W (O, I) frozen, A (r, I), B (O, r)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        A: torch.Tensor,
        B: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        flat = x.reshape(-1, x.shape[-1])  # (T, I)
        A, B = A.to(x.dtype), B.to(x.dtype) * scale
        middle = flat @ A.T  # (T, r)
        out = product(flat, weight, bias).addmm_(middle, B.T)  # (T, O)
        ctx.save_for_backward(flat, weight, A, B, middle)
        ctx.scale, ctx.shape = scale, x.shape
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        flat, weight, A, B, middle = ctx.saved_tensors
        gradient = gradients[0].reshape(-1, gradients[0].shape[-1])  # (T, O)
        thin = gradient @ B  # (T, r)
        to_x = None
        if ctx.needs_input_grad[0]:
            to_x = (gradient @ weight).addmm_(thin, A).view(ctx.shape)  # (T, I)
        # cast to fp32 after the product, which accumulates over T in fp32 inside
        to_A = (thin.T @ flat).float() if ctx.needs_input_grad[3] else None  # a method may freeze a factor
        to_B = (gradient.T @ middle).float().mul_(ctx.scale) if ctx.needs_input_grad[4] else None
        return to_x, None, None, to_A, to_B, None


def install(model: torch.nn.Module, adapter: str = "default") -> int:
    """Give every plain LoRA layer of a PEFT model the short path; return how many have it now.

    A layer keeps PEFT's own forward when it needs more than the plain product: a base that is no plain linear
    (quantized), dropout above 0, DoRA, a bias in the factors.
    """
    from peft.tuners.lora.layer import Linear

    count = 0
    for module in model.modules():
        if type(module) is Linear and _is_plain(module, adapter):
            # a bound method, not a closure: a deep copy of the model computes with its own factors
            module.forward = MethodType(_forward, module)
            count += 1
    return count


def _is_plain(layer: Any, adapter: str) -> bool:
    return (
        adapter in layer.lora_A
        and type(layer.base_layer) is torch.nn.Linear
        and not layer.base_layer.weight.requires_grad
        and isinstance(layer.lora_dropout[adapter], torch.nn.Identity)
        and not layer.lora_variant
        and layer.lora_B[adapter].bias is None
        and not layer.fan_in_fan_out
    )


def _forward(layer: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    active = layer.active_adapters
    if layer.merged or layer.disable_adapters or len(active) != 1 or args or kwargs:
        result: torch.Tensor = type(layer).forward(layer, x, *args, **kwargs)
        return result
    base, adapter = layer.base_layer, active[0]
    A, B = layer.lora_A[adapter].weight, layer.lora_B[adapter].weight
    out: torch.Tensor = LowRank.apply(  # type: ignore[no-untyped-call]
        x, base.weight, base.bias, A, B, layer.scaling[adapter]
    )
    return out
