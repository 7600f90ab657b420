"""Builds a Hydra model: a parallel branch on each layer's input, and a sequential one on its output."""

from __future__ import annotations

from typing import Any

import torch

from appkit.adapters.carrier import carrier
from appkit.adapters.factors import ADAPTER, drive, keep, layers, pair, weight
from appkit.adapters.hydra.config import HydraOptions

__all__ = ["branches", "build"]


def build(base: Any, options: HydraOptions) -> Any:
    """Build it; both branches begin as LoRA's: a Kaiming-uniform A and a B of zeros."""
    model = carrier(base, options)
    for _, layer in layers(model):
        A, B = pair(layer)  # the parallel branch
        down = torch.nn.init.kaiming_uniform_(
            torch.empty(options.sequential_rank, layer.out_features), a=5**0.5
        )
        keep(layer, "sequential_A", down.to(A.device), train=True)
        keep(layer, "sequential_B", B.new_zeros(layer.out_features, options.sequential_rank), train=True)
    drive(model, branches)
    return model


def branches(layer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return [Ap; As W] (r, I) and s [Bp, Bs] (O, r), with r the ranks of both branches together."""
    A, B = pair(layer)
    up = torch.cat([B, layer.lora_sequential_B], dim=1) * layer.scaling[ADAPTER]
    return torch.cat([A, _pass_on(layer)]), up


class _Through(torch.autograd.Function):
    """Gives the product As W (r, I) the gradient of As (r, O).

    W is fetched from the layer once more: kept for backward, its fp32 copies would be a second model in memory.
    """

    @staticmethod
    def forward(ctx: Any, A: torch.Tensor, layer: Any, product: torch.Tensor) -> torch.Tensor:
        ctx.layer = layer
        return product.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return gradients[0] @ weight(ctx.layer).T, None, None


def _pass_on(layer: Any) -> torch.Tensor:
    """Compute As W, anew only when As has changed: while decoding, it would cost more than the layer itself."""
    A = layer.lora_sequential_A
    multiplied, product = getattr(layer, "computed", (None, None))
    if multiplied is None or multiplied.device != A.device or not torch.equal(multiplied, A):
        multiplied = A.detach().clone()
        product = multiplied.float() @ weight(layer)  # fp32 in a bf16 copy of the model too
        layer.computed = multiplied, product
    passed: torch.Tensor = _Through.apply(A, layer, product)  # type: ignore[no-untyped-call]
    return passed
