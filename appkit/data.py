"""Rows: read from files, held to the task's schema, split by hash of their content.

Reading never stops at a bad row: it becomes a `Fault` with its place, and the rest is read. Only what
concerns a whole file (missing, a column absent from every row) raises. Membership in a split depends on
nothing but the row's own text, so adding, shuffling or reformatting rows moves no other row.
"""

from __future__ import annotations

import difflib
import hashlib
import heapq
import json
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from pydantic import ValidationError

from appkit.data_check import DataReport, check, conflicts, duplicates, input_key, overlap
from appkit.data_files import HUB, Fault, open_file, place_of, read_table, shortened
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
    "read_feedback",
    "read_splits",
    "split",
    "subset",
]

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
        return place_of(self.file, self.line)


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

    source: a .jsonl, .ndjson, .json (an array), .csv, .tsv, .parquet or CoNLL (.conll, .bio, .iob, .iob2) file, or
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
    table = read_table(source, set(wanted.values()))
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
        result.faults.extend(Fault(source, line, name, why, shortened(got)) for name, why, got in problems)
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
        needed = (task.input, task.output) if task.needed is None else task.needed
        reads[name] = read(source, task.row, data.columns if name in yours else {}, needed)
    return reads


def read_feedback(task: Task, store: str) -> Read:
    """The corrections of a feedback store that a review accepted, as rows; a row's line is the correction's number.

    Raises DataError without such a store, or when it holds no accepted correction of the task.
    """
    from appkit.feedback import Feedback

    if not Path(store).is_file():
        raise DataError(f"no feedback store {store!r}; appkit demo keeps one (--feedback)")
    result = Read([], [], store)
    for number, values in Feedback(Path(store)).rows(task.name, task.output).items():
        value, problems = _fit(task.row, values, (task.input, task.output))
        if value is not None:
            result.records.append(Record(value, store, number, digest(value)))
        result.faults.extend(Fault(store, number, name, why, shortened(got)) for name, why, got in problems)
    if not result.records and not result.faults:
        raise DataError(
            f"{store} holds no accepted correction of task {task.name!r}; accept some: "
            f"appkit feedback review --store {store}"
        )
    return result


def _joined(
    train: list[Record], corrections: list[Record], held: Sequence[Record], key: Callable[[Record], str]
) -> tuple[list[Record], str]:
    """The training rows with the corrections, each in place of the rows of the same input; and what was done."""
    last = {key(record): record for record in corrections}  # of two corrections of one input, the later
    seen = {key(record) for record in held}
    new = [record for name, record in last.items() if name not in seen]
    kept = [record for record in train if key(record) not in last]
    told = f"train: {len(new)} rows came from feedback, {len(train) - len(kept)} rows of the same inputs gave way"
    if left := len(last) - len(new):
        told += f"; {left} were left out, their input is in dev or test"
    return [*kept, *new], told


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
    with open_file(path) as file:
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
    shown = "; ".join(map(str, faults[:SHOWN]))
    more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
    return (
        f"{len(faults)} fault{'s' if len(faults) > 1 else ''} in the data: {shown}{more}; "
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
    corrections = read_feedback(task, data.feedback) if data.feedback else None
    if corrections:
        # after the carving: what people corrected decides of no row on which side it is
        if corrections.faults and data.on_error == "refuse":
            raise DataError(_refusal(corrections.faults, task))
        faults = [*faults, *corrections.faults]
        parts["train"], told = _joined(
            parts["train"], corrections.records, [*parts["dev"], *parts["test"]], key
        )
        notes.append(told)
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
    if corrections:
        sources.append(_source("train", corrections))
    return Splits(parts["train"], parts["dev"], parts["test"], faults, sources, notes)
