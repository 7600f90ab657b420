"""Options of the pack."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ShoutConfig"]


class ShoutConfig(BaseModel):
    """`task.<key>=` for task=shout."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["shout"] = "shout"
    instruction: str = Field("Shout.", min_length=1, description="the system turn")
