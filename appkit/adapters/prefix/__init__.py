"""Prefix-tuning (arXiv 2101.00190): learned keys and values before each row, in every layer."""

from __future__ import annotations

from appkit.adapters.prefix.config import PrefixOptions, count_numbers, count_tokens, servable
from appkit.method import Method, deferred

__all__ = ["METHOD"]

METHOD = Method(
    name="prefix",
    summary="learned keys and values before each row, in every layer",
    config=PrefixOptions,
    build=deferred("appkit.adapters.prefix.build:build"),
    servable=servable,
    export=deferred("appkit.adapters.virtual_tokens:export"),
    trained=count_numbers,
    virtual_tokens=count_tokens,
    before_training=deferred("appkit.adapters.prefix.build:start_from_tokens"),
    paper="Prefix-Tuning: Optimizing Continuous Prompts for Generation, arXiv 2101.00190",
    formula="W' = W; attention over [P_k*; K], [P_v*; V], with n rows in P_k*, P_v* of each layer",
    proof="exact: logits and gradients of PEFT's prefix tuning, with and without projection",
    unverified="the paper's own text; formula, start and projection are those of PEFT",
)
