"""LoRA-XS (arXiv 2405.17604): a small trained matrix between the weight's own singular vectors."""

from __future__ import annotations

from appkit.adapters.lora_xs.config import LoraXsOptions, count_cores
from appkit.adapters.options import servable
from appkit.method import Method, deferred

__all__ = ["METHOD"]

METHOD = Method(
    name="lora_xs",
    summary="r x r trained parameters between the frozen singular vectors of the weight",
    config=LoraXsOptions,
    build=deferred("appkit.adapters.lora_xs.build:build"),
    servable=servable,
    export=deferred("appkit.adapters.factors:export"),
    trained=count_cores,
    state=deferred("appkit.adapters.factors:state"),
    load_state=deferred("appkit.adapters.factors:load_state"),
    paper="LoRA-XS: Low-Rank Adaptation with Extremely Small Number of Parameters, arXiv 2405.17604",
    formula="W' = W + s B R* A, B = U_r, A = S_r V_r^T, W = U S V^T, R0 ~ N(0, 1e-5^2)",
    proof="exact: frozen factors, logits and R's gradient equal the formula over dense weights",
)
