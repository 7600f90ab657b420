"""LoRA-SB (arXiv 2411.19557): LoRA-XS that starts at the first step of full fine-tuning."""

from __future__ import annotations

from appkit.adapters.lora_sb.config import LoraSbOptions
from appkit.adapters.lora_xs.config import count_cores
from appkit.adapters.options import servable
from appkit.method import Method, deferred

__all__ = ["METHOD"]

METHOD = Method(
    name="lora_sb",
    summary="r x r trained parameters that start at the first step of full fine-tuning",
    config=LoraSbOptions,
    build=deferred("appkit.adapters.lora_sb.build:build"),
    servable=servable,
    export=deferred("appkit.adapters.factors:export"),
    trained=count_cores,
    before_training=deferred("appkit.adapters.lora_sb.build:before_training"),
    state=deferred("appkit.adapters.factors:state"),
    load_state=deferred("appkit.adapters.factors:load_state"),
    paper=(
        "Initialization using Update Approximation is a Silver Bullet for Extremely Efficient Low-Rank Fine-Tuning, "
        "arXiv 2411.19557"
    ),
    formula="W' = W + s B R* A, B = U_r, A = V_r^T, R0 = S_r / s, -eta sign(sum of gradients of W) = U S V^T",
    proof="exact: the start is the best rank-r approximation of -eta sign(G), G by autograd on the plain base",
    unverified="the default of first_step (eta): the authors have the learning rate over the warm-up's steps",
)
