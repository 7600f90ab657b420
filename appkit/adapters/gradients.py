"""Gradients collects the gradients of frozen weights, for methods that start from them.

No weight requires a gradient: a layer's input x and the gradient of its output delta give it, G = sum of delta x^T over
tokens. So 4-bit bases have one as well, and the fused product is used as in training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from appkit.adapters.factors import layers

__all__ = ["gradients", "watched_layers"]


def gradients(
    model: Any, batches: Iterable[Any], loss: Callable[[Any, Any], torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Return d loss / d W, (O, I) in fp32 by the layer's name, summed over the units of all batches.

    `loss` is `Training.loss`. Parameters, their gradients and the modes of the modules are left as they were; dropout
    is off meanwhile. At least one factor below each layer must be trained, since autograd visits no other layers.
    """
    collected: dict[str, torch.Tensor] = {}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    before = [parameter.grad for parameter in trained]
    try:
        with watched_layers(model, lambda name: _make_hook(name, collected)):
            for batch in batches:
                loss(model, batch).backward()  # type: ignore[no-untyped-call]
    finally:
        for parameter, gradient in zip(trained, before, strict=True):
            parameter.grad = gradient
    return collected


@contextmanager
def watched_layers(model: Any, make_hook: Callable[[str], Callable[..., None]]) -> Iterator[None]:
    """Call a hook after each forward of each adapted layer, without dropout; hooks and modes are undone at the end.

    make_hook: the layer's name -> (layer, inputs, output).
    """
    modes = {module: module.training for module in model.modules()}
    hooks = [layer.register_forward_hook(make_hook(name)) for name, layer in layers(model)]
    try:
        # not eval(): on some CPUs a 4-bit layer packs its weight anew in a forward that needs no gradient
        model.train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.eval()
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode


def _make_hook(name: str, collected: dict[str, torch.Tensor]) -> Callable[[Any, Any, torch.Tensor], None]:
    def on_forward(layer: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if not output.requires_grad:
            return  # the first of the two forwards of gradient checkpointing
        x = inputs[0].detach().flatten(0, -2)  # (T, I)

        def on_backward(delta: torch.Tensor) -> None:
            product = delta.flatten(0, -2).float().T @ x.float()  # (O, I)
            if name in collected:
                collected[name] += product
            else:
                collected[name] = product

        output.register_hook(on_backward)  # type: ignore[no-untyped-call]

    return on_forward
