"""Records what the live trained model gives for the pack's examples, and reads it back.

Certificates compare engines with this record, never with a reload of the bundle's weights.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

__all__ = ["FILE", "Recorded", "reference_tensors"]

FILE = "reference.safetensors"


@dataclass(frozen=True)
class Recorded:
    """Holds a bundle's record, as the head that wrote it understands it."""

    tensors: Mapping[str, np.ndarray]
    """integers as they are, all else in float64"""
    facts: Mapping[str, str]
    """the model's dtype, the number of examples, and a label head's labels"""
    template: str
    """fingerprint of the chat template that the model was trained with"""
    dtype: str
    """what the model was computed in"""

    @classmethod
    def read(cls, bundle: Path, template: str, dtype: str) -> Recorded:
        """Reads the record of the bundle in `bundle`; template and dtype are its manifest's.

        Raises ValueError, KeyError or safetensors' own error for a record that is damaged.
        """
        from safetensors import safe_open

        with safe_open(bundle / FILE, framework="np") as handle:
            facts = json.loads((handle.metadata() or {}).get("appkit", "{}"))
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
        wide = {
            name: values if values.dtype.kind == "i" else values.astype("float64")
            for name, values in tensors.items()
        }
        for name, values in wide.items():
            if name.startswith(("adapter", "base")) and values.shape != wide["adapter"].shape:
                raise ValueError(f"{name} has another shape than adapter")  # numpy would make a table of both
        return cls(wide, facts, template, dtype)

    def noise(self, name: str) -> np.ndarray | None:
        """Computes what rounding to bf16 changed in `name` in training; None where fp32 could not be computed."""
        if f"{name}_fp32" not in self.tensors:
            return None
        noise: np.ndarray = self.tensors[f"{name}_bf16"] - self.tensors[f"{name}_fp32"]
        return noise


def reference_tensors(model: Any, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Runs `compute` as the model is, and as `…_bf16` and `…_fp32` with every parameter in that dtype.

    These are as far apart as rounding to bf16 makes them; there is no fp32 of a base that is quantized in memory.
    """
    import torch

    tensors = compute()
    for suffix, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        if dtype == torch.float32 and getattr(model.get_base_model(), "is_quantized", False):
            continue  # what is packed cannot be widened
        with _computed_in(model, dtype):
            tensors |= {f"{name}_{suffix}": values for name, values in compute().items()}
    return tensors


@contextmanager
def _computed_in(model: Any, dtype: Any) -> Iterator[None]:
    """Turns every floating-point parameter into `dtype` for a while; the exact values come back afterwards."""
    exact = {name: parameter.data for name, parameter in model.named_parameters()}
    try:
        for parameter in model.parameters():
            if parameter.is_floating_point():
                parameter.data = parameter.data.to(dtype)
        yield
    finally:
        for name, parameter in model.named_parameters():
            parameter.data = exact[name]
