"""Readers read cells by column, with their places, from a file or a data set on the hub; no schema is applied yet.

A row that cannot be read is a `Fault` with its place; only a whole file that cannot be read raises.
"""

from __future__ import annotations

import csv
import difflib
import json
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from appkit.errors import DataError, shortened

__all__ = ["HUB", "Fault", "Table", "open_file", "place_of", "read_table"]

CONLL = (".conll", ".bio", ".iob", ".iob2")
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", *CONLL)
HUB = re.compile(r"hub:(?P<id>[^@:\s]+)(?:@(?P<revision>[^:\s]+))?(?::(?P<split>\S+))?")


@dataclass(frozen=True)
class Fault:
    """A row that could not be used, and why."""

    file: str
    """path or hub name, as the user wrote it"""
    line: int
    """physical line of a text file, row of Parquet or the hub; from 1"""
    field: str | None
    """None when the row as a whole is broken"""
    reason: str
    """what is wrong: "is empty", "must be text", ..."""
    value: str
    """the value received, shortened"""

    def __str__(self) -> str:
        return f"{place_of(self.file, self.line)}: {self.field or 'row'} {self.reason}; got {self.value}"


@dataclass
class Table:
    """The cells of a file, before the schema is applied."""

    columns: list[str] = field(default_factory=list)
    """names, in file order"""
    rows: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    """(line, column -> value)"""
    faults: list[Fault] = field(default_factory=list)
    """rows that cannot be read"""


def place_of(file: str, line: int) -> str:
    """Write a place as `file:line`, or `file row 3` where rows have no lines (Parquet, the hub)."""
    by_row = file.startswith("hub:") or file.lower().endswith(".parquet")
    return f"{file} row {line}" if by_row else f"{file}:{line}"


def _resolve_path(source: str) -> Path:
    """Resolve the file; DataError if it is missing, not a file, empty, or of a kind that cannot be read."""
    path = Path(source).expanduser()
    if not os.path.exists(path):  # unlike Path.exists, False too for a name that is too long or not permitted
        names = [p.name for p in path.parent.glob("*") if p.suffix.lower() in SUFFIXES]
        close = difflib.get_close_matches(path.name, names, n=1)
        hint = (
            f"did you mean {str(path.parent / close[0])!r}?"
            if close
            else "check the path and its permissions"
        )
        raise DataError(f"no file {source!r} (seen from {Path.cwd()}); {hint}")
    if path.is_dir():
        names = sorted(p.name for p in path.glob("*") if p.suffix.lower() in SUFFIXES)
        raise DataError(
            f"{source!r} is a directory; name one file in it, such as {path / (names or ['train.jsonl'])[0]}"
        )
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(
            f"{source!r} has the suffix {path.suffix!r}; known: {', '.join(SUFFIXES)}; convert or rename it"
        )
    if path.stat().st_size == 0:
        raise DataError(f"{source!r} is empty (0 bytes); write rows to it or name another file")
    return path


def open_file(path: Path) -> IO[bytes]:
    """Open a file to read its bytes. Raises DataError if it cannot be opened."""
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"cannot read {str(path)!r}: {error.strerror}; check its permissions") from error


def _read_lines(path: Path) -> Iterator[str]:
    """Yield physical lines. A byte that is not UTF-8 becomes a lone surrogate, so that only its row is lost."""
    with open_file(path) as file:
        if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            raise DataError(f"{str(path)!r} is UTF-16; convert it: iconv -f UTF-16 -t UTF-8")
        file.seek(0)
        for number, line in enumerate(file):
            yield line.decode("utf-8-sig" if number == 0 else "utf-8", "surrogateescape")


def _find_bad_byte(source: str, line: int, text: str) -> Fault | None:
    """Find the first NUL or non-UTF-8 byte of `text`, which begins on `line`; None if there is none."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        at = error.start
        reason = f"0x{ord(text[at]) - 0xDC00:02x} is not UTF-8 (Latin-1? iconv -f LATIN1 -t UTF-8 converts)"
    else:
        at = text.find("\0")
        reason = "is NUL"
    if at < 0:
        return None
    start = text.rfind("\n", 0, at) + 1
    byte = len(text[start:at].encode()) + 1
    return Fault(
        source,
        line + text.count("\n", 0, at),
        None,
        f"byte {byte} of the line {reason}",
        shortened(text[start:]),
    )


def _read_jsonl(path: Path, source: str) -> Table:
    table = Table()
    for line, text in enumerate(_read_lines(path), 1):
        if not text.strip():
            continue
        if bad := _find_bad_byte(source, line, text):
            table.faults.append(bad)
            continue
        try:
            value = json.loads(text.rstrip())  # else an error at the end counts as column 1 of the next line
        except json.JSONDecodeError as error:
            reason = f"is broken JSON: {error.msg} at column {error.colno}"
        except (ValueError, RecursionError) as error:  # a number of 5,000 digits; ten thousand brackets
            reason = f"is JSON beyond limits: {error}"
        else:
            if isinstance(value, dict):
                table.rows.append((line, value))
                continue
            reason = "is not a JSON object {...}"
        table.faults.append(Fault(source, line, None, reason, shortened(text.strip())))
    table.columns = _collect_columns(table.rows)
    return table


def _collect_columns(rows: list[tuple[int, dict[str, Any]]]) -> list[str]:
    return list(dict.fromkeys(key for _, cells in rows for key in cells))


def _read_json(path: Path, source: str) -> Table:
    """Read a JSON array. Elements are decoded one by one to know the line of each.

    Raises DataError where the JSON is broken: unlike in JSONL, the next element cannot be found.
    """
    table, text = Table(), "".join(_read_lines(path))
    decoder = json.JSONDecoder(strict=False)  # not strict: a NUL then costs its row, not the file
    if not text.lstrip().startswith("["):
        raise DataError(
            f"{source!r} is not a JSON array [...]; if each line is an object, rename it to .jsonl"
        )
    line, last, at = 1, 0, _skip_gap(text, text.index("[") + 1)
    while text[at : at + 1] != "]":
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{source!r} is broken JSON: {error}; repair it, or write one object a line (.jsonl)"
            ) from error
        line, last = line + text.count("\n", last, at), at
        if bad := _find_bad_byte(source, line, text[at:end]):
            table.faults.append(bad)
        elif isinstance(value, dict):
            table.rows.append((line, value))
        else:
            table.faults.append(Fault(source, line, None, "is not a JSON object {...}", shortened(value)))
        at = _skip_gap(text, end)
    if text[at + 1 :].strip():
        raise DataError(
            f"{source!r} goes on after its array with {shortened(text[at + 1 :].strip())}; remove that"
        )
    table.columns = _collect_columns(table.rows)
    return table


def _skip_gap(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", "\t", "\r", "\n", ","):
        at += 1
    return at


def _read_csv_rows(path: Path, source: str, delimiter: str) -> Iterator[tuple[int, str, list[str] | Fault]]:
    """Yield (first physical line, raw text, cells) of every row that is not blank; a Fault for broken cells."""
    raw: list[str] = []  # the physical lines of the row being read

    def physical() -> Iterator[str]:
        for text in _read_lines(path):
            raw.append(text)
            yield text

    reader = csv.reader(physical(), delimiter=delimiter, strict=True)
    limit = csv.field_size_limit(2**31 - 1)  # the module's own limit is 128 KiB a cell
    try:
        while True:
            raw.clear()
            line = reader.line_num + 1
            try:
                cells = next(reader, None)
            except csv.Error as error:
                reason = f"is broken CSV: {error}"
                if "end of data" in str(error):
                    reason = f"opens a quote that never closes (read to line {reader.line_num})"
                yield line, "".join(raw), Fault(source, line, None, reason, shortened("".join(raw)))
                continue
            if cells is None:
                return
            if cells:
                text = "".join(raw)
                yield line, text, _find_bad_byte(source, line, text) or cells
    finally:
        csv.field_size_limit(limit)


def _read_csv(path: Path, source: str, delimiter: str) -> Table:
    """Read cells by the header's names; an empty cell is null, since CSV has no other way to say it."""
    table = Table()
    for line, text, cells in _read_csv_rows(path, source, delimiter):
        if isinstance(cells, Fault):
            if not table.columns:
                raise DataError(f"{source!r} has no readable header: {cells}; repair its first line")
            table.faults.append(cells)
        elif not table.columns:
            table.columns = [cell.strip() for cell in cells]
            twice = [name for name in table.columns if name and table.columns.count(name) > 1]
            if twice:
                raise DataError(f"{source!r} has two columns called {twice[0]!r}; rename one of them")
        elif len(cells) != len(table.columns):
            reason = f"has {len(cells)} cells, the header has {len(table.columns)}"
            table.faults.append(Fault(source, line, None, reason, shortened(text.rstrip())))
        else:
            values = (cell if cell.strip() else None for cell in cells)
            table.rows.append((line, dict(zip(table.columns, values, strict=True))))
    return table


TAG = re.compile(r"O|[BIESLU]-.+")
GAP = re.compile(r"[ \t]+")


def _read_conll(path: Path, source: str) -> Table:
    """Read a sentence a row: one token a line, its tag in the last column, a blank line after each sentence.

    A sentence with a broken line is lost as a whole; each of its broken lines is a fault.
    """
    table, width = Table(columns=["tokens", "tags"]), 0
    for sentence in _read_sentences(path):
        tokens, tags = [], []
        for line, text in sentence:
            cells = _split_columns(text)
            if bad := _find_bad_byte(source, line, text):
                table.faults.append(bad)
            elif reason := _check_conll_line(cells, width):
                table.faults.append(Fault(source, line, None, reason, shortened(text.rstrip())))
            else:
                width = len(cells)
                tokens.append(cells[0])
                tags.append(cells[-1])
        if len(tokens) == len(sentence):
            table.rows.append((sentence[0][0], {"tokens": tokens, "tags": tags}))
    return table


def _read_sentences(path: Path) -> Iterator[list[tuple[int, str]]]:
    """Yield (physical line, text) of each sentence's tokens, without comments and lines that begin a document."""
    sentence: list[tuple[int, str]] = []
    for line, text in enumerate(_read_lines(path), 1):
        cells = _split_columns(text)
        if not text.strip() or cells[0] == "-DOCSTART-":
            if sentence:
                yield sentence
            sentence = []
        # a comment, unless its end reads like a tag: "#" may be a token too
        elif not (text.startswith("# ") and not TAG.fullmatch(cells[-1])):
            sentence.append((line, text))
    if sentence:
        yield sentence


def _split_columns(text: str) -> list[str]:
    """Split a line into columns: between tabs if it has any, so that tokens may hold spaces, else between spaces."""
    text = text.rstrip("\r\n")
    return [cell.strip(" ") for cell in text.split("\t")] if "\t" in text else GAP.split(text.strip(" "))


def _check_conll_line(cells: list[str], width: int) -> str | None:
    """Say what is wrong with a token's line, None if nothing. width: columns of the line before, 0 for the first."""
    if len(cells) == 1 or not cells[-1]:
        return "has no tag in its last column"
    if not cells[0]:
        return "has no token in its first column"
    if width and len(cells) != width:  # the last one may then be another column than the tag's
        return f"has {len(cells)} columns, the lines before it have {width}"
    return None


def _read_parquet(path: Path, source: str, columns: Collection[str]) -> Table:
    """Read only these columns: the others may be images or vectors."""
    import pyarrow
    import pyarrow.parquet

    with open_file(path) as file:
        try:
            parquet = pyarrow.parquet.ParquetFile(file)
            table = Table(columns=list(parquet.schema_arrow.names))
            present = [name for name in table.columns if name in columns]
            for batch in parquet.iter_batches(columns=present):
                _append_arrow_rows(batch, source, table)
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{source!r} is not a sound Parquet file: {error}; write it again") from error
    return table


def _append_arrow_rows(batch: Any, source: str, table: Table) -> None:
    """Append the rows of a batch to the table. Arrow does not check that text is UTF-8, so a row may fail to decode."""
    first = len(table.rows) + len(table.faults) + 1
    try:
        table.rows.extend(enumerate(batch.to_pylist(), first))
        return
    except UnicodeDecodeError:
        pass  # one by one, then, to know which
    for line in range(first, first + batch.num_rows):
        try:
            table.rows.append((line, batch.slice(line - first, 1).to_pylist()[0]))
        except UnicodeDecodeError as error:
            reason = f"byte {error.start + 1} of a cell is not UTF-8"
            table.faults.append(Fault(source, line, None, reason, shortened(error.object)))


def _read_hub(source: str, columns: Collection[str]) -> Table:
    """Read a split of a data set of the Hugging Face hub; "train" unless the source names another.

    Raises DataError if the name is malformed, `datasets` is not installed, or the hub does not provide it.
    """
    match = HUB.fullmatch(source)
    if match is None:
        raise DataError(
            f"{source!r} is not hub:org/name[@revision][:split]; write for instance hub:org/name:train"
        )
    try:
        import datasets
    except ImportError as error:
        raise DataError(f"{source!r} needs the package datasets; pip install 'appkit[hub]'") from error
    try:
        rows = datasets.load_dataset(match["id"], split=match["split"] or "train", revision=match["revision"])
    except ConnectionError as error:
        raise DataError(
            f"cannot reach the hub for {source!r}: {error}; go online (is HF_HUB_OFFLINE set?), or save "
            "the rows as a file and name that"
        ) from error
    except (ValueError, OSError) as error:  # unknown name, split, revision or configuration; gated
        raise DataError(
            f"the hub does not give {source!r}: {error}; check name, revision and split"
        ) from error
    table = Table(columns=list(rows.column_names))
    rows = rows.select_columns([name for name in table.columns if name in columns])
    table.rows = list(enumerate(rows.to_list(), 1))
    return table


def read_table(source: str, columns: Collection[str]) -> Table:
    """Read the cells of a source. columns: those to read where the others can be skipped (Parquet, hub).

    Raises DataError when the source as a whole cannot be read.
    """
    if source.startswith("hub:"):
        return _read_hub(source, columns)
    path = _resolve_path(source)
    match path.suffix.lower():
        case ".csv":
            return _read_csv(path, source, ",")
        case ".tsv":
            return _read_csv(path, source, "\t")
        case ".json":
            return _read_json(path, source)
        case ".parquet":
            return _read_parquet(path, source, columns)
        case suffix if suffix in CONLL:
            return _read_conll(path, source)
        case _:
            return _read_jsonl(path, source)
