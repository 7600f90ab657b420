"""Documents get into a pack's rows: what `rag=INDEX` does in train, eval, predict and serve."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appkit.config import RagConfig, RunConfig
from appkit.data.splits import Splits, load_splits
from appkit.errors import ConfigError, DataError
from appkit.rag.index import Hit, Index
from appkit.task import Retrieval, Task

if TYPE_CHECKING:
    from appkit.data.rows import Record

__all__ = ["AtHand", "Citation", "check_passages", "load_rows", "rule", "without_passages"]


@dataclass(frozen=True)
class Citation:
    """A passage that an answer was given from. number: in the prompt, from 1. cited: the answer refers to it.

    score: of the ranking, higher is nearer. source, start: file and place in it, and the first character there.
    """

    number: int
    cited: bool
    score: float
    source: str
    start: int
    text: str


@dataclass(frozen=True)
class AtHand:
    """An index that is open, and what is taken from it."""

    index: Index
    config: RagConfig

    @classmethod
    def open(cls, config: RagConfig) -> AtHand:
        """Raises ConfigError without an index, DataError for one that is not there or damaged."""
        if config.index is None:
            raise ConfigError("no index is named; rag=INDEX, which appkit rag index makes")
        return cls(Index.open(Path(config.index)), config)

    @property
    def version(self) -> str:
        """Changes with the documents."""
        return self.index.path.name

    def put(
        self, task: Task, rows: Sequence[Any], *, anew: bool = False
    ) -> list[tuple[Any, list[Hit] | None]]:
        """Each row with the passages that were found for it, and these; one that brings its own keeps them (None).

        anew: its own ones give way. Raises ConfigError for a pack without a rule, DataError for an empty query.
        """
        how = rule(task)
        asked = [place for place, row in enumerate(rows) if anew or not getattr(row, how.field)]
        queries = [how.query(rows[place]) for place in asked]
        found = self.index.search_all(queries, self.config.k, by=self.config.by, judge=self.config.judge)
        hits = dict(zip(asked, found, strict=True))
        return [
            (how.put(row, [hit.passage for hit in hits[place]]), [self._told(hit) for hit in hits[place]])
            if place in hits
            else (row, None)
            for place, row in enumerate(rows)
        ]

    def _told(self, hit: Hit) -> Hit:
        """Name a source without a place of this machine."""
        return replace(hit, passage=replace(hit.passage, file=self._names[hit.passage.file]))

    @cached_property
    def _names(self) -> dict[str, str]:
        """Each file's name below the directory that all are in; where that is the root, as much of its end as no other
        file has."""
        files = {one: Path(os.path.abspath(one)) for one in self.index.about["files"]}
        above = Path(os.path.commonpath([file.parent for file in files.values()]))
        if above != Path(above.anchor):
            return {one: str(file.relative_to(above)) for one, file in files.items()}
        shared = Counter(end for file in set(files.values()) for end in _ends(file))
        return {one: next(end for end in _ends(file) if shared[end] == 1) for one, file in files.items()}

    @staticmethod
    def citations(task: Task, value: Any, hits: Sequence[Hit]) -> list[Citation]:
        """The passages of an answer, in their order. value: the pack's reading of it, None where there is none."""
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


def _ends(file: Path) -> list[str]:
    """a/b.md and the like of an absolute path, shortest first."""
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
    """Raises DataError when rows to train on were to bring passages, and none does."""
    field = rule(task).field
    if rows and not any(getattr(row, field) for row in rows):
        raise DataError(
            f"no training row has {field}; name an index (rag=INDEX), or the column: data.columns.{field}=<column>"
        )


def without_passages(task: Task, records: Sequence[Record]) -> list[Record]:
    """Take all documents out of the rows."""
    how = rule(task)
    return [replace(record, value=how.put(record.value, [])) for record in records]


def load_rows(task: Task, config: RunConfig) -> tuple[Splits, str | None]:
    """The rows of a run (see `load_splits`), with passages from `config.rag.index`; and the index's version.

    A row keeps its digest and its split whatever is found for it. Raises ConfigError for a pack without a rule,
    DataError when rows that need passages have none.
    """
    if config.rag.index is not None:
        rule(task)  # before any work
    splits = load_splits(task, config.task, config.data)
    if task.retrieval is None:
        return splits, None
    if config.rag.index is None:
        check_passages(task, [record.value for record in splits.train])
        return splits, None
    at_hand = AtHand.open(config.rag)

    def put(records: list[Record]) -> list[Record]:
        found = at_hand.put(task, [record.value for record in records], anew=True)
        return [replace(record, value=row) for record, (row, _) in zip(records, found, strict=True)]

    found = replace(splits, train=put(splits.train), dev=put(splits.dev), test=put(splits.test))
    return found, at_hand.version
