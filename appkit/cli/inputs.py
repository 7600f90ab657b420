"""Reads what is to be answered: arguments, lines, or rows of a data file with the columns that training reads."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appkit.errors import AppkitError, ConfigError, DataError, shortened

if TYPE_CHECKING:
    from appkit.data.tables import Format

__all__ = ["FileWords", "Inputs", "file_words", "is_data_file", "read_inputs", "read_rows"]


@dataclass(frozen=True)
class Inputs:
    """Texts or rows to be answered, in order."""

    values: Sequence[str | dict[str, Any]]
    """bare texts, or the pack's fields and the file's other columns"""
    places: Sequence[str] = field(default_factory=list)
    """file and line of each, for messages; empty for arguments"""
    notes: Sequence[str] = ()
    """what was decided while reading, a line each"""


@dataclass(frozen=True)
class FileWords:
    """What words say about a file of inputs."""

    columns: Mapping[str, str]
    """field -> column (`data.columns.FIELD=COLUMN`)"""
    form: Format
    """encoding and delimiter (`data.encoding=`, `data.delimiter=`)"""

    def check(self, file: Path | None, sentences: Sequence[str]) -> None:
        """Raises ConfigError for a word that would have no effect on what is read."""
        if self.columns and (sentences or not is_data_file(file)):
            raise ConfigError("data.columns names columns of a data file; give one with --file")
        if self.form.delimiter and (sentences or not is_data_file(file)):
            raise ConfigError("data.delimiter says how a data file is written; give one with --file")
        if self.form.encoding and sentences:
            raise ConfigError(
                "data.encoding says how a file is written; give one with --file, or lines on stdin"
            )


def file_words(words: Sequence[str]) -> tuple[FileWords, list[str]]:
    """Split words into what they say about a file of inputs, and the others."""
    from appkit.config import DataConfig, parse_overrides
    from appkit.config.faults import validate
    from appkit.data.tables import Format

    own = [word for word in words if re.match(r"data\.(columns\.\w+|encoding|delimiter)=", word)]
    data = validate(DataConfig, parse_overrides(own).get("data", {}), "data") if own else DataConfig()
    form = Format(data.encoding, data.delimiter)
    return FileWords(dict(data.columns), form), [word for word in words if word not in own]


def is_data_file(file: Path | None) -> bool:
    """Whether the data readers read it: by its suffix, packed or not, or a data set of the hub."""
    from appkit.data.lines import SUFFIXES, suffix_of

    return file is not None and (suffix_of(file) in SUFFIXES or str(file).startswith("hub:"))


def read_rows(
    file: Path,
    fields: Mapping[str, bool],
    words: FileWords,
    learned: Mapping[str, str] | None = None,
) -> Inputs:
    """Read the rows of a data file, with their other columns.

    fields: those of an input, and whether each is required. words: what the user says about this file. learned: the
    columns of the training; one that this file lacks counts only if its field's name is no column.

    Raises ConfigError for an unknown field, DataError for a file or a row that cannot be read, or a missing column.
    """
    from appkit.data.readers import read_table
    from appkit.data.rows import spell_columns

    columns = words.columns
    _check_fields(columns, fields)
    wanted = {**(learned or {}), **columns}
    source = str(file)
    table = read_table(source, {*fields, *wanted.values()}, words.form)
    if table.faults:
        more = f"; and {len(table.faults) - 1} more" if len(table.faults) > 1 else ""
        raise DataError(f"{table.faults[0]}{more}; correct the file")
    asked = {name: wanted.get(name, name) for name in fields}
    for name, column in spell_columns(source, table, asked).items():
        if name not in columns and column not in table.columns:
            asked[name] = name
    column_of = spell_columns(source, table, asked)
    absent = [name for name in fields if column_of[name] not in table.columns]
    for name in absent:
        if table.columns and (fields[name] or name in columns):
            remedy = f"name it: data.columns.{name}=<column>"
            have = ", ".join(map(repr, table.columns[:30]))
            raise DataError(f"{source!r} has no column {column_of[name]!r}; it has {have}; {remedy}")
    return _name_fields(source, table, {n: c for n, c in column_of.items() if n not in absent})


def _check_fields(columns: Mapping[str, str], fields: Mapping[str, bool]) -> None:
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
    return Inputs(rows, [place_of(source, line) for line, _ in table.rows], table.notes)


def read_inputs(sentences: list[str] | None, file: Path | None, form: Format | None = None) -> Inputs:
    """Read inputs from arguments, a text file or stdin: a text a line, or JSONL rows if every line is an object.

    form: how the text is encoded; None: UTF-8. A file may be packed (.gz).

    Raises AppkitError for both sentences and a file, and for a text that is missing, not of its encoding, or broken
    JSON.
    """
    from appkit.data.objects import DuplicateKeyError, make_object

    if sentences and file:
        raise AppkitError("give sentences or --file, not both")
    if sentences:
        return Inputs(list(sentences))
    if file is None and sys.stdin.isatty():
        return Inputs([])
    # LF, CRLF and CR end a line, and nothing else does
    lines = [(number, line) for number, line in enumerate(_read_text(file, form), 1) if line.strip()]
    source = file or "stdin"
    places = [f"{source}:{number}" for number, _ in lines]
    if not all(line.lstrip().startswith("{") for _, line in lines):
        return Inputs([line.strip() for _, line in lines], places)
    rows = []
    for number, line in lines:
        try:
            rows.append(json.loads(line, object_pairs_hook=make_object))
        except DuplicateKeyError as error:
            raise AppkitError(
                f"{source}:{number}: row {error}; got {shortened(line.strip())}; keep one"
            ) from None
        except ValueError as error:
            raise AppkitError(f"{source}:{number}: broken JSON: {error}; correct the line") from None
    return Inputs(rows, places)


def _read_text(file: Path | None, form: Format | None) -> list[str]:
    """Read the lines of a file or of stdin. Raises DataError where a byte is not of the encoding."""
    import io

    from appkit.data.lines import decode_lines, find_bad_byte, read_lines
    from appkit.data.tables import Format

    form, path = form or Format(), file or Path("stdin")
    if file:
        lines = list(read_lines(file, form))
    else:
        lines = list(decode_lines(io.BytesIO(sys.stdin.buffer.read()), path, form))
    for number, line in enumerate(lines, 1):
        if bad := find_bad_byte(str(path), number, line, form):
            raise DataError(str(bad))
    return lines
