"""Reads many texts from what was pasted or uploaded, and writes the answers as a table to download."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from appkit_apps.app import LONGEST

__all__ = ["MOST", "read_csv", "read_lines", "write_csv"]

MOST = 500
"""most texts at once"""


def read_lines(text: str) -> list[dict[str, Any]]:
    """Reads one text a line. Raises ValueError for none or too many."""
    return _take({"text": line.strip()} for line in text.splitlines() if line.strip())


def read_csv(path: Path) -> list[dict[str, Any]]:
    """Reads rows from the columns `text` and, if there is one, `pair`; a single column may have any name.

    Commas, semicolons or tabs separate columns. A name is one word: a single column that begins with more than a word
    has no name, and its first line is a text. Raises ValueError for a file that is no such table, or that holds more
    than `MOST` rows.
    """
    with path.open("rb") as handle:
        if b"\0" in handle.read(4096):
            raise ValueError("this is no CSV file but something binary; save the table as CSV (UTF-8)")
    csv.field_size_limit(LONGEST)
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            first = handle.readline()
            handle.seek(0)
            # spreadsheets of many countries write semicolons
            reader = csv.reader(handle, delimiter=max(",;\t", key=first.count))
            header = next(reader, [])
            if "text" in header:
                return _take(_rows(reader, header))
            if len(header) > 1:
                shown = ", ".join(name[:30] for name in header[:8])
                raise ValueError(f"the file needs a column named text; it has: {shown}")
            if not all(re.fullmatch(r"\w*", name) for name in header):  # a text already
                handle.seek(0)
                reader = csv.reader(handle)
            return _take(_rows(reader, ["text"]))
    except UnicodeDecodeError:
        raise ValueError("the file is not UTF-8; save the table as CSV (UTF-8)") from None
    except csv.Error as error:
        raise ValueError(f"the file cannot be read as CSV: {error}") from None


def _rows(reader: Any, header: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yields the rows that have a text. Raises ValueError for one with more cells than the header."""
    for cells in reader:
        if any(cell.strip() for cell in cells[len(header) :]):
            raise ValueError(
                f"line {reader.line_num} has {len(cells)} cells where the header has {len(header)}; "
                "put texts with commas between quotes"
            )
        row = {name: cell.strip() for name, cell in zip(header, cells, strict=False)}
        if row.get("text"):
            yield {"text": row["text"]} | ({"pair": row["pair"]} if row.get("pair") else {})


def _take(rows: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """Takes at most `MOST` rows and reads no further: a file of millions of rows costs as little as one of hundreds."""
    texts: list[dict[str, Any]] = []
    for row in rows:
        if len(texts) == MOST:
            raise ValueError(f"more than {MOST} texts; send them in parts, or use `appkit client ask --file`")
        texts.append(row)
    if not texts:
        raise ValueError("there is no text in it")
    return texts


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Writes the table; a cell that a spreadsheet would take for a formula gets an apostrophe, as is usual.

    Texts are quoted: a spreadsheet that splits at semicolons would else begin a cell in the middle of one.
    """
    with path.open("w", encoding="utf-8-sig", newline="") as handle:
        writer = csv.writer(handle, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerows([[_cell(value) for value in row] for row in (header, *rows)])


def _cell(value: Any) -> Any:
    """Defuses a text whose first visible sign begins a formula, in full width too, or that begins with a line end."""
    if not isinstance(value, str):
        return value
    visible = next((sign for sign in value if sign.isprintable() and not sign.isspace()), "")
    formula = unicodedata.normalize("NFKC", visible)[:1] in tuple("=+-@\N{MINUS SIGN}|%")
    return f"'{value}" if formula or value[:1] in tuple("\t\r\n") else value
