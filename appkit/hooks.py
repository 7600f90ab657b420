"""Defines what a pack may bring besides prompts and metrics: files, retrieval, examples, data, commands.

Each is a record of functions that `Task` holds; packs import them from `appkit.task`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from pydantic import BaseModel

    from appkit.message import Prediction

__all__ = [
    "AnswerInputs",
    "Build",
    "Built",
    "Command",
    "FileRows",
    "Finding",
    "Outcome",
    "Passage",
    "Retrieval",
    "Shipped",
    "Similar",
]


@dataclass(frozen=True)
class Shipped:
    """A data set that comes with a pack: an import package and the files of its splits below it."""

    package: str
    files: Mapping[str, str]
    """split name ("train", "test") -> file name, for instance {"train": "nl2fol/train.jsonl"}"""


@dataclass
class FileRows:
    """The rows that a pack reads of a file of its field's own formats."""

    rows: Iterable[tuple[int, Mapping[str, Any]]]
    """(line, or number of the unit where lines mean nothing; field -> value), read once"""
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """reason -> how many were left out; complete when the rows are read"""
    notes: Sequence[str] = ()
    """what was assumed, a line each; complete when the rows are read"""


class Finding(NamedTuple):
    """What one of a pack's checks says of a row."""

    kind: str
    """the check's name"""
    reason: str
    """one line"""


class AnswerInputs(Protocol):
    """Answers rows for `Task.rewrite` and for commands."""

    def __call__(
        self, rows: Sequence[Mapping[str, Any]], *, constrain: bool = False
    ) -> Sequence[tuple[Prediction, float | None]]:
        """Returns each row's answer and its confidence, None where there is none.

        rows: their input fields. constrain: keep to the pack's grammar.
        """


@dataclass(frozen=True)
class Passage:
    """A piece of a document."""

    id: str
    text: str
    file: str
    """path, as the user wrote it"""
    place: str
    """page or row in the file; "" for the whole file"""
    start: int
    """first character, counted from the start of the place"""

    @property
    def source(self) -> str:
        """The file, and the place after `#`."""
        return f"{self.file}#{self.place}" if self.place else self.file


@dataclass(frozen=True)
class Retrieval:
    """A pack's rule for retrieval: the query, and how passages come into a row and its prompt."""

    field: str
    """field of `row` that holds passages; a row that has some keeps them"""
    query: Callable[[Any], str]
    """row -> the text to search for"""
    put: Callable[[Any, Sequence[Passage]], Any]
    """(row, passages, nearest first) -> the row with them; an empty sequence removes all"""
    cited: Callable[[Any], Sequence[int]]
    """parsed value of an answer -> numbers of the passages it refers to, from 1; some may not exist"""


@dataclass(frozen=True)
class Similar:
    """A pack's rule for examples in prompts: which training rows are shown beside a row."""

    count: Callable[[Any], int]
    """options -> how many a prompt shows; 0: none"""
    field: str
    """field of `row` that holds them; a row that has some keeps them"""
    text: Callable[[Any], str]
    """row -> the text by which rows are alike"""
    put: Callable[[Any, Sequence[Any]], Any]
    """(row, training rows, nearest first) -> the row with them"""
    allowed: Callable[[Any, Any], bool] = dataclasses.field(default=lambda row, candidate: True)
    """(row, training row) -> whether it may be shown; a near-duplicate never is"""
    group: Callable[[Any], Hashable] = dataclasses.field(default=lambda row: None)
    """row -> what both must have in common, such as a language"""


@dataclass(frozen=True)
class Built:
    """What a pack made of raw material, such as a repository, for `appkit data build`."""

    splits: Mapping[str, Sequence[Mapping[str, Any]]]
    """name of a split -> its rows; each becomes a JSONL file"""
    counts: Mapping[str, int]
    """line for the user -> how many; first what was read, then what was left out by reason, and the rows"""
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """origin, licence and options, for the card beside the files"""
    notes: Sequence[str] = ()
    """what the user should know, a line each"""


@dataclass(frozen=True)
class Build:
    """A pack's way to make rows from raw material."""

    options: type[BaseModel]
    """what to read, and how: `appkit data build TASK key=value`"""
    run: Callable[[Any], Built]
    """options -> rows; ValueError for what cannot be read"""


@dataclass(frozen=True)
class Outcome:
    """What a command gives."""

    text: str
    """for standard output"""
    notes: Sequence[str] = ()
    """for the user, on standard error, a line each"""
    exit_code: int = 0


@dataclass(frozen=True)
class Command:
    """A command of daily use that a pack adds to `appkit`; the core finds who answers: --bundle or --gateway.

    The file `commands.yaml` beside the pack's record names it with a line for --help, which imports no pack.
    """

    options: type[BaseModel]
    """fields become --options; what a field says of itself is their help. A field `answerer` becomes no option: the
    core puts the words there that name who answers, for a command that runs later"""
    run: Callable[[Any, Any, AnswerInputs | None], Outcome]
    """(options, the bundle's options of the pack, who answers) -> what is printed; None for the last where nobody
    answers, and for the bundle's options where none is named. ValueError for what cannot be done"""
    arguments: tuple[str, ...] = ()
    """fields that are arguments, not options, in order"""
    asks: bool = True
    """False: nobody answers, and there is no --bundle"""
    before: Callable[[Any], None] = dataclasses.field(default=lambda options: None)
    """options -> nothing; called before anything is loaded, for what has to hold meanwhile, such as a limit of time"""
    alone: Callable[[Any], bool] = dataclasses.field(default=lambda options: False)
    """options -> whether it runs without anybody who answers, such as one that installs a hook"""
