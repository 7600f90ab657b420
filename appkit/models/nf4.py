"""Mends how bitsandbytes unpacks 4-bit weights on CPUs with AVX-512."""

from __future__ import annotations

import functools
import warnings
from typing import Any

__all__ = ["mend_dequantize"]

OPERATOR = "bitsandbytes::dequantize_4bit"


@functools.cache
def mend_dequantize() -> Any:
    """Make bitsandbytes unpack 4-bit weights to the same values on every CPU; return what keeps this in force.

    Blocks run through a weight (O, I) row by row, whatever I is, when it is quantized. bitsandbytes 0.50's kernel for
    AVX-512 unpacks each row as if it began with a block of its own, which is wrong unless I is a multiple of the block
    (64): by as much as the weights are large. Asked for all as one row, it is right. 4-bit layers, PEFT and our own
    rounding all come to this operator.
    """
    import bitsandbytes  # noqa: F401  # registers the operator
    import torch

    try:
        kernel = torch.library.get_kernel(OPERATOR, "CPU")
    except RuntimeError:  # it has none on this machine, and computes with torch, which is right
        return None

    def dequantize_4bit(
        keys: Any, A: Any, absmax: Any, blocksize: int, quant_type: str, shape: Any, dtype: Any
    ) -> Any:
        size = torch.Size(shape)
        whole = size[-1] % blocksize == 0
        flat = size if whole else torch.Size([1, size.numel()])
        values = kernel.call_boxed(keys, A, absmax, blocksize, quant_type, list(flat), dtype)
        return values.reshape(size)

    library: Any = torch.library.Library("bitsandbytes", "IMPL")  # type: ignore[no-untyped-call]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that there was a kernel before
        library.impl("dequantize_4bit", dequantize_4bit, "CPU", with_keyset=True, allow_override=True)
    return library
