"""Defines the options of the pack."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Nl2FolConfig"]


class Nl2FolConfig(BaseModel):
    """Options of the pack, set by `task.<key>=` for task=nl2fol."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    name: Literal["nl2fol"] = "nl2fol"
    instruction: str = Field(
        "Translate to first-order logic.",
        min_length=1,
        description="the system turn; short, since each row pays for it",
    )
    notation: Literal["words", "symbols"] = Field(
        "words",
        description="how the model writes: `all x: dog(x) implies lives in(x, New York)`, "
        "or `∀x (Dog(x) → LivesIn(x, newYork))`",
    )
    scope: Literal["narrow", "wide"] = Field(
        "narrow",
        description="of a quantifier in the rows: narrow: the next atom or parenthesis; wide: to the end of the text "
        "or of the parenthesis around it, where its variable would be left free",
    )
    normalize: bool = Field(
        True, description="learn the printer's normal form of each formula, not its spelling"
    )
