"""LoRA-GA (arXiv 2407.05000): LoRA whose first step goes where full fine-tuning would go."""

from __future__ import annotations

from appkit.adapters.lora_ga.config import LoraGaOptions
from appkit.adapters.options import count_factors, servable_doubled
from appkit.method import Method, deferred

__all__ = ["METHOD"]

METHOD = Method(
    name="lora_ga",
    summary="LoRA that starts at the singular vectors of the gradient",
    config=LoraGaOptions,
    build=deferred("appkit.adapters.lora_ga.build:build"),
    servable=servable_doubled,
    export=deferred("appkit.adapters.factors:export"),
    trained=count_factors,
    before_training=deferred("appkit.adapters.lora_ga.build:before_training"),
    state=deferred("appkit.adapters.factors:state"),
    load_state=deferred("appkit.adapters.factors:load_state"),
    paper="LoRA-GA: Low-Rank Adaptation with Gradient Approximation, arXiv 2407.05000",
    formula="W' = W + s (B* A* - B0 A0), A0 = c V_r^T, B0 = c U_r..2r, dL/dW = U S V^T, c = O^(1/4) / sqrt(gamma)",
    proof="exact: the first step's update is the best one of rank 2r; subspaces of PEFT's init_lora_weights=lora_ga",
    unverified="the paper's text: lengths, directions and scale are those of the authors' code and instructions",
)
