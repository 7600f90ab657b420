"""Builds a NOLA model: factors mixed from random bases, of which a layer stores the seeds."""

from __future__ import annotations

from typing import Any

import torch

from appkit.adapters.carrier import carrier
from appkit.adapters.factors import ADAPTER, drive, keep, layers, pair, replace
from appkit.adapters.nola.bases import Bases, Mixture
from appkit.adapters.nola.config import NolaOptions

__all__ = ["build", "mixtures"]


def build(base: Any, options: NolaOptions) -> Any:
    """Build it. A seed that the options leave open comes from torch's global generator."""
    model = carrier(base, options)
    seed = int(torch.randint(2**31, ())) if options.seed is None else options.seed
    generator = torch.Generator().manual_seed(seed)
    for _, layer in layers(model):
        A, B = pair(layer)
        # of A's start, A's bases, B's bases
        keep(layer, "seeds", torch.randint(2**62, (3,), generator=generator), train=False)
        for side in ("A", "B"):
            keep(layer, f"mixture_{side}", A.new_zeros(options.bases), train=True)
        # seeds and coefficients make the factors: neither the model nor a checkpoint stores any
        replace(layer, A=A[:0], B=B[:, :0], train=False)
        layer.computed = {}
    drive(model, mixtures)
    return model


def mixtures(layer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return A0 + sum_k a_k A_k (r, I) and s sum_k b_k B_k (O, r)."""
    rank, into, out = layer.r[ADAPTER], layer.in_features, layer.out_features
    start, of_A, of_B = layer.lora_seeds.tolist()
    A = _mix(layer, "A", of_A, (rank, into), start)
    B = _mix(layer, "B", of_B, (out, rank))
    return A, B * layer.scaling[ADAPTER]


def _mix(layer: Any, side: str, seed: int, shape: tuple[int, int], start: int | None = None) -> torch.Tensor:
    """Mix a factor; start: the seed of what is added to the mixture.

    A step's micro-batches share the sum, and so do all tokens of an evaluation: it is computed anew only when the
    coefficients have changed.
    """
    coefficients = getattr(layer, f"lora_mixture_{side}")  # (K,)
    bases = Bases(seed, len(coefficients), shape)
    known, mixed, value = layer.computed.get(side, (None, None, None))
    if known != bases or mixed.device != coefficients.device or not torch.equal(mixed, coefficients):
        mixed = coefficients.detach().clone()
        value = bases.combine(mixed.float())  # fp32 in a bf16 copy of the model too
        if start is not None:
            # Kaiming-uniform, as LoRA's A: within ±1 / sqrt(I)
            value += Bases(start, 1, shape).combine(torch.ones(1, device=mixed.device)) / shape[1] ** 0.5
        layer.computed[side] = bases, mixed, value
    factor: torch.Tensor = Mixture.apply(coefficients, bases, value)  # type: ignore[no-untyped-call]
    return factor
