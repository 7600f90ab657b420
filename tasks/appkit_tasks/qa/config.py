"""Defines the options of the pack."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["QaConfig"]


class QaConfig(BaseModel):
    """Options of the pack, set by `task.<key>=` for task=qa."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    name: Literal["qa"] = "qa"
    instruction: str = Field(
        "Answer in a few words from the passages and give the passage's number in brackets, or say: "
        "not in the documents",
        min_length=1,
        description="the system turn; short, since each row pays for it",
    )
