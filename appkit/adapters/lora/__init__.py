"""LoRA (arXiv 2106.09685), with rsLoRA, DoRA and the initializations that need neither data nor gradients."""

from __future__ import annotations

from typing import Any

from appkit.adapters.lora.config import LoraOptions, servable
from appkit.method import Form, Method

__all__ = ["METHOD"]


def _build(base: Any, options: LoraOptions) -> Any:
    from appkit.adapters.lora.build import lora_model

    return lora_model(base, options)


def _export(model: Any, options: LoraOptions) -> Form:
    from appkit.adapters.lora.export import export

    return export(model, options)


METHOD = Method(
    name="lora",
    summary="low-rank updates of the linear layers",
    config=LoraOptions,
    build=_build,
    servable=servable,
    export=_export,
    changes_base=lambda options: options.changes_base,
    trained=lambda options, shapes: options.rank * sum(out + into for out, into in shapes),
)
