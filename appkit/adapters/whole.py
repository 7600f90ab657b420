"""Whole is the base with some of its own weights changed; a FullForm is trained, loaded and served with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from appkit.errors import BundleError

__all__ = ["Whole", "swapped"]


class Whole(torch.nn.Module):
    """A model in which `weights`, under the base's own names, replace the base's.

    It has the methods of a PEFT model that the core calls: `get_base_model`, `disable_adapter`, `unload`. Parameters
    keep their names in the base, so that an export needs no renaming.
    """

    def __init__(self, base: Any, weights: Mapping[str, torch.Tensor], *, train: bool = False) -> None:
        """Replace the base's weights; with `train` they become fp32 parameters that require a gradient.

        Raises BundleError for a name or shape that the base does not have.
        """
        super().__init__()
        self.base = base
        own = dict(base.named_parameters())
        _check_weights(own, weights)
        self.originals = {name: own[name].data for name in weights}
        for name, weight in weights.items():
            parameter = own[name]
            parameter.data = weight.detach().clone().to(parameter.device, torch.float32 if train else None)
            parameter.requires_grad_(train)
        self.config = base.config

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.base(*args, **kwargs)

    def get_base_model(self) -> Any:
        """Return the base, with the changed weights in it."""
        return self.base

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        """The changed weights, by the base's names."""
        own = dict(self.base.named_parameters())
        return {name: own[name].data for name in self.originals}

    @contextmanager
    def disable_adapter(self) -> Iterator[None]:
        """Restore the base's original weights inside the block."""
        own = dict(self.base.named_parameters())
        with swapped(own, {name: value.to(own[name].dtype) for name, value in self.originals.items()}):
            yield

    def unload(self) -> Any:
        """Restore the base's original weights for good; return the base."""
        own = dict(self.base.named_parameters())
        for name, original in self.originals.items():
            own[name].data = original
            own[name].requires_grad_(False)
        return self.base


@contextmanager
def swapped(parameters: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Replace the data of the parameters named in `weights` inside the block."""
    before = {name: parameters[name].data for name in weights}
    try:
        for name, weight in weights.items():
            parameters[name].data = weight
        yield
    finally:
        for name, data in before.items():
            parameters[name].data = data


def _check_weights(own: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor]) -> None:
    for name, weight in weights.items():
        if name not in own:
            raise BundleError(
                f"the base has no weight {name}: these are another base's; copy the bundle again"
            )
        if weight.shape != own[name].shape:
            raise BundleError(
                f"{name} has shape {tuple(weight.shape)}, the base's has {tuple(own[name].shape)}; "
                "copy the bundle again"
            )
