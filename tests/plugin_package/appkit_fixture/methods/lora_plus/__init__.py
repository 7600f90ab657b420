"""LoRA+ (arXiv 2402.12354): LoRA whose B learns faster than its A."""

from __future__ import annotations

from typing import Any

from appkit.method import Form, Method, Training
from appkit_fixture.methods.lora_plus.config import LoraPlusOptions, servable

__all__ = ["METHOD"]


# torch and PEFT are imported when the method is used, not when methods are listed
def _build(base: Any, options: LoraPlusOptions) -> Any:
    from appkit_fixture.methods.lora_plus.build import build

    return build(base, options)


def _param_groups(model: Any, options: LoraPlusOptions, learning_rate: float) -> list[dict[str, Any]]:
    from appkit_fixture.methods.lora_plus.build import param_groups

    return param_groups(model, options, learning_rate)


def _after_step(model: Any, training: Training) -> None:
    from appkit_fixture.methods.lora_plus.build import clip

    clip(model)


def _export(model: Any, options: LoraPlusOptions) -> Form:
    from appkit_fixture.methods.lora_plus.export import export

    return export(model, options)


METHOD = Method(
    name="lora_plus",
    summary="LoRA whose B learns faster than its A",
    config=LoraPlusOptions,
    build=_build,
    servable=servable,
    export=_export,
    param_groups=_param_groups,
    after_step=_after_step,
)
