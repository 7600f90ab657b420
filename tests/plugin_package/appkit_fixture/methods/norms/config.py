"""Options of the norms method: none but its name."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from appkit.method import Servable

__all__ = ["NormsOptions", "servable"]


class NormsOptions(BaseModel):
    """`method.<key>=` for method=norms."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["norms"] = "norms"


def servable(options: NormsOptions) -> Servable:
    """Only the engine that can swap weights of the base."""
    return Servable(("transformers",), None, "vLLM swaps no weights of the base")
