"""What the live trained model gives for the pack's examples: recorded, and read back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from appkit.models.batch import Example

__all__ = ["canaries", "reference_tensors"]


def reference_tensors(model: Any, computed: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `computed` gives now, and as `…_bf16` and `…_fp32` what it gives with everything in that dtype.

    These are as far apart as rounding to bf16 makes them; there is no fp32 of a base that is quantized in memory.
    """
    import torch

    tensors = computed()
    for suffix, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        if dtype == torch.float32 and getattr(model.get_base_model(), "is_quantized", False):
            continue  # what is packed cannot be widened
        with _computed_in(model, dtype):
            tensors |= {f"{name}_{suffix}": values for name, values in computed().items()}
    return tensors


def canaries(tensors: Mapping[str, Any]) -> list[Example]:
    """Of a generative bundle: the prompts of its reference, each with the answer that the trained model gave."""
    from appkit.models.batch import Example

    tokens, start, found = tensors["tokens"].tolist(), 0, []
    for length, supervised in zip(tensors["lengths"].tolist(), tensors["supervised"].tolist(), strict=True):
        found.append(Example(tuple(tokens[start : start + length]), supervised))
        start += length
    return found


@contextmanager
def _computed_in(model: Any, dtype: Any) -> Iterator[None]:
    """Turn every floating-point parameter into `dtype` for a while; the exact values come back afterwards."""
    kept = {name: parameter.data for name, parameter in model.named_parameters()}
    try:
        for parameter in model.parameters():
            if parameter.is_floating_point():
                parameter.data = parameter.data.to(dtype)
        yield
    finally:
        for name, parameter in model.named_parameters():
            parameter.data = kept[name]
