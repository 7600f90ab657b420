"""Measures which way round a CPU multiplies a few rows by a weight: `python benchmarks/products.py`.

Prints GFLOP/s of `x @ W.T` (torch's linear) and of `(W @ x.T).T`, the form that `appkit.models.matmul` takes for few
rows, at the shapes of SmolLM2-135M. Other work on the machine makes the figures wrong.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch.nn.functional import linear

WIDTH = 576
OUTPUTS = (576, 1536, 49152)
ROWS = (1, 8, 32, 64, 128, 256, 600)


def rate(product: Callable[[], torch.Tensor], flop: float, seconds: float) -> float:
    """Measures GFLOP/s of a product over about so many seconds."""
    product()
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        product()
        count += 1
    return flop * count / (time.perf_counter() - began) / 1e9


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=0.25, help="of each product (default 0.25)")
    seconds = parser.parse_args().seconds
    print(f"{torch.get_num_threads()} threads, float32; GFLOP/s as linear / transposed")
    print("rows  " + "".join(f"{f'{WIDTH} -> {outputs}':>20}" for outputs in OUTPUTS))
    weights = [torch.randn(outputs, WIDTH) for outputs in OUTPUTS]
    for rows in ROWS:
        x = torch.randn(rows, WIDTH)
        cells = []
        for weight in weights:
            flop = 2.0 * rows * weight.numel()
            plain = rate(lambda x=x, w=weight: linear(x, w), flop, seconds)
            turned = rate(lambda x=x, w=weight: (w @ x.T).T.contiguous(), flop, seconds)
            cells.append(f"{f'{plain:.0f} / {turned:.0f}':>20}")
        print(f"{rows:<6}" + "".join(cells), flush=True)


if __name__ == "__main__":
    main()
