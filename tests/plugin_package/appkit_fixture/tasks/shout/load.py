"""The schema of a row, and the rows that come with the pack."""

from __future__ import annotations

from pydantic import Field, field_validator

from appkit.task import Row, Shipped
from appkit_fixture.tasks.shout.config import ShoutConfig

__all__ = ["ShoutRow", "load"]


class ShoutRow(Row):
    """A sentence and its capitals."""

    sentence: str = Field(min_length=1, max_length=200, description="one sentence")
    shout: str = Field(min_length=1, description="the same sentence in capitals")

    @field_validator("shout")
    @classmethod
    def _loud(cls, shout: str) -> str:
        if shout != shout.upper():
            raise ValueError("must be in capitals; write it with str.upper()")
        return shout


def load(options: ShoutConfig) -> Shipped:
    """Hand-written rows, CC0."""
    return Shipped("appkit_fixture.tasks.shout", {"train": "train.jsonl", "test": "test.jsonl"})
