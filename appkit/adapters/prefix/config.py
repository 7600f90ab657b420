"""Config defines the options of prefix-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from appkit.method import Servable

__all__ = ["PrefixOptions", "count_numbers", "count_tokens", "servable"]


class PrefixOptions(BaseModel):
    """Options `method.<key>=` of method=prefix."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["prefix"] = "prefix"
    tokens: int = Field(
        10, ge=1, le=4096, description="n: virtual tokens; each takes a position of the base's context"
    )
    projection: int | None = Field(
        None,
        ge=1,
        le=65536,
        description="hidden width of an MLP that computes them while training; none: no MLP",
    )
    init: Literal["auto", "normal", "tokens"] = Field(
        "auto",
        description="normal: N(0, 1), as PEFT; tokens: keys and values of the first n training tokens; auto: tokens, "
        "or normal where there is a projection",
    )

    @property
    def start(self) -> Literal["normal", "tokens"]:
        """How training starts."""
        if self.init != "auto":
            return self.init
        return "tokens" if self.projection is None else "normal"

    @field_validator("init")
    @classmethod
    def _check_init(cls, init: str, info: ValidationInfo) -> str:
        if init == "tokens" and info.data.get("projection") is not None:
            raise ValueError(
                "tokens needs method.projection=none: an MLP cannot be set to given keys and values"
            )
        return init


def servable(options: PrefixOptions) -> Servable:
    """Say which engines can serve the export: it is no LoRA, the only adapter that vLLM loads."""
    reason = "vLLM loads LoRA only, no learned keys and values; serve it with --engine transformers"
    return Servable(("transformers",), 0, reason)


def count_tokens(options: PrefixOptions) -> int:
    """Count the positions that the virtual tokens take."""
    return options.tokens


def count_numbers(options: PrefixOptions, shapes: Sequence[tuple[int, int]]) -> int:
    """Count the trained numbers on a base whose decoder layers have seven linear layers, of these shapes (O, I).

    Two of the seven give keys and values, and none of the others has fewer outputs.
    """
    width = min(out for out, _ in shapes)  # K D
    flat = max(1, round(len(shapes) * 2 / 7)) * width
    if options.projection is None:
        return options.tokens * flat
    hidden = options.projection
    return options.tokens * width + (width + 1) * hidden + (hidden + 1) * flat
