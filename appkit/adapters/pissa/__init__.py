"""PiSSA (arXiv 2404.02948): LoRA that starts at the principal singular vectors of the weight."""

from __future__ import annotations

from appkit.adapters.options import count_factors, servable_doubled
from appkit.adapters.pissa.config import PissaOptions
from appkit.method import Method, deferred

__all__ = ["METHOD"]

METHOD = Method(
    name="pissa",
    summary="LoRA that starts at the largest singular vectors of the weight",
    config=PissaOptions,
    build=deferred("appkit.adapters.pissa.build:build"),
    servable=servable_doubled,
    export=deferred("appkit.adapters.factors:export"),
    trained=count_factors,
    state=deferred("appkit.adapters.factors:state"),
    load_state=deferred("appkit.adapters.factors:load_state"),
    paper="PiSSA: Principal Singular Values and Singular Vectors Adaptation, arXiv 2404.02948",
    formula="W' = W + s (B* A* - B0 A0), A0 = sqrt(S_r / s) V_r^T, B0 = U_r sqrt(S_r / s)",
    proof="exact: factors and logits of PEFT's init_lora_weights=pissa on a plain base",
)
