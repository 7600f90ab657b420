"""Hides this machine's directories in answers to callers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["without_directories", "without_paths"]

DIRECTORIES = re.compile(r"(?<![\w/.:<])/(?:[^\s/'\",:;()]+/)+")
"""an absolute path without its last part; only for hiding, nothing is read with it"""


def without_paths(text: str, *places: tuple[str, str]) -> Iterator[str]:
    """Yields a text's non-empty lines, with the name of each place for its path, and `…/` for other directories."""
    for line in text.splitlines():
        for path, name in places:
            line = line.replace(path, name)
        line = DIRECTORIES.sub("…/", line).rstrip()
        if line.strip():
            yield line


def without_directories(report: Any) -> Any:
    """Cuts directories from files of rows: from values of `file`, and from places such as `/a/rows.csv:7`."""
    if isinstance(report, dict):
        return {
            key: Path(value).name if key == "file" and isinstance(value, str) else without_directories(value)
            for key, value in report.items()
        }
    if isinstance(report, list | tuple):
        return [without_directories(value) for value in report]
    return _cut_directory(report) if isinstance(report, str) else report


def _cut_directory(text: str) -> str:
    """Turns `/a/rows.csv:7` into `rows.csv:7`; returns any other text as it is."""
    path, colon, line = text.rpartition(":")
    place = path.startswith("/") and bool(colon) and line.isdigit()
    return f"{Path(path).name}:{line}" if place else text
