"""Rows get passages from an index: `rag=INDEX` in train, eval, predict and serve."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appkit.config import RagConfig, RunConfig
from appkit.data.splits import Splits, load_splits, read_source, subset
from appkit.errors import ConfigError, DataError
from appkit.rag.examples import put_examples
from appkit.rag.index import Hit, Index
from appkit.task import Retrieval, Task

if TYPE_CHECKING:
    from appkit.data.rows import Record

__all__ = [
    "AtHand",
    "Citation",
    "check_passages",
    "complete_rows",
    "describe_filled",
    "load_general",
    "load_rows",
    "reading",
    "rule",
]

SHOWN = 3
"""groups in a note"""


@dataclass(frozen=True)
class Citation:
    """A passage in the prompt of an answer."""

    number: int
    """in the prompt, from 1"""
    cited: bool
    """the answer refers to it"""
    score: float
    """of the ranking; higher is nearer"""
    source: str
    """file, and page or row in it"""
    start: int
    """first character, counted from the start of the source"""
    text: str


@dataclass(frozen=True)
class AtHand:
    """An open index, and how passages are chosen from it."""

    index: Index
    config: RagConfig

    @classmethod
    def open(cls, config: RagConfig) -> AtHand:
        """Open the configured index. Raises ConfigError if none is named, DataError if it is missing or damaged."""
        if config.index is None:
            raise ConfigError("no index is named; rag=INDEX, which appkit rag index makes")
        return cls(Index.open(Path(config.index)), config)

    @property
    def version(self) -> str:
        """The name of the index's version, which changes with the documents."""
        return self.index.path.name

    def put(
        self, task: Task, rows: Sequence[Any], *, anew: bool = False
    ) -> list[tuple[Any, list[Hit] | None]]:
        """Put passages into rows; return each row and its hits. A row that has passages keeps them (hits None).

        anew: replace a row's own passages. Raises ConfigError for a pack without a rule, DataError for an empty query.
        """
        retrieval = rule(task)
        places = [place for place, row in enumerate(rows) if anew or not getattr(row, retrieval.field)]
        queries = [retrieval.query(rows[place]) for place in places]
        results = self.index.search_all(queries, self.config.k, by=self.config.by, judge=self.config.judge)
        hits = dict(zip(places, results, strict=True))
        return [
            (
                retrieval.put(row, [hit.passage for hit in hits[place]]),
                [self._hide_folder(hit) for hit in hits[place]],
            )
            if place in hits
            else (row, None)
            for place, row in enumerate(rows)
        ]

    def _hide_folder(self, hit: Hit) -> Hit:
        """Name a hit's file without a directory of this machine."""
        return replace(hit, passage=replace(hit.passage, file=self._names[hit.passage.file]))

    @cached_property
    def _names(self) -> dict[str, str]:
        """Each file's name below the directory that holds all; if that is the root, its shortest unique ending."""
        files = {name: Path(os.path.abspath(name)) for name in self.index.about["files"]}
        above = Path(os.path.commonpath([file.parent for file in files.values()]))
        if above != Path(above.anchor):
            return {name: str(file.relative_to(above)) for name, file in files.items()}
        shared = Counter(end for file in set(files.values()) for end in _list_ends(file))
        return {
            name: next(end for end in _list_ends(file) if shared[end] == 1) for name, file in files.items()
        }

    @staticmethod
    def citations(task: Task, value: Any, hits: Sequence[Hit]) -> list[Citation]:
        """List the passages of an answer, in their order. value: the parsed answer, None where it did not parse."""
        cited = set(rule(task).cited(value)) if value is not None else set()
        return [
            Citation(
                number,
                number in cited,
                hit.score,
                hit.passage.source,
                hit.passage.start,
                hit.passage.text,
            )
            for number, hit in enumerate(hits, 1)
        ]


def _list_ends(file: Path) -> list[str]:
    """List the endings of an absolute path, such as b.md and a/b.md, shortest first."""
    parts = file.parts[1:]
    return ["/".join(parts[place:]) for place in reversed(range(len(parts)))]


def rule(task: Task) -> Retrieval:
    """Find the pack's rule for passages. Raises ConfigError when it has none."""
    if task.retrieval is None:
        raise ConfigError(
            f"task {task.name!r} has no rule for passages; leave rag out, or take a pack that has one, such as qa"
        )
    return task.retrieval


def check_passages(task: Task, rows: Sequence[Any]) -> None:
    """Raises DataError when no training row has passages, though the pack's rows need them."""
    field = rule(task).field
    if rows and not any(getattr(row, field) for row in rows):
        raise DataError(
            f"no training row has {field}; name an index (rag=INDEX), or the column: data.columns.{field}=<column>"
        )


def reading(task: Task, options: Any) -> Task:
    """Return the task whose `row` reads data as the options say."""
    task = task.under(options)
    return task if task.row_for is None else replace(task, row=task.row_for(options))


def complete_rows(
    task: Task, config: RunConfig, parts: Mapping[str, Sequence[Record]]
) -> dict[str, list[Record]]:
    """Let the pack fill the rows of splits from what its options name, and show them similar rows of `train`.

    Raises DataError where what is named cannot be read.
    """
    parts = _call_complete(task, config, parts)
    return put_examples(parts, task, config.task, config.data.examples_by)


def _call_complete(
    task: Task, config: RunConfig, parts: Mapping[str, Sequence[Record]]
) -> Mapping[str, Sequence[Record]]:
    if task.complete is None:
        return parts
    values = {name: [record.value for record in records] for name, records in parts.items()}
    try:
        filled = task.complete(values, config.task, config.seed)
    except ValueError as error:
        raise DataError(" ".join(str(error).split())) from error
    return {
        name: [replace(record, value=row) for record, row in zip(records, filled[name], strict=True)]
        for name, records in parts.items()
    }


def describe_filled(
    task: Task, before: Mapping[str, Sequence[Record]], after: Mapping[str, Sequence[Record]]
) -> list[str]:
    """Say, a line a split and field, how many rows `complete_rows` gave terms, examples or whatever a list holds.

    Groups (`Task.strata`) of the split in which no row has any are named, such as a language that a glossary lacks.
    """
    given: dict[str, dict[str, int]] = {}
    for split, records in before.items():
        for old, new in zip(records, after[split], strict=True):
            for name in type(new.value).model_fields:
                value = getattr(new.value, name)
                if isinstance(value, (list, tuple)) and value and not getattr(old.value, name):
                    counts = given.setdefault(name, dict.fromkeys(before, 0))
                    counts[split] += 1
    return [
        f"{split}: {count} of {len(before[split])} rows were given {name}{_list_without(task, after[split], name)}"
        for name, counts in given.items()
        for split, count in counts.items()
        if before[split]
    ]


def _list_without(task: Task, records: Sequence[Record], field: str) -> str:
    """List the largest groups in which no row has the field; "" where there are none."""
    empty = []
    for name, group_of in task.strata.items():
        members: dict[str, list[bool]] = {}
        for record in records:
            try:
                group = group_of(record.value)
            except Exception:  # a pack's function; the report counts the rows that it cannot group
                continue
            members.setdefault(group, []).append(bool(getattr(record.value, field)))
        empty += [
            (len(has), f"{name} {group}")
            for group, has in members.items()
            if len(members) > 1 and not any(has)
        ]
    empty.sort(key=lambda pair: -pair[0])
    shown = ", ".join(f"none of the {count} of {group}" for count, group in empty[:SHOWN])
    return f", {shown}{', …' if len(empty) > SHOWN else ''}" if empty else ""


def load_general(task: Task, config: RunConfig, source: str, train: Sequence[Record]) -> list[Record]:
    """Load the rows of another file as test rows, at most eval.rows of them.

    train: the training rows, which a pack may take a row's examples from.
    """
    read = read_source(reading(task, config.task), config.task, config.data, "test", source)
    if read.faults and config.data.on_error == "refuse":
        raise DataError(
            f"{len(read.faults)} faults in eval.general: {read.faults[0]}; repair it, or data.on_error=drop"
        )
    records = subset(read.records, config.eval.rows or len(read.records))
    records = complete_rows(task, config, {"train": train, "dev": [], "test": records})["test"]
    if task.retrieval is not None and config.rag.index is not None:
        filled = AtHand.open(config.rag).put(task, [record.value for record in records], anew=True)
        records = [replace(record, value=row) for record, (row, _) in zip(records, filled, strict=True)]
    return records


def load_rows(task: Task, config: RunConfig) -> tuple[Splits, str | None]:
    """Load the rows of a run (see `load_splits`), with passages from `config.rag.index`; and the index's version.

    Passages do not change a row's digest or split. Raises ConfigError for a pack without a rule, DataError when rows
    that need passages have none.
    """
    if config.rag.index is not None:
        rule(task)  # before any work
    splits = load_splits(reading(task, config.task), config.task, config.data)
    if task.row_notes is not None:
        for name, records in (("train", splits.train), ("dev", splits.dev), ("test", splits.test)):
            notes = task.row_notes([record.value for record in records])
            splits.notes.extend(f"{name}: {note}" for note in notes)
    parts = {"train": splits.train, "dev": splits.dev, "test": splits.test}
    completed = complete_rows(task, config, parts)
    splits.notes.extend(describe_filled(task, parts, completed))
    splits = replace(splits, train=completed["train"], dev=completed["dev"], test=completed["test"])
    if task.retrieval is None:
        return splits, None
    if config.rag.index is None:
        check_passages(task, [record.value for record in splits.train])
        return splits, None
    at_hand = AtHand.open(config.rag)

    def put(records: list[Record]) -> list[Record]:
        filled = at_hand.put(task, [record.value for record in records], anew=True)
        return [replace(record, value=row) for record, (row, _) in zip(records, filled, strict=True)]

    filled = replace(splits, train=put(splits.train), dev=put(splits.dev), test=put(splits.test))
    return filled, at_hand.version
