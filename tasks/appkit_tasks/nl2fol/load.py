"""Defines the schema of a row and the data set that comes with the pack."""

from __future__ import annotations

from pydantic import Field, field_validator

from appkit.task import Row, Shipped
from appkit_tasks.nl2fol.config import Nl2FolConfig
from appkit_tasks.nl2fol.parser import FormulaError, parse
from appkit_tasks.nl2fol.syntax import free_variables

__all__ = ["FolRow", "load"]


class FolRow(Row):
    """A row is an English sentence and its formula, in any notation that the parser reads."""

    sentence: str = Field(min_length=1, max_length=4000, description="one English statement")
    formula: str = Field(min_length=1, description="its first-order formula")

    @field_validator("formula")
    @classmethod
    def _require_closed_formula(cls, formula: str) -> str:
        try:
            free = free_variables(parse(formula))
        except FormulaError as error:
            raise ValueError(f"not a formula: {error}") from None
        if free:
            raise ValueError(
                f"leaves {', '.join(free)} free; a quantifier reaches only its atom or parenthesis"
            )
        return formula


def load(options: Nl2FolConfig) -> Shipped:
    """Names the shipped files, written for appkit, CC0: hand-written and generated rows to train on, hand-written ones
    to test on.
    """
    return Shipped("appkit_data", {"train": "nl2fol/train.jsonl", "test": "nl2fol/test.jsonl"})
