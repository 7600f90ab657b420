"""Reads rows from files and checks them against the task's schema.

Reading never stops at a bad row: it becomes a `Fault` with its place, and the rest is read. Only an error of the whole
file (it is missing, a column is absent from every row) raises.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from appkit.data.readers import Fault, Format, Table, place_of, read_table
from appkit.errors import ConfigError, DataError, shortened
from appkit.plugins import did_you_mean

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from appkit.task import FileRows, Row

__all__ = ["Read", "Record", "digest", "fingerprint", "read", "spell_columns"]

UTF8 = Format()
"""of text files, unless the user says otherwise"""


@dataclass(frozen=True)
class Record:
    """A row that fits the schema, and where it came from."""

    value: Row
    file: str
    """path or hub name, as the user wrote it"""
    line: int
    """physical line of a text file, row of Parquet or the hub; from 1"""
    digest: str
    """sha256 of the schema's fields in NFC: the same for every file format, order and column name"""
    document: str | None = None
    """the document that the row is a part of: splits keep it whole, intervals draw it whole"""
    domain: str | None = None
    """the source or field of knowledge that it belongs to: scores and losses are also given by it"""

    @property
    def place(self) -> str:
        """The file and line, for messages."""
        return place_of(self.file, self.line)


@dataclass(frozen=True)
class Read:
    """The content of one source, in file order."""

    records: list[Record]
    """rows that fit the schema"""
    faults: list[Fault]
    """rows that do not"""
    source: str = ""
    """path or hub name, as the user wrote it"""
    left_out: int = 0
    """rows that were not used, each once, however many faults it has"""
    lines: int = 0
    """lines of the file, rows of Parquet and the hub; `len(records) + left_out + other`"""
    other: int = 0
    """lines without a row of their own: header, blank lines, comments, and the further lines of a row"""
    notes: tuple[str, ...] = ()
    """what was decided while reading, a line each"""
    parts: tuple[Read, ...] = ()
    """of a mix: what was read of each source"""


def _normalize(value: Any) -> Any:
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value)
    if isinstance(value, dict):
        return {_normalize(key): _normalize(item) for key, item in value.items()}
    return [_normalize(item) for item in value] if isinstance(value, list) else value


CANONICAL = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def digest(value: Row) -> str:
    """Compute the sha256 (hex) of the canonical JSON of the row's fields: keys sorted, strings in NFC."""
    fields = _normalize(value.model_dump(mode="json"))
    return hashlib.sha256(CANONICAL.encode(fields).encode()).hexdigest()


def _walk_strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for item in [*value, *value.values()] if isinstance(value, dict) else value:
            yield from _walk_strings(item)


def _find_bad_text(value: Any) -> str | None:
    """Say why a cell's text cannot be trained on although its file is valid: JSON can escape any character."""
    for text in _walk_strings(value):
        if "\0" in text:
            return "holds a NUL character"
        try:
            text.encode()
        except UnicodeEncodeError:
            return "holds half of a character (a lone \\ud... escape)"
    return None


WORDS = {
    "missing": "is missing",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list (a CSV cell cannot hold one; use JSONL or Parquet)",
    "tuple_type": "must be a list (a CSV cell cannot hold one; use JSONL or Parquet)",
}


def _explain(error: ErrorDetails) -> str:
    """Write a pydantic error in plain words."""
    value = error["input"]
    if value is None or (isinstance(value, str) and not value.strip()):
        return "is empty"
    plain = error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return WORDS.get(error["type"], plain.replace("String should", "must").replace("should", "must"))


def _check_columns(
    source: str, present: Sequence[str], row: type[Row], column_of: Mapping[str, str], needed: Collection[str]
) -> None:
    """Raises DataError, with the likely remedy, if a column that some field needs is in no row of the file."""
    absent = [
        name
        for name, info in row.model_fields.items()
        if (info.is_required() or name in needed) and column_of[name] not in present
    ]
    if not absent:
        return
    free = {name.lower(): name for name in present if name not in column_of.values()}
    remedies = []
    for name in absent:
        close = difflib.get_close_matches(column_of[name].lower(), free, n=1) or list(free)[:1]
        remedies.append(
            quote(f"data.columns.{name}={free.pop(close[0])}") if close else f"data.columns.{name}=<column>"
        )
    raise DataError(
        f"{source!r} has no column {' nor '.join(repr(column_of[name]) for name in absent)}; it has "
        f"{', '.join(map(repr, present[:30]))}{', …' if len(present) > 30 else ''}; name the column of "
        f"each field, perhaps {' '.join(remedies)}"
    )


def fit_row(
    row: type[Row], values: dict[str, Any], needed: Collection[str]
) -> tuple[Row | None, list[tuple[str | None, str, object]]]:
    """Validate `values` as a row; return it, or None and the (field, reason, value received) of each fault."""
    bad = [(name, why, value) for name, value in values.items() if (why := _find_bad_text(value))]
    if bad:
        return None, list(bad)
    try:
        value = row.model_validate(values)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        return None, [(".".join(map(str, e["loc"])) or None, _explain(e), e["input"]) for e in details]
    empty = [name for name in needed if getattr(value, name) in (None, "", [], ())]
    if empty:
        return None, [
            (name, "is empty" if name in values else "is missing", values.get(name)) for name in empty
        ]
    return value, []


def spell_columns(source: str, table: Table, column_of: Mapping[str, str]) -> dict[str, str]:
    """Find the file's own spelling of each column; blanks around a name do not count.

    Raises DataError where two columns differ by blanks alone, or two fields are read from one.
    """
    spellings: dict[str, list[str]] = {}
    for column in table.columns:
        spellings.setdefault(column.strip(), []).append(column)
    for name in column_of.values():
        if len(alike := spellings.get(name.strip(), [])) > 1:
            raise DataError(
                f"{source!r} has the columns {' and '.join(map(repr, alike))}, which differ by blanks alone; rename one"
            )
    spelled = {name: spellings.get(column.strip(), [column])[0] for name, column in column_of.items()}
    for name, column in spelled.items():
        others = [other for other in spelled if other != name and spelled[other] == column]
        if others and column in table.columns:
            raise DataError(
                f"{source!r}: the fields {name!r} and {others[0]!r} would both be read from column {column!r}; name "
                f"another one: data.columns.{name}=<column>"
            )
    return spelled


def _read_own(source: str, files: Callable[[Path], FileRows | None], form: Format) -> Table | None:
    """Read a file of one of the pack's formats; None for any other. Raises DataError for one that cannot be read."""
    path = Path(source).expanduser()
    if source.startswith("hub:") or not os.path.isfile(path):
        return None
    try:
        own = files(path)
        if own is None:
            return None
        table = Table()
        for line, cells in own.rows:
            table.rows.append((line, dict(cells)))
            form.limits.check_lines(source, len(table.rows))
    except ValueError as error:
        raise DataError(" ".join(str(error).split())) from error
    table.columns = list(dict.fromkeys(key for _, cells in table.rows for key in cells))
    table.other = sum(own.left_out.values())
    table.lines = len(table.rows) + table.other
    table.notes = [
        *own.notes,
        *(f"{source}: {count} left out: {reason}" for reason, count in own.left_out.items()),
    ]
    if not table.rows:
        raise DataError(f"{source!r} holds no rows; {'; '.join(table.notes) or 'name another file'}")
    return table


NO_MARKS: Mapping[str, str] = {}
NO_SYNONYMS: Mapping[str, Sequence[str]] = {}


def _find_synonyms(
    table: Table, asked: Mapping[str, str], columns: Mapping[str, str], synonyms: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """Find the columns of fields that the file has under another name, where the user mapped neither."""
    present = {column.strip() for column in table.columns}
    waiting = [name for name in synonyms if name not in columns and asked[name] not in present]
    free = present - set(columns.values())
    return {
        name: column
        for name in waiting
        if (column := next((column for column in synonyms[name] if column in free), None))
    }


def _find_marks(source: str, table: Table, marks: Mapping[str, str]) -> dict[str, str]:
    """Find the columns of document and domain as the file spells them. Raises DataError for one that it lacks."""
    spelled = {column.strip(): column for column in table.columns}
    for name, column in marks.items():
        if table.columns and column.strip() not in spelled:
            raise DataError(
                f"{source!r} has no column {column!r}; it has {', '.join(map(repr, table.columns[:30]))}; name the one "
                f"that says the {name}: data.{name}=<column>"
            )
    return {name: spelled.get(column.strip(), column) for name, column in marks.items()}


def _read_mark(cell: Any) -> str | None:
    """Read the name of a document or domain; None for an empty cell."""
    return str(cell).strip() or None if isinstance(cell, (str, int, float)) else None


def read(
    source: str,
    row: type[Row],
    columns: Mapping[str, str],
    needed: Collection[str] = (),
    form: Format = UTF8,
    marks: Mapping[str, str] = NO_MARKS,
    files: Callable[[Path], FileRows | None] | None = None,
    synonyms: Mapping[str, Sequence[str]] = NO_SYNONYMS,
) -> Read:
    """Read every row of a file or of a data set on the hub.

    source: a .jsonl, .ndjson, .json (an array), .csv, .tsv, .parquet or CoNLL (.conll, .bio, .iob, .iob2) file, each
        but Parquet also as .gz, or hub:org/name[@revision][:split].
    columns: field of `row` -> column of the file, where the names differ; of CoNLL a number from 1.
    needed: fields that must be filled though the schema has a default, such as the target when training.
    form: encoding and delimiter of text files.
    marks: "document" and "domain" of a Record -> the column that names them; without one, the field of `row` of that
        name, where it has such a field.
    files: reads the pack's own formats.
    synonyms: field of `row` -> further names of its column, tried in order where the file has none of the field's own.

    A null (JSON null, an empty CSV cell) in a field with a default means the default.

    Raises:
        ConfigError: `columns` maps a field that the schema lacks.
        DataError: the source as a whole cannot be read, has no rows, or lacks a column. Bad rows are faults.
    """
    for name in columns:
        if name not in row.model_fields:
            raise ConfigError(
                f"no field {name!r} for data.columns.{name}; {did_you_mean(name, list(row.model_fields))}"
            )
    asked = {name: columns.get(name, name) for name in row.model_fields}
    others = [column for names in synonyms.values() for column in names]
    wanted = {column.strip() for column in (*asked.values(), *marks.values(), *others)}
    table = (_read_own(source, files, form) if files else None) or read_table(source, wanted, form)
    found = _find_synonyms(table, asked, columns, synonyms)
    asked |= found
    marked = _find_marks(source, table, marks)
    column_of = spell_columns(source, table, asked)
    if not table.rows and not table.faults:
        raise DataError(f"{source!r} holds no rows; write some to it or name another file")
    if table.columns:  # none were found if every row is broken; the faults say so
        _check_columns(source, table.columns, row, column_of, [*columns, *needed])
    optional = {name for name, info in row.model_fields.items() if not info.is_required()}
    notes = [*table.notes, *(f"{source}: {name} is read from column {found[name]!r}" for name in found)]
    result = Read([], table.faults, source, 0, table.lines, table.other, tuple(notes))
    for line, cells in table.rows:
        values = {name: cells[column] for name, column in column_of.items() if column in cells}
        values = {name: value for name, value in values.items() if value is not None or name not in optional}
        value, problems = fit_row(row, values, needed)
        if value is not None:
            of_row = {name: getattr(value, name, None) for name in ("document", "domain")}
            of_cell = {name: _read_mark(cells.get(column)) for name, column in marked.items()}
            result.records.append(Record(value, source, line, digest(value), **of_row | of_cell))
        result.faults.extend(
            Fault(source, line, name, why, shortened(received)) for name, why, received in problems
        )
    result.faults.sort(key=lambda fault: fault.line)
    return replace(result, left_out=table.lost + len(table.rows) - len(result.records))


def fingerprint(records: Iterable[Record]) -> str:
    """Compute the sha256 of the rows as a multiset: the same for any order, file format and column name."""
    return "sha256:" + hashlib.sha256("\n".join(sorted(r.digest for r in records)).encode()).hexdigest()
