"""Reads what is to be answered: arguments, lines, or rows of a data file with the columns that training reads."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from appkit.errors import AppkitError, DataError

__all__ = ["Inputs", "column_words", "is_data_file", "read_inputs", "read_rows"]


@dataclass(frozen=True)
class Inputs:
    """Texts or rows to be answered, in order."""

    values: Sequence[str | dict[str, Any]]
    """bare texts, or the pack's fields and the file's other columns"""
    places: Sequence[str] = field(default_factory=list)
    """file and line of each, for messages; empty for arguments and stdin"""


def column_words(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Split words into the columns of fields (`data.columns.FIELD=COLUMN`) and the others."""
    from appkit.config import DataConfig, parse_overrides
    from appkit.config.faults import validate

    own = [word for word in words if re.match(r"data\.columns\.\w+=", word)]
    data = validate(DataConfig, parse_overrides(own).get("data", {}), "data") if own else DataConfig()
    return dict(data.columns), [word for word in words if word not in own]


def is_data_file(file: Path | None) -> bool:
    """Whether the data readers read it: by its suffix, or a data set of the hub."""
    from appkit.data.readers import SUFFIXES

    return file is not None and (file.suffix.lower() in SUFFIXES or str(file).startswith("hub:"))


def read_rows(
    file: Path,
    fields: Mapping[str, bool],
    columns: Mapping[str, str],
    learned: Mapping[str, str] | None = None,
) -> Inputs:
    """Read the rows of a data file, with their other columns.

    fields: those of an input, and whether each is required. columns: field -> column, as the user names it now.
    learned: the same of the training; a column that this file lacks counts only if its field's name is no column.

    Raises ConfigError for an unknown field, DataError for a file or a row that cannot be read, or a missing column.
    """
    from appkit.data.readers import read_table

    _check_fields(columns, fields)
    wanted = {**(learned or {}), **columns}
    source = str(file)
    table = read_table(source, {*fields, *wanted.values()})
    if table.faults:
        more = f"; and {len(table.faults) - 1} more" if len(table.faults) > 1 else ""
        raise DataError(f"{table.faults[0]}{more}; correct the file")
    column_of = {name: wanted.get(name, name) for name in fields}
    for name, column in column_of.items():
        if name not in columns and column not in table.columns and name in table.columns:
            column_of[name] = name
    absent = [name for name in fields if column_of[name] not in table.columns]
    for name in absent:
        if table.columns and (fields[name] or name in columns):
            remedy = f"name it: data.columns.{name}=<column>"
            have = ", ".join(map(repr, table.columns[:30]))
            raise DataError(f"{source!r} has no column {column_of[name]!r}; it has {have}; {remedy}")
    return _name_fields(source, table, {n: c for n, c in column_of.items() if n not in absent})


def _check_fields(columns: Mapping[str, str], fields: Mapping[str, bool]) -> None:
    from appkit.errors import ConfigError
    from appkit.plugins import did_you_mean

    for name in columns:
        if name not in fields:
            raise ConfigError(
                f"no field {name!r} for data.columns.{name}; {did_you_mean(name, list(fields))}"
            )


def _name_fields(source: str, table: Any, column_of: Mapping[str, str]) -> Inputs:
    """Rename the columns of fields; an empty cell is left out, as in training."""
    from appkit.data.readers import place_of

    rows = []
    for _, cells in table.rows:
        filled = {name: cell for name, cell in cells.items() if cell is not None}
        other = {name: cell for name, cell in filled.items() if name not in column_of.values()}
        named = {name: filled[column] for name, column in column_of.items() if column in filled}
        rows.append({**other, **named})
    return Inputs(rows, [place_of(source, line) for line, _ in table.rows])


def read_inputs(sentences: list[str] | None, file: Path | None) -> Inputs:
    """Read inputs from arguments, a text file or stdin: a text a line, or JSONL rows if every line is an object.

    Raises AppkitError for both sentences and a file, and for a file that is missing, not UTF-8 or broken JSON.
    """
    if sentences and file:
        raise AppkitError("give sentences or --file, not both")
    if sentences:
        return Inputs(list(sentences))
    if file is None and sys.stdin.isatty():
        return Inputs([])
    try:
        raw = file.read_bytes() if file else sys.stdin.buffer.read()
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise AppkitError(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise AppkitError(f"{file or 'stdin'}:{line}: not UTF-8 ({error.reason}); convert it first") from None
    # LF, CRLF and CR end a line, and nothing else does
    lines = [(number, line) for number, line in enumerate(re.split("\r\n|\r|\n", text), 1) if line.strip()]
    places = [f"{file or 'stdin'}:{number}" for number, _ in lines]
    if not all(line.lstrip().startswith("{") for _, line in lines):
        return Inputs([line.strip() for _, line in lines], places)
    rows = []
    for number, line in lines:
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise AppkitError(f"{file or 'stdin'}:{number}: broken JSON: {error}; correct the line") from None
    return Inputs(rows, places)
