"""Defines the options of the pack."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

__all__ = ["ClassificationConfig"]


class ClassificationConfig(BaseModel):
    """Options of the pack, set by `task.<key>=` for task=classification."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    name: Literal["classification"] = "classification"
    problem: Literal["auto", "single", "multi", "regression"] = Field(
        "auto",
        description="one label, any number of labels, or a number; auto: text and whole numbers are one label, a list "
        "is any number of them, other numbers are numbers",
    )
    separator: str | None = Field(
        None, description="what stands between the labels of a cell, such as | in a CSV file"
    )
    oos: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="label answered when no label is likely enough (out of scope); none: the likeliest always is",
    )

    @field_validator("separator")
    @classmethod
    def _check_separator(cls, separator: str | None, before: ValidationInfo) -> str | None:
        if separator == "":
            raise ValueError("is empty; name a sign, in quotes for the shell: 'task.separator=|'")
        if separator is not None and before.data.get("problem") in ("single", "regression"):
            raise ValueError(
                f"makes several labels of a cell, which task.problem={before.data['problem']} does not have; leave one "
                "of the two out"
            )
        return separator

    @field_validator("oos")
    @classmethod
    def _check_oos(cls, oos: str | None, before: ValidationInfo) -> str | None:
        if oos is not None and not oos.strip():
            raise ValueError("is blank; name a label, or leave it out")
        several = before.data.get("separator") is not None or before.data.get("problem") == "multi"
        if oos is not None and (several or before.data.get("problem") == "regression"):
            raise ValueError(
                "is answered instead of one label, and here are several labels or numbers; leave it out"
            )
        return oos
