"""NLoRA (arXiv 2502.14482): LoRA with a third matrix between its factors, which can start at slices of the weight."""

from __future__ import annotations

from appkit.adapters.nlora.config import NloraOptions, count_trained
from appkit.adapters.options import servable
from appkit.method import Method, deferred

__all__ = ["METHOD"]

METHOD = Method(
    name="nlora",
    summary="LoRA with an r x r matrix between its factors: NLoRA, SLoRA, IntTune",
    config=NloraOptions,
    build=deferred("appkit.adapters.nlora.build:build"),
    servable=servable,
    export=deferred("appkit.adapters.factors:export"),
    trained=count_trained,
    state=deferred("appkit.adapters.factors:state"),
    load_state=deferred("appkit.adapters.factors:load_state"),
    paper="NLoRA: Nyström-Initiated Low-Rank Adaptation for Large Language Models, arXiv 2502.14482",
    formula="W' = W + s B* N* A*, A0 = W[:r], N0 = W[:r, :r], B0 = W[:, :r]; slora: A0, N0 random, B0 = 0; "
    "int_tune: N* alone",
    proof="exact: weights of the closed form on a plain base, before and after a change; gradient of N by hand",
    unverified="the paper's own text: starts and what is trained are those of the authors' code",
)
