"""A row as messages, its answer, and the model's answer read back."""

from __future__ import annotations

from appkit.task import Message, Parsed, Text
from appkit_fixture.tasks.shout.config import ShoutConfig
from appkit_fixture.tasks.shout.load import ShoutRow

__all__ = ["answer", "prompt", "target"]


def prompt(row: ShoutRow, options: ShoutConfig) -> list[Message]:
    return [Message.of("system", options.instruction), Message.of("user", row.sentence)]


def target(row: ShoutRow, options: ShoutConfig) -> Text:
    return Text(row.shout)


def answer(text: str) -> Parsed:
    """The model's text, or why it is no shout; counted by the report, never hidden."""
    if text != text.upper():
        return Parsed(None, "has small letters")
    return Parsed(text)
