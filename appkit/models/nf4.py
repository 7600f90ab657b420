"""Mends how bitsandbytes unpacks 4-bit weights on CPUs with AVX-512."""

from __future__ import annotations

import copy
import functools
from typing import Any

__all__ = ["mend_dequantize"]


@functools.cache
def mend_dequantize() -> None:
    """Make `bitsandbytes.functional.dequantize_4bit` give the same values on every CPU.

    Blocks run through a weight (O, I) row by row, whatever I is, when it is quantized. bitsandbytes 0.50's kernel for
    AVX-512 unpacks each row as if it began with a block of its own, which is wrong unless I is a multiple of the block
    (64): by as much as the weights are large. Asked for all as one row, it is right. 4-bit layers, PEFT and our own
    rounding all call this function.
    """
    from bitsandbytes import functional

    unpack = functional.dequantize_4bit

    @functools.wraps(unpack)
    def dequantize_4bit(A: Any, quant_state: Any = None, *args: Any, **options: Any) -> Any:
        shape = getattr(quant_state, "shape", None)
        if args or options or A.device.type != "cpu" or not shape or not shape[-1] % quant_state.blocksize:
            return unpack(A, quant_state, *args, **options)
        flat = copy.copy(quant_state)
        flat.shape = type(shape)([1, shape.numel()])
        values = unpack(A.reshape(-1, 1), flat).reshape(shape)
        return values.t() if A.shape[0] == 1 else values

    functional.dequantize_4bit = dequantize_4bit
