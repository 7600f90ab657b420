"""Task is the record of all that the core knows of a task pack.

A pack is a record of functions, not a class to inherit from. The core calls these functions and nothing
else of the pack; the pack never knows the trainer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, create_model

from appkit.hooks import (
    AnswerInputs,
    Build,
    Built,
    Command,
    FileRows,
    Finding,
    Outcome,
    Passage,
    Retrieval,
    Shipped,
    Similar,
)
from appkit.message import (
    Audio,
    Image,
    Labels,
    Message,
    Parsed,
    Part,
    Prediction,
    Text,
    TokenLabels,
)

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "AnswerInputs",
    "Audio",
    "Build",
    "Built",
    "Command",
    "Decoding",
    "FileRows",
    "Finding",
    "HeadSpec",
    "Image",
    "LabelHead",
    "Labels",
    "Message",
    "Metric",
    "NotApplicable",
    "Outcome",
    "Parsed",
    "Part",
    "Passage",
    "Prediction",
    "Retrieval",
    "Row",
    "Shipped",
    "Similar",
    "Tagging",
    "Task",
    "Text",
    "TextHead",
    "TokenLabels",
]


class Row(BaseModel):
    """Base of every pack's row schema. Unknown columns are ignored: users' files carry their own."""

    model_config = ConfigDict(frozen=True, extra="ignore", str_strip_whitespace=True)


class HeadSpec(BaseModel):
    """A trained label head, as the manifest stores it: a linear layer (C, d) on final hidden states of width d.

    It has no bias for whole texts and one for words, as transformers' own classes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["sequence", "token"]
    problem: Literal["single", "multi", "regression"] = Field(
        "single", description="one label, any number of labels, or a number"
    )
    labels: tuple[str, ...] = Field((), description="in the order of the head's outputs; a number has none")
    attention: Literal["causal", "unmasked"] = "causal"
    pooling: Literal["last", "mean", "max", "none"] = Field(
        "last", description="which hidden states a sequence head sees; none: tokens"
    )
    max_length: int = Field(512, ge=1, description="tokens that the model reads at once")
    overlap: int = Field(0, ge=0, description="tokens that two windows of a long document share; token heads")
    temperature: float = Field(1.0, gt=0, description="logits are divided by it (Guo et al. 2017)")
    threshold: float | None = Field(None, ge=0, le=1, description="least probability of what is answered")
    oos: str | None = Field(None, max_length=1000, description="answered where no label is likely enough")
    shift: float = Field(0.0, description="regression: mean of the training targets")
    scale: float = Field(1.0, gt=0, description="regression: their standard deviation")

    @property
    def of_words(self) -> bool:
        """Whether each word has a label, not the text as a whole."""
        return {"sequence": False, "token": True}[self.kind]

    @property
    def outputs(self) -> int:
        """C, the rows of the head's matrix."""
        return 1 if self.problem == "regression" else len(self.labels)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Compute probabilities (..., C) from logits (..., C); of a regression the number itself, (..., 1)."""
        z = np.asarray(logits, dtype=np.float64)
        if self.problem == "regression":
            return z * self.scale + self.shift
        z = z / self.temperature
        if self.problem == "multi":
            return np.where(z >= 0, 1 / (1 + np.exp(-np.abs(z))), 1 - 1 / (1 + np.exp(-np.abs(z))))
        powers = np.exp(z - z.max(-1, keepdims=True))
        shares: np.ndarray = powers / powers.sum(-1, keepdims=True)
        return shares


def row_mean(matrix: np.ndarray) -> float:
    """Compute the mean of the first column of (N, K), the aggregate of most metrics."""
    return float(matrix[:, 0].mean())


@dataclass(frozen=True)
class Metric:
    """A metric as statistics of single rows and an aggregate, since BLEU and F1 are not means of rows."""

    name: str
    description: str
    statistics: Callable[[Any, Prediction], Sequence[float]]
    """(row, prediction) -> K floats"""
    aggregate: Callable[[np.ndarray], float] = row_mean
    """the (N, K) matrix of all rows, or of a resample -> value"""
    higher_is_better: bool = True
    scale: float = 1.0
    """value of perfect answers: 1, or 100 where the field counts in hundredths (BLEU); pictures show shares of it"""


class Decoding(BaseModel):
    """How answers are decoded. Temperature 0 is greedy."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    max_new_tokens: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto", description="tokens; auto caps at 1.5 x the longest target of the training data"
    )
    temperature: float = Field(0.0, ge=0, le=5, description="0 is greedy")
    top_p: float = Field(1.0, gt=0, le=1, description="nucleus; 1 is off")
    top_k: int = Field(0, ge=0, description="tokens kept; 0 is off")
    seed: int = Field(0, ge=0, description="of the sampler; unused when greedy")
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (), description="an answer ends before a token that holds one of these texts"
    )
    loop: int | None = Field(
        None,
        ge=8,
        description="end an answer, as truncated, whose last tokens, this many, only repeat a phrase: it would run "
        "to the cap; none: never",
    )


class NotApplicable(ValueError):
    """Says that a metric does not apply to a row: it counts neither as scored nor as a fault."""


@dataclass(frozen=True)
class TextHead:
    """Answers in words, by the base's own language-model head."""

    parse: Callable[[str], Parsed] = field(default=lambda text: Parsed(text))
    """text of the model -> what the pack reads of it; never raises"""
    decoding: Decoding = field(default_factory=Decoding)
    """how answers are decoded, unless the user says otherwise"""
    grammar: Callable[[Any], str] | None = None
    """options -> EBNF of what the model may answer, for constrained decoding"""
    row_grammar: Callable[[Any, Any], str] | None = None
    """(row, options) -> EBNF of what the model may answer to this row, in place of `grammar`"""
    few_shot: Callable[[Sequence[Any], Any], Sequence[Any]] = field(default=lambda rows, options: rows[:4])
    """(training rows, options) -> rows shown to the base in its few-shot prompt"""

    @property
    def name(self) -> Literal["generate"]:
        """What manifests, reports and the gateway call it."""
        return "generate"


@dataclass(frozen=True)
class Tagging:
    """A scheme of tags for entities in words (Ramshaw and Marcus 1995): outside, and begin and inside of each type."""

    outside: str = "O"
    begin: str = "B-"
    inside: str = "I-"

    def labels(self, types: Sequence[str]) -> tuple[str, ...]:
        """List all tags of entity types: an answer may need a tag that no training row has."""
        return (self.outside, *(f"{side}{name}" for name in types for side in (self.begin, self.inside)))

    def type_of(self, tag: str) -> str:
        """The type of an entity's tag."""
        return tag.removeprefix(self.begin).removeprefix(self.inside)

    def entities(self, tags: Sequence[str]) -> list[tuple[int, int, str]]:
        """Find the entities in the tags of W words: (first word, one past the last, type) of each.

        An inside tag that continues no entity begins one; equal tags without a prefix in a row are one entity.
        """
        types = [self.type_of(tag) for tag in tags]
        starts = [
            at
            for at, tag in enumerate(tags)
            if at == 0 or tag.startswith(self.begin) or types[at] != types[at - 1]
        ]
        runs = zip(starts, [*starts[1:], len(tags)], strict=False)  # no tag, no run
        return [(at, end, types[at]) for at, end in runs if tags[at] != self.outside]


@dataclass(frozen=True)
class LabelHead:
    """Chooses labels: a linear layer on the base's final hidden states (LS-LLaMA, arXiv 2310.01208)."""

    read: Callable[[Any, np.ndarray, HeadSpec], tuple[str, Any, float | None]]
    """(row, probabilities, head) -> text and value of a Prediction, and its confidence. Probabilities are (C,) of a
    whole text, in the order of `head.labels` (a number is (1,), in its own unit), and (W, C) of words"""
    words: Callable[[Any, Any], Sequence[tuple[int, int]]] | None = None
    """(row, options) -> start and end of each word, in characters of the prompt, ascending; None: a text has one"""
    tagging: Tagging = field(default_factory=Tagging)
    """of words: how their labels name entities"""
    metrics_for: Callable[[HeadSpec, Any], tuple[tuple[Metric, ...], str]] | None = None
    """(head, options) -> the metrics that apply to it, and the name of the primary one; None: `Task.metrics`"""
    out_of_scope: Callable[[Any], str | None] = field(default=lambda options: None)
    """options -> the label answered where no label is likely enough; None: there is none"""
    refuse: Callable[[Sequence[Any], Any], str | None] = field(default=lambda rows, options: None)
    """(training rows, options) -> why all of them together mean something else than their targets; None: they do not"""

    @property
    def name(self) -> Literal["sequence", "token"]:
        """What manifests, reports and the gateway call it."""
        return "token" if self.words else "sequence"

    @property
    def decoding(self) -> Decoding:
        """The defaults, which have no effect: nothing is decoded, but the configuration has the field."""
        return Decoding()


@dataclass(frozen=True)
class Task:
    """A task pack: what the core calls, and nothing else of it."""

    name: str
    """unique; what the user types after `task=`"""
    summary: str
    """one line for `appkit tasks list`"""
    config: type[BaseModel]
    """the pack's own options (`task.<key>=`), a frozen pydantic model"""
    row: type[Row]
    """the schema of one row; its field names are the column names users map to"""
    load: Callable[[Any], Shipped | None]
    """options -> the data sets that come with the pack, by split"""
    prompt: Callable[[Any, Any], Sequence[Message]]
    """(row, options) -> the messages before the answer; for a label head one, whose text is read without template"""
    target: Callable[[Any, Any], Text | Labels | TokenLabels]
    """(row, options) -> the answer to be learned"""
    metrics: tuple[Metric, ...]
    """in the order of the report"""
    primary: str
    """name of the metric that decides"""
    judge: str | None = field(default=None, kw_only=True)
    """name of the metric that judges a row as right (1) or wrong (0), which confidence goes by; None: the primary"""
    input: str
    """the field of `row` that a bare line of text fills in `appkit predict`"""
    output: str
    """the field of `row` that holds the target; empty when predicting"""
    examples: tuple[str | Mapping[str, Any], ...]
    """inputs that a newcomer can try, texts or input fields; bundles record the model's answers to them"""
    head: TextHead | LabelHead = field(default_factory=TextHead)
    """how answers are made"""
    beside: tuple[str, ...] = ()
    """further fields of `row` that are read with the input, such as the second text of a pair"""
    needed: tuple[str, ...] | None = None
    """fields of `row` that training rows must fill; None: input and output"""
    appendix: Callable[[Sequence[Any], Sequence[Prediction], Path | None, Any], str] | None = None
    """(rows, predictions, directory for pictures or None, options) -> Markdown for the report, which shows no row"""
    adapt: Callable[[Task, Any], Task] | None = None
    """(task, options) -> the task with what depends on its options, such as metrics and parsing; None: nothing does"""
    synonyms: Callable[[Any], Mapping[str, Sequence[str]]] = field(default=lambda options: {})
    """options -> field of `row` -> names under which the field's own data sets have it, tried where a file lacks it"""
    similar: Similar | None = None
    """how training rows become examples in prompts; None: they do not"""
    build: Build | None = None
    """how rows are made from raw material (`appkit data build`)"""
    commands: Mapping[str, Command] = field(default_factory=dict)
    """name -> a command of daily use, which stands beside `appkit train`"""
    retrieval: Retrieval | None = None
    """how passages come into its rows (`rag=INDEX`); None: they cannot"""
    row_for: Callable[[Any], type[Row]] | None = None
    """options -> the subclass of `row`, with its fields, that rows of data are read by; None: `row`"""
    row_notes: Callable[[Sequence[Any]], Sequence[str]] | None = None
    """rows of a split -> notes for the user on how they were read"""
    files: Callable[[Path, Any], FileRows | None] | None = None
    """(path, options) -> the rows of a file in one of the field's own formats, None for any other; ValueError for one
    that cannot be read"""
    complete: Callable[[Mapping[str, Sequence[Any]], Any, int], Mapping[str, Sequence[Any]]] | None = None
    """(rows by split, options, seed) -> the same rows in the same order, filled from what the options name, such as a
    glossary; a pure function; ValueError for what cannot be read"""
    inspect: Callable[[Sequence[Any], Any], Iterable[tuple[int, Finding]]] | None = None
    """(rows of a split, options) -> the number, from 0, of each row that one of the pack's checks finds something in"""
    left_out: Callable[[Any], Sequence[str]] = field(default=lambda options: ())
    """options -> the kinds of findings whose rows are left out; others are reported and stay"""
    rewrite: Callable[[Path, Path, Any, Mapping[str, Any], AnswerInputs], Sequence[str]] | None = None
    """(file, output, options, wishes, answer) -> lines for the user: writes the file with its texts answered, in its
    own format and in one step; ValueError for a file or wish that it cannot do"""
    variants: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    """name -> row -> the row with something of its prompt left out: the adapter is measured on these too"""
    strata: Mapping[str, Callable[[Any], str]] = field(default_factory=dict)
    """named functions that put a row into a group, for scores by group (depth, domain, ...)"""
    tools: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    """named functions that the gateway serves beside the answers: a prover, a tree"""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """values the pack prefers for other parts of the config, below anything the user says"""
    version: str = "1"

    def __post_init__(self) -> None:
        names = [metric.name for metric in self.metrics]
        fields = self.row.model_fields
        if self.primary not in names:
            raise ValueError(f"task {self.name!r}: primary is {self.primary!r}, its metrics are {names}")
        if self.judge is not None and self.judge not in names:
            raise ValueError(f"task {self.name!r}: judge is {self.judge!r}, its metrics are {names}")
        held = [rule.field for rule in (self.retrieval, self.similar) if rule]
        for name in (self.input, self.output, *self.beside, *held):
            if name not in fields:
                raise ValueError(f"task {self.name!r}: {name!r} is no field of its row: {list(fields)}")
        if not self.examples:
            raise ValueError(f"task {self.name!r} has no examples, whose answers bundles record")

    @property
    def decoding(self) -> Decoding:
        """How answers are decoded, unless the user says otherwise."""
        return self.head.decoding

    def under(self, options: Any) -> Task:
        """Return the task as it is under the options."""
        return self if self.adapt is None else replace(self.adapt(self, options), adapt=None)

    def metric(self, name: str) -> Metric:
        """The metric of that name; KeyError if the pack has none."""
        return {metric.name: metric for metric in self.metrics}[name]

    def answer_text(self, row: Any, options: Any) -> str:
        """Return the text to be learned for a row of a task in words. Raises TypeError for other targets."""
        target = self.target(row, options)
        if not isinstance(target, Text):
            raise TypeError(f"task {self.name!r} gives {type(target).__name__} targets, a text is needed")
        return target.value

    @cached_property  # a request that made it anew for each row spent most of its time on it
    def _input_schema(self) -> Any:
        return create_model(f"{self.row.__name__}Input", __base__=self.row, **{self.output: (Any, None)})  # type: ignore[call-overload]

    def input_row(self, value: Any) -> Any:
        """Make a row to be answered from a bare text or a dict of input fields; a row is returned as it is.

        Raises pydantic.ValidationError when it does not fit the schema; the target may be missing.
        """
        if isinstance(value, self.row):
            return value
        fields = {self.input: value} if isinstance(value, str) else value
        return self._input_schema.model_validate({k: fields[k] for k in fields if k != self.output})
