"""Opens CSV and TSV tables with a column `source` to be translated; `target` is filled, or added at the end.

A record without a new translation keeps its bytes; where a column is added it gets an empty cell.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from appkit.errors import shortened
from appkit_tasks.translation.formats.encoding import Raw
from appkit_tasks.translation.formats.segments import Counts, Document, Edit, Plan, Segment, Translation

__all__ = ["SUFFIXES", "open_table"]

SUFFIXES = (".csv", ".tsv")
DELIMITERS = ",;\t|"
SOURCE, TARGET, CONTEXT = "source", "target", "context"
FORMULA = tuple("=+-@")
"""what begins a formula of a spreadsheet, which runs when the table is opened"""


@dataclass(frozen=True)
class _Record:
    """A record of the table, and its bytes without the line end."""

    cells: tuple[str, ...]
    place: str
    start: int
    end: int


@dataclass(frozen=True)
class _Table:
    """The records of a table, the header first."""

    delimiter: str
    records: tuple[_Record, ...]
    width: int
    """columns of the header"""
    target: int
    """column of the translations, from 0; `width` where the table has none yet"""


def open_table(path: Path, source_language: str, target_language: str) -> Document:
    """Opens a table. Columns have the names source, target, context; others are left alone. Languages are normalized.

    Raises ValueError for a file that is no such table.
    """
    raw, counts = Raw.read(path), Counts()
    table, columns = _read(raw)
    rows: list[_Record] = []
    segments: list[Segment] = []
    for record in table.records[1:]:
        texts = {name: record.cells[at] if at < len(record.cells) else "" for name, at in columns.items()}
        if not texts[SOURCE].strip():
            if any(cell.strip() for cell in record.cells):
                counts.leave_out("the source is empty", record.place)
            continue
        rows.append(record)
        target = texts.get(TARGET, "")
        segments.append(
            Segment(
                place=record.place,
                source=texts[SOURCE],
                target=target,
                state="translated" if target.strip() else "untranslated",
                context=texts.get(CONTEXT, "").strip(),
                source_language=source_language,
                target_language=target_language,
                document=path.name,
            )
        )
    return Document(path, tuple(segments), counts, raw, partial(_plan, table, rows, segments))


def _read(raw: Raw) -> tuple[_Table, dict[str, int]]:
    """Reads the records, and the places of the columns that count. Raises ValueError as `open_table` does."""
    if b"\0" in raw.data:
        raise ValueError("the file has NUL characters; is it a table? save it as CSV (UTF-8)")
    lines = raw.lines()
    first = next((line for line in lines if line.strip()), b"").decode()
    delimiter = max(DELIMITERS, key=first.count)
    records = tuple(record for record in _records(lines, delimiter) if record.cells)
    header = [name.strip().casefold() for name in records[0].cells] if records else []
    if SOURCE not in header:
        has = f"it has {shortened(', '.join(header))}" if header else "it is empty"
        raise ValueError(f"a table needs a column named source, {has}; rename the column of the texts")
    if double := [name for name in (SOURCE, TARGET, CONTEXT) if header.count(name) > 1]:
        raise ValueError(f"the table has two columns named {double[0]}; rename one")
    for record in records[1:]:
        if any(cell.strip() for cell in record.cells[len(header) :]):
            raise ValueError(
                f"{record.place} has {len(record.cells)} cells where the header has {len(header)}; "
                "put texts with commas between quotes"
            )
    columns = {name: header.index(name) for name in (SOURCE, TARGET, CONTEXT) if name in header}
    return _Table(delimiter, records, len(header), columns.get(TARGET, len(header))), columns


def _records(lines: Sequence[bytes], delimiter: str) -> Iterator[_Record]:
    """Yields the records of lines. Raises ValueError for quotes that do not fit, and for a cell that is too long."""
    reader = csv.reader((line.decode() for line in lines), delimiter=delimiter, strict=True)
    start = number = 0
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ValueError(
                f"line {reader.line_num} is no record of a table ({error}); double the quotes in a cell and close them"
            ) from None
        content = b"".join(lines[number : reader.line_num])
        end = start + len(content.rstrip(b"\r\n"))
        yield _Record(tuple(cells), f"line {number + 1}", start, end)
        start, number = start + len(content), reader.line_num


def _plan(
    table: _Table,
    rows: Sequence[_Record],
    segments: Sequence[Segment],
    translations: Mapping[int, Translation],
) -> Plan:
    """Plans the records to be written; a table has no mark for doubtful ones.

    A translation that a spreadsheet would take for a formula is refused.
    """
    plan = Plan()
    written: dict[int, str] = {}
    for index, translation in translations.items():
        sign = _first_sign(translation.text)
        if sign in FORMULA and sign != _first_sign(segments[index].source):
            plan.refused[index] = (
                f"it begins with {sign}, as a formula of a spreadsheet does and its source does not"
            )
            continue
        written[rows[index].start] = translation.text
    adds_column = table.target == table.width
    header, *records = table.records
    if adds_column and written:
        plan.edits.append(Edit(header.end, header.end, f"{table.delimiter}{TARGET}".encode()))
    for record in records:
        if record.start in written:
            cells = [*record.cells[: max(table.width, table.target + 1)]]
            cells += [""] * (table.target + 1 - len(cells))
            cells[table.target] = written[record.start]
            plan.edits.append(Edit(record.start, record.end, _line(cells, table.delimiter)))
        elif adds_column and written:
            missing = table.target - min(len(record.cells), table.width)
            plan.edits.append(Edit(record.end, record.end, table.delimiter.encode() * (missing + 1)))
    return plan


def _first_sign(text: str) -> str:
    """Returns the first sign that is seen, in its plain width."""
    visible = next((sign for sign in text if sign.isprintable() and not sign.isspace()), "")
    return unicodedata.normalize("NFKC", visible)[:1].replace("\N{MINUS SIGN}", "-")


def _line(cells: Sequence[str], delimiter: str) -> bytes:
    """Writes a record; all cells are quoted, so that a spreadsheet which splits at another sign keeps them whole."""
    line = io.StringIO()
    csv.writer(line, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator="").writerow(cells)
    return line.getvalue().encode()
