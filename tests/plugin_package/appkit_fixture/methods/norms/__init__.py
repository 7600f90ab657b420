"""Trains the normalization weights of the base, and nothing else."""

from __future__ import annotations

from appkit.method import Method, deferred
from appkit_fixture.methods.norms.config import NormsOptions, servable

__all__ = ["METHOD"]

METHOD = Method(
    name="norms",
    summary="the base's own normalization weights",
    config=NormsOptions,
    build=deferred("appkit_fixture.methods.norms.build:build"),
    servable=servable,
    export=deferred("appkit_fixture.methods.norms.build:export"),
)
