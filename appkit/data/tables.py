"""Tables hold the cells that a reader found, the rows that it could not read, and how many lines became what."""

from __future__ import annotations

import codecs
from dataclasses import dataclass, field
from typing import Any

from appkit.data.limits import UNLIMITED, Limits

__all__ = ["Fault", "Format", "Table", "codec_of", "place_of"]


@dataclass(frozen=True)
class Fault:
    """A row that could not be used, and why."""

    file: str
    """path or hub name, as the user wrote it"""
    line: int
    """physical line of a text file, row of Parquet or the hub; from 1"""
    field: str | None
    """None when the row as a whole is broken"""
    reason: str
    """what is wrong: "is empty", "must be text", ..."""
    value: str
    """the value received, shortened"""

    def __str__(self) -> str:
        return f"{place_of(self.file, self.line)}: {self.field or 'row'} {self.reason}; got {self.value}"


@dataclass(frozen=True)
class Format:
    """How text files are written, where the user says so, and how much of any file is read."""

    encoding: str | None = None
    """Python's name of it; None: UTF-8"""
    delimiter: str | None = None
    """between the cells of .csv and .tsv; None: comma and tab"""
    limits: Limits = UNLIMITED
    """of a file that a stranger may have sent"""


@dataclass
class Table:
    """The cells of a file, before the schema is applied.

    `lines` is always `len(rows) + lost + other`, so that no line disappears uncounted.
    """

    columns: list[str] = field(default_factory=list)
    """names, in file order"""
    rows: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    """(line, column -> value)"""
    faults: list[Fault] = field(default_factory=list)
    """what is wrong with rows that cannot be read"""
    lost: int = 0
    """rows that cannot be read; of a quote that does not close, the lines that it covers"""
    lines: int = 0
    """physical lines of a text file; rows of Parquet and the hub, elements of a JSON array"""
    other: int = 0
    """lines without a row of their own: header, blank lines, comments, and the further lines of a row"""
    notes: list[str] = field(default_factory=list)
    """what was decided while reading, a line each"""

    def lose(self, *faults: Fault, lines: int = 1) -> None:
        """Count a row (or `lines` of them) as lost, for these reasons."""
        self.faults.extend(faults)
        self.lost += lines


def place_of(file: str, line: int) -> str:
    """Write a place as `file:line`, or `file row 3` where rows have no lines (Parquet, the hub)."""
    by_row = file.startswith("hub:") or file.lower().endswith(".parquet")
    return f"{file} row {line}" if by_row else f"{file}:{line}"


def codec_of(encoding: str) -> str:
    """Find Python's own name of a text encoding. Raises LookupError for a name that it does not know."""
    codec = codecs.lookup(encoding)
    if not codec._is_text_encoding:  # base64, zip and rot13 turn no bytes into text
        raise LookupError(encoding)
    return codec.name
