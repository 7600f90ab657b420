"""Defines the options of the pack."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["CodeChangeConfig", "Problem"]

Problem = Literal["review", "commit_message", "comment_update"]


class CodeChangeConfig(BaseModel):
    """Options of the pack, set by `task.<key>=` for task=codechange."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["codechange"] = "codechange"
    problem: Problem = Field("commit_message", description="what is written about a change")
    view: Literal["unified", "before_after"] = Field(
        "unified",
        description="how the change is shown: with signs, or the text before and the text afterwards",
    )
    diff_chars: int = Field(
        2500,
        ge=200,
        le=100_000,
        description="characters of a change that are shown; more is cut by whole hunks",
    )
    examples: int = Field(
        0,
        ge=0,
        le=2,
        description="similar earlier changes in each prompt; never of a same file or the same commit",
    )
    example_chars: int = Field(
        600, ge=100, le=20_000, description="characters of an example's change that are shown"
    )
    body: bool = Field(False, description="commit_message: write the whole message, not its first line alone")
