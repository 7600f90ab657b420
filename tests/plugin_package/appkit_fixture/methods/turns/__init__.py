"""LoRA whose layers learn in turn, after LISA (arXiv 2403.17919)."""

from __future__ import annotations

from typing import Any

from appkit.method import Form, Method, Training
from appkit_fixture.methods.turns.config import TurnsOptions, servable

__all__ = ["METHOD"]


def _build(base: Any, options: TurnsOptions) -> Any:
    from appkit.adapters.lora.build import lora_model

    return lora_model(base, options.lora)


def _before_forward(model: Any, training: Training) -> None:
    from appkit_fixture.methods.turns.build import thaw

    thaw(model, training)


def _export(model: Any, options: TurnsOptions) -> Form:
    from appkit.adapters.lora.export import export

    return export(model, options.lora)


METHOD = Method(
    name="turns",
    summary="LoRA whose layers learn in turn",
    config=TurnsOptions,
    build=_build,
    servable=servable,
    export=_export,
    before_forward=_before_forward,
)
