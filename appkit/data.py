"""Rows: read from files, held to the task's schema, split by hash of their content.

Reading never stops at a bad row: it becomes a `Fault` with its place, and the rest is read. Only what
concerns a whole file (missing, a column absent from every row) raises. Membership in a split depends on
nothing but the row's own text, so adding, shuffling or reformatting rows moves no other row.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import heapq
import json
import os
import re
import reprlib
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypedDict

from pydantic import ValidationError

from appkit.data_check import DataReport, check, conflicts, duplicates, input_key, overlap
from appkit.errors import ConfigError, DataError
from appkit.plugins import did_you_mean

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from appkit.config import DataConfig
    from appkit.task import Row, Task

__all__ = [
    "DataReport",
    "Fault",
    "Read",
    "Record",
    "Source",
    "Splits",
    "check",
    "conflicts",
    "digest",
    "duplicates",
    "fingerprint",
    "input_key",
    "load_splits",
    "overlap",
    "read",
    "read_splits",
    "split",
    "subset",
]

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
HUB = re.compile(r"hub:(?P<id>[^@:\s]+)(?:@(?P<revision>[^:\s]+))?(?::(?P<split>\S+))?")
HUB_SPLIT = {"train": "train", "dev": "validation", "test": "test"}
SHOWN = 5
"""faults and places in one message"""


@dataclass(frozen=True)
class Record:
    """A row that fits the schema, and where it came from.

    line: physical line of a text file, row of Parquet or the hub; from 1.
    digest: sha256 of the schema's fields in NFC, so the same for every format, order and column name.
    """

    value: Row
    file: str
    line: int
    digest: str

    @property
    def place(self) -> str:
        return _place(self.file, self.line)


@dataclass(frozen=True)
class Fault:
    """A row that could not be used. field: None when the row as a whole is broken. value: shortened."""

    file: str
    line: int
    field: str | None
    reason: str
    value: str

    def __str__(self) -> str:
        return f"{_place(self.file, self.line)}: {self.field or 'row'} {self.reason}; got {self.value}"


@dataclass(frozen=True)
class Read:
    """All that one source held, in file order."""

    records: list[Record]
    faults: list[Fault]
    source: str = ""


class Source(TypedDict):
    """Where a split's rows were read from. rows: those that fit. sha256: None for the hub."""

    split: str
    path: str
    sha256: str | None
    rows: int
    licence: str | None


@dataclass(frozen=True)
class Splits:
    """The rows of a run; no input of dev or test occurs in train. notes: what was done to get there."""

    train: list[Record]
    dev: list[Record]
    test: list[Record]
    faults: list[Fault]
    sources: list[Source]
    notes: list[str]


@dataclass
class Table:
    """What a file held before the schema saw it. rows: (line, column -> value)."""

    columns: list[str] = field(default_factory=list)
    rows: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def _place(file: str, line: int) -> str:
    by_row = file.startswith("hub:") or file.lower().endswith(".parquet")
    return f"{file} row {line}" if by_row else f"{file}:{line}"


def _short(value: object) -> str:
    """One line of about 80 characters; cuts before quoting, for the value may be megabytes."""
    text = repr(value[:80]) if isinstance(value, str) else reprlib.repr(value)
    cut = len(text) > 80 or (isinstance(value, str) and len(value) > 80)
    return f"{text[:80]}…" if cut else text


# --- files ----------------------------------------------------------------------------------------------


def _path(source: str) -> Path:
    """The file; DataError if it is missing, not a file, empty, or of a kind that cannot be read."""
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


def _open(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"cannot read {str(path)!r}: {error.strerror}; check its permissions") from error


def _lines(path: Path) -> Iterator[str]:
    """Physical lines. A byte that is not UTF-8 becomes a lone surrogate, so that only its row is lost."""
    with _open(path) as file:
        if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            raise DataError(f"{str(path)!r} is UTF-16; convert it: iconv -f UTF-16 -t UTF-8")
        file.seek(0)
        for number, line in enumerate(file):
            yield line.decode("utf-8-sig" if number == 0 else "utf-8", "surrogateescape")


def _bad_bytes(source: str, line: int, text: str) -> Fault | None:
    """The first NUL or non-UTF-8 byte of `text`, which begins on `line`; None if all is well."""
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
        _short(text[start:]),
    )


def _jsonl(path: Path, source: str) -> Table:
    table = Table()
    for line, text in enumerate(_lines(path), 1):
        if not text.strip():
            continue
        if bad := _bad_bytes(source, line, text):
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
        table.faults.append(Fault(source, line, None, reason, _short(text.strip())))
    table.columns = _keys(table.rows)
    return table


def _keys(rows: list[tuple[int, dict[str, Any]]]) -> list[str]:
    return list(dict.fromkeys(key for _, cells in rows for key in cells))


def _json(path: Path, source: str) -> Table:
    """A JSON array. Elements are decoded one by one to know the line of each.

    Raises DataError where the JSON is broken: unlike in JSONL, what follows cannot be found again.
    """
    table, text = Table(), "".join(_lines(path))
    decoder = json.JSONDecoder(strict=False)  # not strict: a NUL then costs its row, not the file
    if not text.lstrip().startswith("["):
        raise DataError(
            f"{source!r} is not a JSON array [...]; if each line is an object, rename it to .jsonl"
        )
    line, last, at = 1, 0, _after_gap(text, text.index("[") + 1)
    while text[at : at + 1] != "]":
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{source!r} is broken JSON: {error}; repair it, or write one object a line (.jsonl)"
            ) from error
        line, last = line + text.count("\n", last, at), at
        if bad := _bad_bytes(source, line, text[at:end]):
            table.faults.append(bad)
        elif isinstance(value, dict):
            table.rows.append((line, value))
        else:
            table.faults.append(Fault(source, line, None, "is not a JSON object {...}", _short(value)))
        at = _after_gap(text, end)
    if text[at + 1 :].strip():
        raise DataError(
            f"{source!r} goes on after its array with {_short(text[at + 1 :].strip())}; remove that"
        )
    table.columns = _keys(table.rows)
    return table


def _after_gap(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", "\t", "\r", "\n", ","):
        at += 1
    return at


def _csv_rows(path: Path, source: str, delimiter: str) -> Iterator[tuple[int, str, list[str] | Fault]]:
    """(first physical line, raw text, cells) of every row that is not blank; a Fault for broken cells."""
    raw: list[str] = []  # the physical lines of the row being read

    def physical() -> Iterator[str]:
        for text in _lines(path):
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
                yield line, "".join(raw), Fault(source, line, None, reason, _short("".join(raw)))
                continue
            if cells is None:
                return
            if cells:
                text = "".join(raw)
                yield line, text, _bad_bytes(source, line, text) or cells
    finally:
        csv.field_size_limit(limit)


def _csv(path: Path, source: str, delimiter: str) -> Table:
    """Cells by the header's names; an empty cell is null, for CSV has no other way to say it."""
    table = Table()
    for line, text, cells in _csv_rows(path, source, delimiter):
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
            table.faults.append(Fault(source, line, None, reason, _short(text.rstrip())))
        else:
            values = (cell if cell.strip() else None for cell in cells)
            table.rows.append((line, dict(zip(table.columns, values, strict=True))))
    return table


def _parquet(path: Path, source: str, wanted: Collection[str]) -> Table:
    """Only the wanted columns are read: the others may be images or vectors."""
    import pyarrow
    import pyarrow.parquet

    with _open(path) as file:
        try:
            parquet = pyarrow.parquet.ParquetFile(file)
            table = Table(columns=list(parquet.schema_arrow.names))
            columns = [name for name in table.columns if name in wanted]
            for batch in parquet.iter_batches(columns=columns):
                _arrow_rows(batch, source, table)
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{source!r} is not a sound Parquet file: {error}; write it again") from error
    return table


def _arrow_rows(batch: Any, source: str, table: Table) -> None:
    """Append the rows of a batch. Arrow never checked that text is UTF-8, so one may fail to decode."""
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
            table.faults.append(Fault(source, line, None, reason, _short(error.object)))


def _hub(source: str, wanted: Collection[str]) -> Table:
    """A split of a data set of the Hugging Face hub; "train" unless the source names another.

    Raises DataError if the name is malformed, `datasets` is missing, or the hub cannot give it.
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
    rows = rows.select_columns([name for name in table.columns if name in wanted])
    table.rows = list(enumerate(rows.to_list(), 1))
    return table


def _table(source: str, wanted: Collection[str]) -> Table:
    if source.startswith("hub:"):
        return _hub(source, wanted)
    path = _path(source)
    match path.suffix.lower():
        case ".csv":
            return _csv(path, source, ",")
        case ".tsv":
            return _csv(path, source, "\t")
        case ".json":
            return _json(path, source)
        case ".parquet":
            return _parquet(path, source, wanted)
        case _:
            return _jsonl(path, source)


# --- schema ---------------------------------------------------------------------------------------------


def _nfc(value: Any) -> Any:
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value)
    if isinstance(value, dict):
        return {_nfc(key): _nfc(item) for key, item in value.items()}
    return [_nfc(item) for item in value] if isinstance(value, list) else value


CANONICAL = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def digest(value: Row) -> str:
    """sha256 (hex) of the canonical JSON of the row's fields: keys sorted, strings in NFC."""
    fields = _nfc(value.model_dump(mode="json"))
    return hashlib.sha256(CANONICAL.encode(fields).encode()).hexdigest()


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for item in [*value, *value.values()] if isinstance(value, dict) else value:
            yield from _strings(item)


def _bad_text(value: Any) -> str | None:
    """Why a cell's text cannot be trained on, though its file was sound: JSON can escape anything."""
    for text in _strings(value):
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


def _in_words(error: ErrorDetails) -> str:
    """A pydantic error in plain words."""
    value = error["input"]
    if value is None or (isinstance(value, str) and not value.strip()):
        return "is empty"
    plain = error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return WORDS.get(error["type"], plain.replace("String should", "must").replace("should", "must"))


def _check_columns(
    source: str, found: Sequence[str], row: type[Row], columns: Mapping[str, str], needed: Collection[str]
) -> None:
    """Raises DataError if a column that some field needs is in no row of the file, with the likely remedy."""
    wanted = {name: columns.get(name, name) for name in row.model_fields}
    absent = [
        name
        for name, info in row.model_fields.items()
        if (info.is_required() or name in columns or name in needed) and wanted[name] not in found
    ]
    if not absent:
        return
    free = {name.lower(): name for name in found if name not in wanted.values()}
    remedies = []
    for name in absent:
        close = difflib.get_close_matches(wanted[name].lower(), free, n=1) or list(free)[:1]
        remedies.append(f"data.columns.{name}={free.pop(close[0]) if close else '<column>'}")
    raise DataError(
        f"{source!r} has no column {' nor '.join(repr(wanted[name]) for name in absent)}; it has "
        f"{', '.join(map(repr, found[:30]))}{', …' if len(found) > 30 else ''}; name the column of "
        f"each field, perhaps {' '.join(remedies)}"
    )


def _fit(
    row: type[Row], values: dict[str, Any], needed: Collection[str]
) -> tuple[Row | None, list[tuple[str | None, str, object]]]:
    """The row, or (field, reason, value) of everything that keeps `values` from being one."""
    bad = [(name, why, value) for name, value in values.items() if (why := _bad_text(value))]
    if bad:
        return None, list(bad)
    try:
        value = row.model_validate(values)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        return None, [(".".join(map(str, e["loc"])) or None, _in_words(e), e["input"]) for e in details]
    empty = [name for name in needed if getattr(value, name) in (None, "", [], ())]
    if empty:
        return None, [
            (name, "is empty" if name in values else "is missing", values.get(name)) for name in empty
        ]
    return value, []


def read(source: str, row: type[Row], columns: Mapping[str, str], needed: Collection[str] = ()) -> Read:
    """Every row of a file or of a data set on the hub.

    source: a .jsonl, .ndjson, .json (an array), .csv, .tsv or .parquet file, or
        hub:org/name[@revision][:split].
    columns: field of `row` -> column of the file, where the names differ.
    needed: fields that must be filled though the schema has a default, such as the target when training.

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
    wanted = {name: columns.get(name, name) for name in row.model_fields}
    table = _table(source, set(wanted.values()))
    if not table.rows and not table.faults:
        raise DataError(f"{source!r} holds no rows; write some to it or name another file")
    if table.columns:  # none were found if every row is broken; the faults say so
        _check_columns(source, table.columns, row, columns, needed)
    optional = {name for name, info in row.model_fields.items() if not info.is_required()}
    result = Read([], table.faults, source)
    for line, cells in table.rows:
        values = {name: cells[column] for name, column in wanted.items() if column in cells}
        values = {name: value for name, value in values.items() if value is not None or name not in optional}
        value, problems = _fit(row, values, needed)
        if value is not None:
            result.records.append(Record(value, source, line, digest(value)))
        result.faults.extend(Fault(source, line, name, why, _short(got)) for name, why, got in problems)
    result.faults.sort(key=lambda fault: fault.line)
    return result


# --- splits ---------------------------------------------------------------------------------------------


def _hash(salt: str, key: str) -> int:
    """64 bits; a salt for each use, so that the rows of a subset are not those of one split."""
    return int.from_bytes(hashlib.sha256(f"{salt}:{key}".encode()).digest()[:8])


def split(
    records: Sequence[Record], shares: Mapping[str, float], key: Callable[[Record], str]
) -> dict[str, list[Record]]:
    """Carve named splits by hash of `key`; the remainder is "train". Records keep their order.

    A row's split depends on its own key only, with one exception: of few rows, a split that would get none is
    given the key of lowest hash (train first, then the shares in order).
    """
    hashes = {name: _hash("split", name) for name in map(key, records)}
    ordered = sorted(set(hashes.values()))
    names, bounds, share = list(shares), [0], 0.0
    for number, name in enumerate(names, 1):
        share += shares[name]
        bound = max(bisect_left(ordered, int(share * 2**64)), bounds[-1] + 1)
        # leave one key to train and to each later split; with fewer keys than splits the later ones get none
        room = max(len(ordered) - (len(names) - number) - 1, min(number, len(ordered) - 1), 0)
        bounds.append(min(bound, room))
    carved: dict[str, list[Record]] = {name: [] for name in (*names, "train")}
    place = {value: (*names, "train")[_interval(bounds, index)] for index, value in enumerate(ordered)}
    for record in records:
        carved[place[hashes[key(record)]]].append(record)
    return carved


def _interval(bounds: Sequence[int], index: int) -> int:
    return sum(index >= bound for bound in bounds) - 1


def subset(records: Iterable[Record], n: int) -> list[Record]:
    """The `n` records of lowest hash, lowest first; all of them if there are fewer."""
    return heapq.nsmallest(n, records, key=lambda record: _hash("subset", record.digest))


def fingerprint(records: Iterable[Record]) -> str:
    """sha256 of the rows as a multiset: any order, file format and column name give the same."""
    return "sha256:" + hashlib.sha256("\n".join(sorted(r.digest for r in records)).encode()).hexdigest()


def _shipped(task: Task, options: Any) -> dict[str, str]:
    """Split -> real path of the pack's own files; DataError if it ships none or their package is missing."""
    shipped = task.load(options)
    if shipped is None:
        raise DataError(f"task {task.name!r} ships no rows; name yours: data.train=rows.jsonl")
    try:
        folder = files(shipped.package)
    except ModuleNotFoundError as error:
        raise DataError(
            f"the rows of task {task.name!r} are in the package {shipped.package!r}, which is not installed; "
            f"pip install 'appkit[{task.name}]', or name your own: data.train=rows.jsonl"
        ) from error
    return {name: str(folder.joinpath(file)) for name, file in shipped.files.items()}


def read_splits(task: Task, options: Any, data: DataConfig) -> dict[str, Read]:
    """Read the user's files; the pack's own only if the user brings no train. Nothing is carved here.

    Raises DataError and ConfigError as `read` does; bad rows are in the faults of each Read.
    """
    given = {"train": data.train, "dev": data.dev, "test": data.test}
    yours = {name: source for name, source in given.items() if source}
    sources = yours if data.train else {**_shipped(task, options), **yours}
    if "train" not in sources:
        raise DataError(f"task {task.name!r} ships no train rows; name yours: data.train=rows.jsonl")
    reads = {}
    for name, source in sources.items():
        match = HUB.fullmatch(source)
        if match and not match["split"]:  # or data.test=hub:org/name would measure on the train split
            source = f"{source}:{HUB_SPLIT[name]}"
        reads[name] = read(source, task.row, data.columns if name in yours else {}, (task.input, task.output))
    return reads


def _source(name: str, read: Read) -> Source:
    """Raises DataError if the card.yaml beside the file is broken."""
    source: Source = {
        "split": name,
        "path": read.source,
        "sha256": None,
        "rows": len(read.records),
        "licence": None,
    }
    if read.source.startswith("hub:"):
        return source
    path = Path(read.source).expanduser()
    with _open(path) as file:
        source["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    card = path.parent / "card.yaml"
    if card.is_file():
        import yaml

        try:
            values = yaml.safe_load(card.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise DataError(
                f"{str(card)!r} cannot be read: {' '.join(str(error).split())}; repair it"
            ) from error
        if isinstance(values, dict) and values.get("licence"):
            source["licence"] = str(values["licence"])
    return source


def _refusal(faults: Sequence[Fault], task: Task) -> str:
    shown = "".join(f"\n  {fault}" for fault in faults[:SHOWN])
    more = f"\n  and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
    return (
        f"{len(faults)} fault{'s' if len(faults) > 1 else ''} in the data:{shown}{more}\n"
        f"fix them (`appkit data check task={task.name} ...` shows all), or leave those rows out: "
        "data.on_error=drop"
    )


def _places(pairs: Sequence[Sequence[Record]]) -> str:
    first = ", ".join(" / ".join(record.place for record in pair) for pair in pairs[:2])
    return f"{first}{', …' if len(pairs) > 2 else ''}"


def _without(records: list[Record], pairs: Sequence[tuple[Record, Record]], gone: int) -> list[Record]:
    """`records` less those that stand at position `gone` of a pair."""
    removed = {id(pair[gone]) for pair in pairs}
    return [record for record in records if id(record) not in removed]


def load_splits(task: Task, options: Any, data: DataConfig) -> Splits:
    """The rows of a run: read, cleaned and carved. Every row that is left out is told of in `notes`.

    train loses exact duplicates, then every row whose input is in dev or test. A dev or test that has no file
    is carved from what remains. Duplicates inside a given dev or test stay: their scores must be comparable.

    Raises:
        ConfigError: data.columns maps a field that the schema lacks.
        DataError: a source cannot be read, rows are at fault and data.on_error is "refuse", or a split
            is empty.
    """
    reads = read_splits(task, options, data)
    faults = [fault for part in reads.values() for fault in part.faults]
    if faults and data.on_error == "refuse":
        raise DataError(_refusal(faults, task))
    notes = [f"{len({(f.file, f.line) for f in faults})} rows at fault were left out"] if faults else []
    key, train = input_key(task), reads["train"].records
    held: dict[str, list[Record]] = {name: reads[name].records for name in ("dev", "test") if name in reads}

    if twice := duplicates(train):
        train = _without(train, twice, 1)
        notes.append(f"train: {len(twice)} exact duplicates removed ({_places(twice)})")
    for name, records in held.items():
        if shared := overlap(train, records, key):
            train = _without(train, shared, 0)
            notes.append(f"train: {len(shared)} rows removed, their input is in {name} ({_places(shared)})")
        if twice := duplicates(records):
            notes.append(f"{name}: {len(twice)} exact duplicates kept ({_places(twice)})")
    if len(held) == 2 and (shared := overlap(held["dev"], held["test"], key)):
        notes.append(f"dev: {len(shared)} rows kept, their input is in test too ({_places(shared)})")

    # dev first: its rows then stay the same when the user later brings a test file
    shares = {name: getattr(data, f"{name}_share") for name in ("dev", "test") if name not in held}
    parts = held | split(train, shares, key)
    notes += [f"{carved}: {len(parts[carved])} rows carved from train by hash" for carved in shares]
    for name in ("train", "dev", "test"):
        records = parts[name]
        if not records:
            why = "; ".join(notes) or f"of {len(reads['train'].records)} rows in train"
            raise DataError(
                f"{name} has no rows left ({why}); bring more, or name them: data.{name}=rows.jsonl"
            )
        if torn := conflicts(records, task):
            notes.append(f"{name}: {len(torn)} inputs have more than one {task.output} ({_places(torn)})")
    sources = [_source(name, part) for name, part in reads.items()]
    return Splits(parts["train"], parts["dev"], parts["test"], faults, sources, notes)
