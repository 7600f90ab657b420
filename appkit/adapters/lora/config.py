"""Config defines the options of the LoRA method."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from pydantic import Field, field_validator

from appkit.adapters.options import LowRankOptions
from appkit.method import Servable

__all__ = ["LoraOptions", "servable", "trained"]


class LoraOptions(LowRankOptions):
    """Options `method.<key>=` of method=lora."""

    name: Literal["lora"] = "lora"
    dropout: float = Field(0.0, ge=0, lt=1, description="on the input of A; above 0 training is slower")
    rslora: bool = Field(False, description="scale by alpha / sqrt(rank) (arXiv 2312.03732)")
    dora: bool = Field(
        False, description="weight-decomposed LoRA (arXiv 2402.09353); no engine but transformers"
    )
    init: str = Field("default", description="default (Kaiming A, zero B), gaussian or orthogonal")

    @field_validator("init")
    @classmethod
    def _check_init(cls, init: str) -> str:
        if init in ("default", "gaussian", "orthogonal"):
            return init
        if moved := re.fullmatch(r"(pissa|olora|eva|lora_ga)(_niter_(\d+))?", init):
            more = f" method.niter={moved[3]}" if moved[3] else ""
            raise ValueError(f"{init} is a method of its own; use method={moved[1]}{more}")
        raise ValueError(f"init must be default, gaussian or orthogonal, got {init!r}")


def servable(options: LoraOptions) -> Servable:
    """Say which engines can serve the export, and its rank."""
    if options.dora:
        return Servable(("transformers",), options.rank, "vLLM loads no DoRA; use method.dora=false")
    return Servable(("vllm", "transformers"), options.rank)


def trained(options: LoraOptions, shapes: Sequence[tuple[int, int]]) -> int:
    """Count the entries of A and B, and of DoRA the magnitudes, for linear layers of these shapes (O, I)."""
    return sum(options.rank * (out + into) + options.dora * out for out, into in shapes)
