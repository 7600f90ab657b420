"""LaMDA and LaMDA++ (arXiv 2406.12832): a trained square matrix between a frozen A and a B that freezes by and by."""

from __future__ import annotations

from appkit.adapters.lamda.config import LamdaOptions, count_trained, servable_spread
from appkit.method import Method, deferred

__all__ = ["METHOD"]

METHOD = Method(
    name="lamda",
    summary="a square matrix between singular vectors, of which the left ones are trained at first",
    config=LamdaOptions,
    build=deferred("appkit.adapters.lamda.build:build"),
    servable=servable_spread,
    export=deferred("appkit.adapters.factors:export"),
    trained=count_trained,
    before_forward=deferred("appkit.adapters.lamda.build:freeze"),
    after_step=deferred("appkit.adapters.lamda.build:put_back"),
    state=deferred("appkit.adapters.factors:state"),
    load_state=deferred("appkit.adapters.factors:load_state"),
    paper="LaMDA: Large Model Fine-Tuning via Spectrally Decomposed Low-Dimensional Adaptation, arXiv 2406.12832",
    formula="W' = W + s (B* N* - B0 N0) A, A = V_r^T, B0 = U_r, N0 = S_r / s; columns of B* freeze one after another",
    proof="property: starts at the weight's principal part with no update; frozen columns stay bit for bit under "
    "momentum and weight decay; ranks of LaMDA++ follow planted spectra and sum to the budget",
    unverified="the start from an SVD (from summaries; the authors' code starts at random: init=kaiming); which "
    "columns freeze first; the score that LaMDA++ shares ranks out by, which is ours",
)
