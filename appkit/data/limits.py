"""Limits bound what is read of one file: a file of a stranger may unpack to a thousand times its size."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from appkit.errors import DataError

__all__ = ["DEPTH", "UNLIMITED", "CountedFile", "Limits", "is_deep", "measure_texts"]

DEPTH = 32
"""lists and objects inside one another, in a row"""


@dataclass(frozen=True)
class Limits:
    """How much of one file is read; None: all of it. The gateway sets them for files that callers send."""

    lines: int | None = None
    """lines of a text file, rows of Parquet, elements of a JSON array"""
    bytes: int | None = None
    """of the file, unpacked"""

    def check_lines(self, source: str, lines: int) -> None:
        """Raises DataError for more lines than may be read."""
        if self.lines is not None and lines > self.lines:
            raise DataError(
                f"{source!r} has more than {self.lines:,} rows or lines, the most that is read here (serve.max_rows); "
                "send fewer"
            )

    def check_bytes(self, source: str, size: int) -> None:
        """Raises DataError for more bytes than may be read."""
        if self.bytes is not None and size > self.bytes:
            raise DataError(
                f"{source!r} has more than {self.bytes:,} bytes when it is unpacked, the most that is read here "
                "(serve.max_unpacked); send fewer or smaller rows"
            )


UNLIMITED = Limits()


class CountedFile(io.RawIOBase):
    """Passes on the bytes of an opened file. Raises DataError when there are more than the limits allow."""

    def __init__(self, file: Any, source: str, limits: Limits) -> None:
        self._file, self._source, self._limits, self._read = file, source, limits, 0

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into the buffer; return the number of bytes, 0 at the end."""
        count: int = self._file.readinto(buffer)
        self._read += count
        self._limits.check_bytes(self._source, self._read)
        return count


def is_deep(value: Any) -> bool:
    """Tell whether lists and objects are nested deeper than `DEPTH`; whatever walks them may then run out of stack."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(DEPTH):
        level = [inner for item in level for inner in _list_items(item) if isinstance(inner, dict | list)]
        if not level:
            return False
    return True


def measure_texts(values: Iterable[Any]) -> int:
    """Count the characters and bytes of all texts in the values, at any depth."""
    size, waiting = 0, list(values)
    while waiting:
        value = waiting.pop()
        if isinstance(value, str | bytes):
            size += len(value)
        elif isinstance(value, dict | list):
            waiting.extend(_list_items(value))
    return size


def _list_items(value: dict[str, Any] | list[Any]) -> Iterator[Any]:
    return iter(value.values() if isinstance(value, dict) else value)
