"""KaSA (arXiv 2412.06071): drops the weight's smallest singular values and trains an update in their form."""

from __future__ import annotations

from appkit.adapters.kasa.config import KasaOptions, count_trained
from appkit.adapters.options import servable_doubled
from appkit.method import Method, deferred

__all__ = ["METHOD"]

METHOD = Method(
    name="kasa",
    summary="LoRA with trained singular values, in place of the weight's smallest ones",
    config=KasaOptions,
    build=deferred("appkit.adapters.kasa.build:build"),
    servable=servable_doubled,
    export=deferred("appkit.adapters.factors:export"),
    trained=count_trained,
    extra_loss=deferred("appkit.adapters.kasa.build:penalty"),
    state=deferred("appkit.adapters.factors:state"),
    load_state=deferred("appkit.adapters.factors:load_state"),
    paper="KaSA: Knowledge-Aware Singular-Value Adaptation of Large Language Models, arXiv 2412.06071",
    formula="W' = W - U_r S_r V_r^T (the r smallest) + s B* diag(σ*) A*; "
    "loss + mean over layers of β |σ|² + γ (|B^T B - I| + |A A^T - I|)",
    proof="exact: logits and penalty of PEFT's kasa_config on a plain base",
    unverified="the paper's own text: formula, start and coefficients are those of the authors' code and PEFT's",
)
