"""Turns a row into the text that the model reads, its words, and the tag of each word."""

from __future__ import annotations

from appkit.task import Message, TokenLabels
from appkit_tasks.ner.config import NerConfig
from appkit_tasks.ner.load import NerRow, word_spans
from appkit_tasks.ner.tags import tags_of

__all__ = ["prompt", "target", "words"]


def prompt(row: NerRow, options: NerConfig) -> list[Message]:
    return [Message.of("user", row.text)]


def words(row: NerRow, options: NerConfig) -> list[tuple[int, int]]:
    """Returns start and end of each word, in characters of the text."""
    return word_spans(row)


def target(row: NerRow, options: NerConfig) -> TokenLabels:
    """Returns the IOB2 tag of each word."""
    return TokenLabels(tuple(tags_of(row.entities, word_spans(row))))
