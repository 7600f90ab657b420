"""Defines the schema of a row and the data set that comes with the pack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field, ModelWrapValidatorHandler, PrivateAttr, field_validator, model_validator

from appkit.task import Row, Shipped
from appkit_tasks.nl2fol.config import Nl2FolConfig
from appkit_tasks.nl2fol.parser import FormulaError, parse
from appkit_tasks.nl2fol.scope import widen
from appkit_tasks.nl2fol.syntax import free_variables

__all__ = ["FolRow", "WideFolRow", "load", "row_for", "row_notes"]


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
            wide = ", or read scopes to the end with task.scope=wide" if widen(formula) != formula else ""
            raise ValueError(
                f"leaves {', '.join(free)} free; a quantifier reaches only its atom or parenthesis: write the "
                f"parentheses{wide}"
            )
        return formula


class WideFolRow(FolRow):
    """A row whose formula is read with the scope of a quantifier to the end, where its variable would be left free."""

    _widened: bool = PrivateAttr(default=False)

    @model_validator(mode="wrap")
    @classmethod
    def _widen(cls, values: Any, handler: ModelWrapValidatorHandler[WideFolRow]) -> WideFolRow:
        text = values.get("formula") if isinstance(values, dict) else None
        if not isinstance(text, str):
            return handler(values)
        wide = widen(text)
        row = handler({**values, "formula": wide})
        row._widened = wide != text
        return row


def row_for(options: Nl2FolConfig) -> type[FolRow]:
    return WideFolRow if options.scope == "wide" else FolRow


def row_notes(rows: Sequence[FolRow]) -> list[str]:
    """Says how many rows were changed by reading scopes to the end."""
    wide = [row for row in rows if isinstance(row, WideFolRow)]
    changed = sum(row._widened for row in wide)
    return [f"{changed} of {len(wide)} rows had a scope read to the end (task.scope=wide)"] if wide else []


def load(options: Nl2FolConfig) -> Shipped:
    """Names the shipped files, written for appkit, CC0: hand-written and generated rows to train on, hand-written ones
    to test on.
    """
    return Shipped("appkit_data", {"train": "nl2fol/train.jsonl", "test": "nl2fol/test.jsonl"})
