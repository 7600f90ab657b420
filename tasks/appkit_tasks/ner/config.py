"""Defines the options of the pack."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

__all__ = ["NerConfig"]


class NerConfig(BaseModel):
    """Options of the pack for task=ner: none; what can be chosen lies in the rows and in the head."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["ner"] = "ner"
