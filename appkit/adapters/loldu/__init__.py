"""LoLDU (arXiv 2410.13618): trains the pivots of the weight's lower-diagonal-upper decomposition."""

from __future__ import annotations

from appkit.adapters.loldu.config import LolduOptions, count_trained
from appkit.adapters.options import servable
from appkit.method import Method, deferred

__all__ = ["METHOD"]

METHOD = Method(
    name="loldu",
    summary="trains r numbers a layer: the first pivots of the weight's LDU decomposition",
    config=LolduOptions,
    build=deferred("appkit.adapters.loldu.build:build"),
    servable=servable,
    export=deferred("appkit.adapters.factors:export"),
    trained=count_trained,
    state=deferred("appkit.adapters.factors:state"),
    load_state=deferred("appkit.adapters.factors:load_state"),
    paper="LoLDU: Low-Rank Adaptation via Lower-Diag-Upper Decomposition for Parameter-Efficient Fine-Tuning, "
    "arXiv 2410.13618",
    formula="W' = W + P L_r diag(σ z* - s z0) U_r, W = P L diag(d) U, z0 = d_r, σ = s (train_scale: σ*)",
    proof="exact: weights of the authors' formula, with another LU decomposition in float64; no update at the start",
    unverified="whether the paper trains the scale σ: in the authors' code that line is commented out",
)
