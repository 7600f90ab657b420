"""Gradients collects the gradients of frozen weights, for methods that start from them.

No weight requires a gradient: a layer's input x and the gradient of its output delta give it, G = sum of delta x^T over
tokens. So 4-bit bases have one as well, and the fused product is used as in training.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from appkit.adapters.factors import layers

__all__ = ["each_gradient", "gradients", "watched_layers"]


def each_gradient(
    model: Any,
    batches: Callable[[], Iterable[Any]],
    loss: Callable[[Any, Any], torch.Tensor],
    room: int | None = None,
) -> Iterator[tuple[str, Any, torch.Tensor]]:
    """Yield each adapted layer's name, itself and its gradient as `gradients` has it, in the model's order.

    All gradients together have the size of the model in fp32, so they are collected in groups that take at most `room`
    bytes (a layer at least; None: half of what is free), with a pass over `batches()` for each group. The model must
    not be changed before the last one is there.
    """
    room = _free_memory(model) // 2 if room is None else room
    groups: list[dict[str, Any]] = []
    taken = 0
    for name, layer in layers(model):
        size = 4 * layer.in_features * layer.out_features
        if not groups or taken + size > room:
            groups.append({})
            taken = 0
        groups[-1][name] = layer
        taken += size
    for group in groups:
        collected = gradients(model, batches(), loss, only=group)
        for name, layer in group.items():
            yield name, layer, collected.pop(name)


def _free_memory(model: Any) -> int:
    """Return the free bytes where the model is."""
    device = next(model.parameters()).device
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    return int(psutil.virtual_memory().available)


def gradients(
    model: Any,
    batches: Iterable[Any],
    loss: Callable[[Any, Any], torch.Tensor],
    only: Collection[str] | None = None,
) -> dict[str, torch.Tensor]:
    """Return d loss / d W, (O, I) in fp32 by the layer's name, summed over the units of all batches.

    `loss` is `Training.loss`. only: names of layers; None: all that are adapted. Parameters, their gradients and the
    modes of the modules are left as they were; dropout is off meanwhile. At least one factor below each layer must be
    trained, since autograd visits no other layers.
    """
    collected: dict[str, torch.Tensor] = {}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    before = [parameter.grad for parameter in trained]
    try:
        with watched_layers(model, lambda name: _make_hook(name, collected), only):
            for batch in batches:
                loss(model, batch).backward()  # type: ignore[no-untyped-call]
    finally:
        for parameter, gradient in zip(trained, before, strict=True):
            parameter.grad = gradient
    return collected


@contextmanager
def watched_layers(
    model: Any, make_hook: Callable[[str], Callable[..., None]], only: Collection[str] | None = None
) -> Iterator[None]:
    """Call a hook after each forward of each adapted layer, without dropout; hooks and modes are undone at the end.

    make_hook: the layer's name -> (layer, inputs, output). only: names of layers; None: all.
    """
    modes = {module: module.training for module in model.modules()}
    hooks = [
        layer.register_forward_hook(make_hook(name))
        for name, layer in layers(model)
        if only is None or name in only
    ]
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
