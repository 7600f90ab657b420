"""LoRA whose layers learn in turn, after LISA (arXiv 2403.17919)."""

from __future__ import annotations

from appkit.adapters.options import count_factors, servable
from appkit.method import Method, deferred
from appkit_fixture.methods.turns.config import TurnsOptions

__all__ = ["METHOD"]

METHOD = Method(
    name="turns",
    summary="LoRA whose layers learn in turn",
    config=TurnsOptions,
    build=deferred("appkit.adapters.carrier:carrier"),
    servable=servable,
    export=deferred("appkit.adapters.carrier:export"),
    trained=count_factors,
    before_forward=deferred("appkit_fixture.methods.turns.build:thaw"),
)
