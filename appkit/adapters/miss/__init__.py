"""MiSS (arXiv 2409.15371, formerly Bone): LoRA whose inputs share the rows of one trained matrix."""

from __future__ import annotations

from appkit.adapters.miss.config import MissOptions, count_shards
from appkit.adapters.options import servable
from appkit.method import Method, deferred

__all__ = ["METHOD"]

METHOD = Method(
    name="miss",
    summary="LoRA without A: each r-th input shares a trained column",
    config=MissOptions,
    build=deferred("appkit.adapters.miss.build:build"),
    servable=servable,
    export=deferred("appkit.adapters.factors:export"),
    trained=count_shards,
    state=deferred("appkit.adapters.factors:state"),
    load_state=deferred("appkit.adapters.factors:load_state"),
    paper=(
        "MiSS: Revisiting the Trade-off in LoRA with an Efficient Shard-Sharing Structure (formerly Bone), "
        "arXiv 2409.15371"
    ),
    formula="W' = W + s B* A, A[j, i] = 1 where i mod r = j, else 0; B0 = 0",
    proof="exact: logits, gradients and merged weights of PEFT's MissConfig, where r does not divide the inputs too",
)
