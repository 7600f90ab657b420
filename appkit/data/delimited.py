"""CSV and TSV files: the header names the columns, and no quote takes lines away uncounted.

In CSV a quoted cell may hold line ends. In TSV a quote is often a plain sign of the text, so a line is a row wherever
it can be one.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from appkit.data.lines import find_bad_byte, read_lines
from appkit.data.tables import Fault, Format, Table
from appkit.errors import DataError, shortened

__all__ = ["read_delimited"]

DELIMITERS = {",": "','", ";": "';'", "\t": "tab", "|": "'|'"}
"""what stands between cells -> how a message and `data.delimiter=` write it"""
EXCEL = re.compile(r'"?sep=(?P<sign>.)"?')
"""the line in front of the header by which Excel knows the delimiter"""


@dataclass(frozen=True)
class Cells:
    """A row as it stands in the file."""

    line: int
    """the first physical line"""
    lines: Sequence[str]
    """the physical lines that it covers"""
    cells: list[str]
    fault: str | None = None
    """why the cells cannot be read"""

    @property
    def text(self) -> str:
        """The lines as one text."""
        return "".join(self.lines)

    @property
    def span(self) -> str:
        """The lines by number, for messages."""
        return f"lines {self.line} to {self.line + len(self.lines) - 1}"


def read_delimited(path: Path, source: str, delimiter: str, columns: Collection[str], form: Format) -> Table:
    """Read cells by the header's names; an empty cell is null, since CSV has no other way to say it.

    Raises DataError for a header that cannot be read, or whose cells another delimiter separates.
    """
    lines = list(read_lines(path, form))
    table = Table(lines=len(lines))
    rows = list((_split_tsv if delimiter == "\t" else _split_csv)(lines, delimiter))
    table.other = len(lines) - sum(len(row.lines) for row in rows)  # blank ones
    if not rows:
        return table
    header, *rows = rows
    table.columns = _read_header(source, header, delimiter, columns, form)
    table.other += len(header.lines)
    short = [row for row in rows if len(row.lines) == 1 and len(row.cells) == len(table.columns)]
    cells_of = list(zip(*(row.cells for row in short), strict=True))
    repeated = [_find_repeated(cells) for cells in cells_of]
    labels = [_find_labels(cells) for cells in cells_of]
    read = []
    for row in rows:
        bad = find_bad_byte(source, row.line, row.text, form)
        reason, lines_lost = _find_fault(row, len(table.columns), delimiter, repeated, labels)
        if bad or reason:
            fault = bad or Fault(source, row.line, None, reason or "", shortened(row.text.rstrip()))
            table.lose(fault, lines=lines_lost)
            table.other += len(row.lines) - lines_lost
            continue
        values = (cell if cell.strip() else None for cell in row.cells)
        table.rows.append((row.line, dict(zip(table.columns, values, strict=True))))
        table.other += len(row.lines) - 1
        read.append(row)
    _note_quotes(table, source, read, delimiter)
    return table


def _find_repeated(cells: Sequence[str]) -> set[str]:
    """Find the cells of a column that occur more than once, as labels do; a quote may be no part of the cell."""
    return {cell for cell, count in Counter(cells).items() if count > 1 and cell.strip() and '"' not in cell}


def _find_labels(cells: Sequence[str]) -> set[str]:
    """Find the values of a column of classes: one that is never blank and has two rows or more a value, on average."""
    values = set(cells)
    return values if all(map(str.strip, cells)) and 2 * len(values) <= len(cells) else set()


def _find_fault(
    row: Cells, width: int, delimiter: str, repeated: Sequence[set[str]], labels: Sequence[set[str]]
) -> tuple[str | None, int]:
    """Say what is wrong with a row, None if nothing, and how many rows are lost with it."""
    if row.fault:
        return row.fault, len(row.lines)
    if len(row.cells) != width:
        return f"has {len(row.cells)} cells, the header has {width}", 1
    if len(row.lines) > 1 and _are_rows(row.lines, width, delimiter, repeated):
        return (
            f"opens a quote that closes {len(row.lines) - 1} lines below, and {row.span} look like rows of their own; "
            'double a quote that belongs to the text, and put the cell in quotes: """No"", he said"',
            len(row.lines),
        )
    if len(row.lines) > 1 < width and _may_be_rows(row.lines, width, delimiter, labels):
        return _doubt(row), len(row.lines)
    return None, 1


def _doubt(row: Cells) -> str:
    return (
        f"opens a quote that closes {len(row.lines) - 1} lines below, and {row.span} may be rows of their own; double "
        "a quote that belongs to the text and put the cell in quotes, or write JSONL"
    )


def _are_rows(lines: Sequence[str], width: int, delimiter: str, repeated: Sequence[set[str]]) -> bool:
    """Tell whether each line has as many cells as the header and, in one column, a cell that other rows have too."""
    pieces = [line.rstrip("\r\n").split(delimiter) for line in lines]
    if any(len(cells) != width for cells in pieces):
        return False
    return any(all(cells[place] in known for cells in pieces) for place, known in enumerate(repeated))


def _may_be_rows(lines: Sequence[str], width: int, delimiter: str, labels: Sequence[set[str]]) -> bool:
    """Tell whether quoted lines may be rows, although not each has as many cells as the header.

    Where the file has a column of classes: each line, or one within, has a class in its place. Else: each line has the
    delimiters of a row, which unlike a comma of prose have no blank behind them.
    """
    pieces = [line.rstrip("\r\n").split(delimiter) for line in lines]
    if any(labels):
        # from both ends: a text with delimiters of its own moves the columns behind it
        labelled = [
            len(cells) >= width
            and any({cells[place], cells[place - width]} & known for place, known in enumerate(labels))
            for cells in pieces
        ]
        return all(labelled) or any(labelled[1:-1])
    return all(sum(not cell[:1].isspace() for cell in cells[1:] if cell) >= width - 1 for cells in pieces)


def _read_header(
    source: str, header: Cells, delimiter: str, columns: Collection[str], form: Format
) -> list[str]:
    if excel := EXCEL.fullmatch(header.text.rstrip("\r\n")):
        raise DataError(
            f"{source!r} begins with Excel's line {shortened(excel[0])}, which is no header; delete that line, and say "
            f"how cells are separated: {_write_option(excel['sign'])}"
        )
    names = [cell.strip() for cell in header.cells]
    bad = find_bad_byte(source, header.line, header.text, form)
    other = None if bad or set(names) & set(columns) else _find_delimiter(header, delimiter)
    if other:
        ours = DELIMITERS.get(delimiter, repr(delimiter))
        raise DataError(
            f"{source!r} separates its cells by {DELIMITERS[other]}, not by {ours}: its header is "
            f"{shortened(header.lines[0].strip())}; say so: {_write_option(other)}"
        )
    if bad or header.fault:
        fault = bad or Fault(source, header.line, None, header.fault or "", shortened(header.text.rstrip()))
        raise DataError(f"{source!r} has no readable header: {fault}; repair its first line")
    twice = [name for name, count in Counter(names).items() if name and count > 1]
    if twice:
        raise DataError(f"{source!r} has two columns called {twice[0]!r}; rename one of them")
    return names


def _find_delimiter(header: Cells, delimiter: str) -> str | None:
    """Find another delimiter that makes more cells of the header's line than ours, quoted or not; None if none does."""
    cells = {sign: _read_quoted(header.lines[:1], 0, sign).cells for sign in DELIMITERS if sign != delimiter}
    sign = max(cells, key=lambda sign: len(cells[sign]))
    return sign if len(cells[sign]) > max(1, len(header.cells)) else None


def _write_option(delimiter: str) -> str:
    return "data.delimiter=tab" if delimiter == "\t" else f"'data.delimiter={delimiter}'"


def _note_quotes(table: Table, source: str, rows: Sequence[Cells], delimiter: str) -> None:
    """Note what was decided about quotes: rows of several lines, and in TSV quotes that are text."""
    if several := [row for row in rows if len(row.lines) > 1]:
        table.notes.append(
            f"{source}: {len(several)} rows are quoted over several lines (the first: {several[0].span})"
        )
    plain = [
        row
        for row in rows
        if delimiter == "\t" and len(row.lines) == 1 and any(cell.startswith('"') for cell in row.cells)
    ]
    raw = [row for row in plain if row.cells == row.text.rstrip("\r\n").split("\t")]
    if raw:
        table.notes.append(
            f"{source}: in {len(raw)} rows a quote at the beginning of a cell is read as text (the first: line "
            f"{raw[0].line})"
        )


def _split_csv(lines: Sequence[str], delimiter: str) -> Iterator[Cells]:
    """Yield every row that is not blank, with the lines it covers."""
    at = 0
    while at < len(lines):
        row = _read_quoted(lines, at, delimiter)
        if row.cells or row.fault:
            yield row
        at += len(row.lines)


def _read_quoted(lines: Sequence[str], at: int, delimiter: str) -> Cells:
    """Read the row that begins with line `at`, its quotes by the rules of CSV."""
    reader = csv.reader((lines[place] for place in range(at, len(lines))), delimiter=delimiter, strict=True)
    limit = csv.field_size_limit(2**31 - 1)  # the module's own limit is 128 KiB a cell
    fault, cells = None, []
    try:
        cells = next(reader)
    except csv.Error as error:
        fault = f"is broken CSV: {error}"
        if "end of data" in str(error):
            fault = f"opens a quote that never closes (read to line {at + reader.line_num})"
        elif reader.line_num > 1:
            fault += f" (lines {at + 1} to {at + reader.line_num})"
    finally:
        csv.field_size_limit(limit)
    return Cells(at + 1, lines[at : at + reader.line_num], cells, fault)


def _split_tsv(lines: Sequence[str], delimiter: str) -> Iterator[Cells]:
    """Yield every row that is not blank: of a line that opens a quote, the reading that the file speaks for."""
    header = next((line for line in lines if line.strip("\r\n")), "")
    header_cells = next(csv.reader([header], delimiter=delimiter), [])
    split = [line.rstrip("\r\n").split(delimiter) for line in lines]
    width = len(header_cells)
    whole = [cells for cells in split if len(cells) == width]
    plain = [cells for cells in whole if not any('"' in cell for cell in cells)]
    repeated = [
        _find_repeated(every) & set(unquoted)
        for every, unquoted in zip(zip(*whole, strict=True), zip(*plain, strict=True), strict=False)
    ]
    at = 0
    while at < len(lines):
        row = Cells(at + 1, lines[at : at + 1], split[at] if split[at] != [""] else [])
        if any(cell.startswith('"') for cell in row.cells):
            row = _choose_reading(row, _read_quoted(lines, at, delimiter), width, delimiter, repeated)
        if row.cells or row.fault:
            yield row
        at += len(row.lines)


def _choose_reading(
    plain: Cells, quoted: Cells, width: int, delimiter: str, repeated: Sequence[set[str]]
) -> Cells:
    """Choose between a quote as a sign of the text and a quoted cell. A quote over lines that may be rows is a fault.

    width: cells of the header.
    """
    if quoted.fault or len(quoted.cells) != width:
        return plain
    if len(quoted.lines) == 1 or not any(delimiter in cell for cell in quoted.cells):
        return quoted
    if _are_rows(quoted.lines, width, delimiter, repeated):
        return plain
    whole = [line.count(delimiter) == width - 1 for line in quoted.lines]
    if all(whole) or any(whole[1:-1]):
        return replace(quoted, fault=_doubt(quoted))
    return quoted
