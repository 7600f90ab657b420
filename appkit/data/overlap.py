"""Overlap finds rows that repeat each other: duplicates, contradictions, inputs in two splits."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from appkit.data.rows import Record
    from appkit.task import Task

__all__ = ["conflicts", "duplicates", "input_key", "overlap"]


def input_key(task: Task) -> Callable[[Record], str]:
    """Make the function record -> its whole input; two splits must not share such a key.

    It is in NFC, with one blank for any run of white space: files write line ends and blanks in many ways.
    """

    def key(record: Record) -> str:
        values = (getattr(record.value, name) for name in (task.input, *task.beside))
        texts = (" ".join(str(value).split()) for value in values if value is not None)
        return unicodedata.normalize("NFC", "\n".join(texts))

    return key


def duplicates(records: Iterable[Record]) -> list[tuple[Record, Record]]:
    """List (first, repeated) for every record whose content occurred before."""
    seen: dict[str, Record] = {}
    return [(first, r) for r in records if (first := seen.setdefault(r.digest, r)) is not r]


def overlap(
    records: Iterable[Record], held: Iterable[Record], key: Callable[[Record], str]
) -> list[tuple[Record, Record]]:
    """List (record, a record of `held` with the same key) for every record that has such a twin."""
    keys = {key(record): record for record in held}
    return [(record, keys[name]) for record in records if (name := key(record)) in keys]


def conflicts(records: Iterable[Record], task: Task) -> list[list[Record]]:
    """List groups of records with one input and more than one target; one record for each target."""
    key = input_key(task)
    groups: dict[str, dict[str, Record]] = {}
    for record in records:
        target = unicodedata.normalize("NFC", str(getattr(record.value, task.output)))
        groups.setdefault(key(record), {}).setdefault(target, record)
    return [list(group.values()) for group in groups.values() if len(group) > 1]
