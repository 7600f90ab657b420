"""BA-LoRA (arXiv 2408.04556): PiSSA with three regularizers on what the model answers."""

from __future__ import annotations

from appkit.adapters.ba_lora.config import BaLoraOptions
from appkit.adapters.options import count_factors, servable_doubled
from appkit.method import Method, deferred

__all__ = ["METHOD"]

METHOD = Method(
    name="ba_lora",
    summary="PiSSA that stays near the base's answers, keeps them diverse and their logits of low rank",
    config=BaLoraOptions,
    build=deferred("appkit.adapters.ba_lora.build:build"),
    servable=servable_doubled,
    export=deferred("appkit.adapters.factors:export"),
    trained=count_factors,
    before_forward=deferred("appkit.adapters.ba_lora.build:watch"),
    before_step=deferred("appkit.adapters.ba_lora.build:release"),
    extra_loss=deferred("appkit.adapters.ba_lora.build:regularize"),
    state=deferred("appkit.adapters.factors:state"),
    load_state=deferred("appkit.adapters.factors:load_state"),
    paper="BA-LoRA: Bias-Alleviating Low-Rank Adaptation to Mitigate Catastrophic Inheritance in Large Language "
    "Models, arXiv 2408.04556",
    formula="W' = W + s (B* A* - B0 A0) as in PiSSA; loss' = loss + l1 KL(base, model) - l2 entropy - l3 share of the "
    "largest singular values of the logits",
    proof="exact: the terms by hand; with all weights 0 the same bits as method=pissa",
    unverified="weights and norm of the terms for label heads: the published code trains language models only",
)
