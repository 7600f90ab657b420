"""Matmul computes matrix products in the orientation that is fastest on the CPU.

With few rows (decoding the end of a batch, above all the output layer), fp32 `weight @ x.T` is up to 4 times as fast as
`x @ weight.T`, the form of `torch.nn.functional.linear`, because threads then split the long side of the product. With
more than `FEW_ROWS` rows it is slower. Measured by `benchmarks/products.py`.
"""

from __future__ import annotations

from types import MethodType

import torch
from torch.nn.functional import linear

__all__ = ["orient", "product"]

FEW_ROWS = 64


def product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Compute torch's linear in the faster orientation: x (..., I), weight (O, I), bias (O,) -> (..., O)."""
    rows = x.numel() // x.shape[-1]
    plain = x.device.type != "cpu" or x.dtype != torch.float32 or torch.get_num_threads() == 1
    if plain or not 1 < rows <= FEW_ROWS:
        return linear(x, weight, bias)
    out = (weight @ x.reshape(rows, -1).T).T.contiguous()
    if bias is not None:
        out += bias
    return out.view(*x.shape[:-1], -1)


def orient(model: torch.nn.Module) -> None:
    """Make every plain linear layer of `model` use `product` when no gradient is needed."""
    for module in model.modules():
        if type(module) is torch.nn.Linear:
            module.forward = MethodType(_forward, module)  # type: ignore[method-assign]


def _forward(layer: torch.nn.Linear, x: torch.Tensor) -> torch.Tensor:
    if torch.is_grad_enabled() and x.requires_grad:
        return linear(x, layer.weight, layer.bias)
    return product(x, layer.weight, layer.bias)
