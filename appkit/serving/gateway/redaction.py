"""Redaction hides this machine's directories in what is told to callers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["without_directories", "without_paths"]

DIRECTORIES = re.compile(r"(?<![\w/.:<])/(?:[^\s/'\",:;()]+/)+")
"""An absolute path, but for its last part. It only hides; nothing is read with it."""


def without_paths(text: str, *places: tuple[str, str]) -> Iterator[str]:
    """Yields the lines of a text, none of them empty, each place (a path) by its name, other directories as `…/`."""
    for line in text.splitlines():
        for path, name in places:
            line = line.replace(path, name)
        line = DIRECTORIES.sub("…/", line).rstrip()
        if line.strip():
            yield line


def without_directories(report: Any) -> Any:
    """Names files of rows without the directories they lie in: values of `file`, and places such as `/a/rows.csv:7`."""
    if isinstance(report, dict):
        return {
            key: Path(value).name if key == "file" and isinstance(value, str) else without_directories(value)
            for key, value in report.items()
        }
    if isinstance(report, list | tuple):
        return [without_directories(value) for value in report]
    return _file_and_line(report) if isinstance(report, str) else report


def _file_and_line(text: str) -> str:
    """`/a/rows.csv:7` as `rows.csv:7`; any other text as it is."""
    path, colon, line = text.rpartition(":")
    place = path.startswith("/") and bool(colon) and line.isdigit()
    return f"{Path(path).name}:{line}" if place else text
