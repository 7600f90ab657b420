"""The base with its normalization weights trained."""

from __future__ import annotations

from typing import Any

import torch

from appkit.adapters.whole import Whole
from appkit.errors import ConfigError
from appkit.method import FullForm
from appkit_fixture.methods.norms.config import NormsOptions

__all__ = ["build", "export"]


def build(base: Any, options: NormsOptions) -> Whole:
    """`base` with fp32 normalization weights that learn; everything else frozen.

    Raises ConfigError for another dtype: an fp32 weight there would widen every activation behind it.
    """
    if base.dtype != torch.float32:
        raise ConfigError(
            f"method norms trains on a base in float32, this one is in {str(base.dtype).removeprefix('torch.')}; "
            "use model.dtype=float32"
        )
    weights = {name: parameter for name, parameter in base.named_parameters() if "norm" in name}
    return Whole(base, weights, train=True)


def export(model: Whole, options: NormsOptions) -> FullForm:
    """The trained weights in the base's dtype, exact."""
    tensors = {
        name: weight.to("cpu", model.originals[name].dtype, copy=True)
        for name, weight in model.weights.items()
    }
    return FullForm(tensors, error=0.0)
