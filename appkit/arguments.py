"""Arguments reads what Python code passes where one or many are meant: inputs, words, paths."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import Any

from appkit.errors import ConfigError, DataError

__all__ = ["list_inputs", "list_paths", "list_words", "read_path"]


def list_inputs(inputs: Any, *rows: type) -> list[Any]:
    """List inputs: one text, dict or row (of the types `rows`) is a list of one; else the items of an iterable.

    Raises DataError for what holds no inputs in order: None, a number, bytes, a table, a set; and for one row that
    iterates as its cells, such as a named tuple.
    """
    if isinstance(inputs, (str, Mapping, *rows)):
        return [inputs]
    shown = f"got {type(inputs).__name__}"
    if callable(getattr(inputs, "to_dict", None)) and hasattr(inputs, "columns"):
        # iterating it would give the names of its columns
        raise DataError(f"a table is no list of inputs, {shown}; give its rows: frame.to_dict('records')")
    if _has_named_cells(inputs):
        raise DataError(
            f"its cells have names, so it is one row and no list of inputs, {shown}; give a dict of its cells "
            "(dict(row), row._asdict()), or a column as a list (column.tolist())"
        )
    if isinstance(inputs, (bytes, bytearray, memoryview)):
        raise DataError(f"an input is a text, {shown}; decode it: text.decode()")
    if isinstance(inputs, Set) or hasattr(inputs, "model_dump"):
        why = "a set has no order for the answers" if isinstance(inputs, Set) else "it is no row of this task"
        raise DataError(f"inputs are a text, a dict, or a list of them; {why}, {shown}")
    try:
        return list(inputs)
    except TypeError:  # None, a number, an array without dimensions
        raise DataError(f"inputs are a text, a dict, or a list of them, {shown}") from None


def _has_named_cells(inputs: Any) -> bool:
    """Whether it iterates as cells that have names: a named tuple, a row of pandas, of numpy or of sqlite3."""
    if isinstance(inputs, tuple):
        return hasattr(inputs, "_fields")
    if getattr(getattr(inputs, "dtype", None), "names", None):
        return not inputs.shape  # an array of such rows is a list of them
    keys = getattr(inputs, "keys", None)
    names = list(keys()) if callable(keys) and not isinstance(inputs, type) else []
    return bool(names) and all(isinstance(name, str) for name in names)


def list_words(words: str | Iterable[str]) -> list[str]:
    """List words: one text is one word, not its characters."""
    return [words] if isinstance(words, str) else list(words)


def list_paths(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], what: str) -> list[Path]:
    """List paths: one is a list of one. what: is named in the message. Raises ConfigError as `read_path` does."""
    one = isinstance(paths, (str, os.PathLike))
    return [read_path(path, what) for path in ([paths] if one else paths)]  # type: ignore[union-attr]


def read_path(path: Any, what: str) -> Path:
    """Read a path. what: is named in the message.

    Raises ConfigError for what is no path, and for an empty text, which would mean the working directory.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise ConfigError(f"{what} is a path, got {type(path).__name__}; give a text or a pathlib.Path")
    if not os.fspath(path).strip():
        raise ConfigError(f"{what} is empty (a variable that is not set?); name its path")
    return Path(path)
