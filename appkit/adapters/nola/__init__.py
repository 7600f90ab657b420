"""NOLA (arXiv 2310.02556): LoRA whose factors are mixtures of random bases; their coefficients alone are trained."""

from __future__ import annotations

from appkit.adapters.nola.config import NolaOptions, count_coefficients
from appkit.adapters.options import servable
from appkit.method import Method, deferred

__all__ = ["METHOD"]

METHOD = Method(
    name="nola",
    summary="LoRA whose factors are mixtures of random bases: a few hundred numbers per layer",
    config=NolaOptions,
    build=deferred("appkit.adapters.nola.build:build"),
    servable=servable,
    export=deferred("appkit.adapters.factors:export"),
    trained=count_coefficients,
    state=deferred("appkit.adapters.factors:state"),
    load_state=deferred("appkit.adapters.factors:load_state"),
    paper="NOLA: Compressing LoRA using Linear Combination of Random Basis, arXiv 2310.02556",
    formula="W' = W + s (sum_k b_k* B_k) (A0 + sum_k a_k* A_k), A_k and B_k uniform in ±1 / sqrt(K), A0 Kaiming",
    proof="exact: update and gradients of the explicit sums over all bases; the same bits again from the seeds",
)
