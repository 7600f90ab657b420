"""Hides this machine's directories in answers to callers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["without_directories", "without_paths"]

DIRECTORIES = re.compile(r"(?<![\w/.:<])/(?:[^\s/'\",:;()]+/)+")
"""an absolute path without its last part; only for hiding, nothing is read with it"""
PLACE = re.compile(r"/(?:.*/)?([^/]+(?::\d+| row \d+))", re.DOTALL)
"""file and line of a row, or file and row"""
NOTE = re.compile(r"((?:\w+: )?)(/.*?)(: .*)", re.DOTALL)
"""the split, the file, and what was decided about it"""


def without_paths(text: str, *places: tuple[str, str]) -> Iterator[str]:
    """Yields a text's non-empty lines, with the name of each place for its path, and `…/` for other directories."""
    for line in text.splitlines():
        for path, name in places:
            line = line.replace(path, name)
        line = DIRECTORIES.sub("…/", line).rstrip()
        if line.strip():
            yield line


def without_directories(report: Any) -> Any:
    """Cuts directories from files of rows in the report of a check, wherever it names one.

    That is in values of `file`, in notes, which begin with one, and in places such as `/a/rows.csv:7`, also as keys.
    Other texts are the rows' own.
    """
    if isinstance(report, dict):
        return {_cut_place(key): _cut_value(key, value) for key, value in report.items()}
    if isinstance(report, list | tuple):
        return [without_directories(value) for value in report]
    return _cut_place(report) if isinstance(report, str) else report


def _cut_value(key: str, value: Any) -> Any:
    if key == "file" and isinstance(value, str):
        return Path(value).name
    if key == "notes" and isinstance(value, list):
        return [_cut_note(note) for note in value]
    return without_directories(value)


def _cut_place(text: str) -> str:
    """Turns `/a/rows.csv:7` into `rows.csv:7`, and so `/a/rows.parquet row 7`; returns any other text as it is."""
    match = PLACE.fullmatch(text)
    return match[1] if match else text


def _cut_note(text: str) -> str:
    """Turns `train: /a/rows.csv: 3 rows …` into `train: rows.csv: 3 rows …`."""
    match = NOTE.fullmatch(text)
    return f"{match[1]}{Path(match[2]).name}{match[3]}" if match else text
