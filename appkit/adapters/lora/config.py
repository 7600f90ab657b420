"""Config defines the options of the LoRA method."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from appkit.method import Servable

__all__ = ["LoraOptions", "servable"]


class LoraOptions(BaseModel):
    """Options `method.<key>=` of method=lora."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    name: Literal["lora"] = "lora"
    rank: int = Field(16, ge=1, le=512, description="r: rows of A")
    alpha: float = Field(
        32, gt=0, description="the update is scaled by alpha / rank (alpha / sqrt(rank) with rslora)"
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="on the input of A; above 0 training is slower")
    targets: tuple[str, ...] | Literal["all-linear"] = Field(
        "all-linear",
        description="names of linear layers, such as q_proj; all-linear is each but the output layer",
    )
    rslora: bool = Field(False, description="scale by alpha / sqrt(rank) (arXiv 2312.03732)")
    dora: bool = Field(
        False, description="weight-decomposed LoRA (arXiv 2402.09353); no engine but transformers"
    )
    init: str = Field(
        "default",
        description="default (Kaiming A, zero B), gaussian, orthogonal, pissa, pissa_niter_<n> or olora",
    )

    @field_validator("init")
    @classmethod
    def _check_init(cls, init: str) -> str:
        if init in ("default", "gaussian", "orthogonal", "pissa", "olora") or re.fullmatch(
            r"pissa_niter_[1-9]\d*", init
        ):
            return init
        raise ValueError(
            f"init must be default, gaussian, orthogonal, pissa, pissa_niter_<n> or olora, got {init!r}; "
            "eva, corda, loftq and lora_ga need a pass over data or gradients first and come with their own methods"
        )

    @property
    def changes_base(self) -> bool:
        """Whether the initialization moves part of the base's weights into the factors."""
        return self.init.startswith(("pissa", "olora"))

    @property
    def exported_rank(self) -> int:
        """Rank of the exported update: twice `rank` where the initialization changes the base."""
        return 2 * self.rank if self.changes_base else self.rank


def servable(options: LoraOptions) -> Servable:
    """Say which engines can serve the export, and its rank."""
    if options.dora:
        return Servable(("transformers",), options.exported_rank, "vLLM loads no DoRA; use method.dora=false")
    return Servable(("vllm", "transformers"), options.exported_rank)
