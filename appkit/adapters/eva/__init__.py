"""EVA (arXiv 2410.07170): LoRA whose A starts at the directions in which a layer's inputs vary most."""

from __future__ import annotations

from appkit.adapters.eva.config import EvaOptions, servable
from appkit.adapters.options import count_factors
from appkit.method import Method, deferred

__all__ = ["METHOD"]

METHOD = Method(
    name="eva",
    summary="LoRA that starts at the principal components of the inputs, with ranks by their variance",
    config=EvaOptions,
    build=deferred("appkit.adapters.eva.build:build"),
    servable=servable,
    export=deferred("appkit.adapters.factors:export"),
    trained=count_factors,  # of a mean rank; which layers get more of it is known only after the data are seen
    before_training=deferred("appkit.adapters.eva.build:before_training"),
    state=deferred("appkit.adapters.factors:state"),
    load_state=deferred("appkit.adapters.eva.build:load_state"),
    paper="EVA: Parameter Efficient Fine-tuning via Explained Variance Adaptation, arXiv 2410.07170",
    formula="W' = W + s B* A*, A0 = r_l principal components of the layer's inputs, B0 = 0, mean r_l = r",
    proof="exact: the components of the stacked inputs; components and ranks of PEFT's EvaConfig",
    unverified="that vLLM computes with ranks that differ between layers what PEFT does",
)
