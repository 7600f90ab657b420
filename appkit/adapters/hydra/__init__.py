"""Hydra (arXiv 2309.06922): a low-rank branch beside each layer, as in LoRA, and one behind it, on its output."""

from __future__ import annotations

from appkit.adapters.hydra.config import HydraOptions, count_branches, servable_both
from appkit.method import Method, deferred

__all__ = ["METHOD"]

METHOD = Method(
    name="hydra",
    summary="LoRA with a second branch, on the output of each layer",
    config=HydraOptions,
    build=deferred("appkit.adapters.hydra.build:build"),
    servable=servable_both,
    export=deferred("appkit.adapters.factors:export"),
    trained=count_branches,
    paper="Hydra: Multi-head Low-rank Adaptation for Parameter Efficient Fine-tuning, arXiv 2309.06922",
    formula="W' = W + s (Bp* Ap* + Bs* As* W)",
    proof="exact: outputs and gradients of two explicit branches",
)
