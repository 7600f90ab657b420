"""OLoRA (arXiv 2406.01775): LoRA that starts at an orthonormal part of the weight."""

from __future__ import annotations

from appkit.adapters.olora.config import OloraOptions
from appkit.adapters.options import count_factors, servable_doubled
from appkit.method import Method, deferred

__all__ = ["METHOD"]

METHOD = Method(
    name="olora",
    summary="LoRA that starts at the QR decomposition of the weight",
    config=OloraOptions,
    build=deferred("appkit.adapters.olora.build:build"),
    servable=servable_doubled,
    export=deferred("appkit.adapters.factors:export"),
    trained=count_factors,
    state=deferred("appkit.adapters.factors:state"),
    load_state=deferred("appkit.adapters.factors:load_state"),
    paper="OLoRA: Orthonormal Low-Rank Adaptation of Large Language Models, arXiv 2406.01775",
    formula="W' = W + s (B* A* - B0 A0), W = Q R, B0 = Q_r, A0 = R_r",
    proof="exact: factors and logits of PEFT's init_lora_weights=olora on a plain base",
)
