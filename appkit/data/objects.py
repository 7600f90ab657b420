"""Objects of JSON are decoded here: a key that comes twice is an error, where Python keeps its last value alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from appkit.errors import shortened

__all__ = ["DuplicateKeyError", "make_object"]


class DuplicateKeyError(ValueError):
    """An object has a key twice; the message says which, to follow the word "row"."""

    def __init__(self, key: str) -> None:
        super().__init__(f"has the key {shortened(key)} twice")
        self.key = key


def make_object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dict of an object's pairs, as `object_pairs_hook`. Raises DuplicateKeyError."""
    cells: dict[str, Any] = {}
    for key, value in pairs:
        if key in cells:
            raise DuplicateKeyError(key)
        cells[key] = value
    return cells
