"""Config defines the options of BA-LoRA."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from appkit.adapters.options import LowRankOptions

__all__ = ["BaLoraOptions"]


class BaLoraOptions(LowRankOptions):
    """Options `method.<key>=` of method=ba_lora."""

    name: Literal["ba_lora"] = "ba_lora"
    niter: int = Field(
        0,
        ge=0,
        le=100,
        description="subspace iterations of a randomized SVD (4 to 16 is usual); 0: exact SVD",
    )
    lambda1: float = Field(0.025, ge=0, description="weight of consistency with the base's answers; 0: off")
    lambda2: float = Field(0.005, ge=0, description="weight of diversity; 0: off")
    lambda3: float = Field(0.005, ge=0, description="weight of the logits' largest singular values; 0: off")
    schedule: Literal["phased", "constant"] = Field(
        "phased",
        description="phased: lambda1 falls to a tenth, lambda2 and lambda3 begin after a fifth of the steps; "
        "constant: they stay",
    )
    temperature: float = Field(
        2.0, gt=0, le=100, description="of both distributions in consistency; 1: as they are"
    )
    top_k: int = Field(
        20, ge=0, description="likeliest tokens whose entropy is diversity; 0: the whole vocabulary"
    )
    svd_k: int = Field(10, ge=1, description="singular values of the logits that count as largest")
    svd_rows: int = Field(
        512, ge=2, description="tokens of a micro-batch whose logits are decomposed, at most"
    )

    @field_validator("top_k")
    @classmethod
    def _check_top_k(cls, top_k: int) -> int:
        if top_k == 1:
            raise ValueError(
                "must be 0, the whole vocabulary, or at least 2: the entropy of one token is always 0"
            )
        return top_k
