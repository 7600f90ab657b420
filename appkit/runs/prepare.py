"""Prepares all of a run that needs no weights: rows, head, examples, plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from appkit.bundles.schema import NAME
from appkit.config import RunConfig
from appkit.data.mix import describe_shares, shares
from appkit.data.near import note_alike
from appkit.data.rows import Record, fingerprint
from appkit.data.splits import Source, Splits, leave_out, subset
from appkit.errors import ConfigError, DataError, shortened
from appkit.heads.choose import check_options, head_of_rows
from appkit.heads.head import Head
from appkit.models.chat import Chat
from appkit.plugins import load_method, load_task
from appkit.rag.rows import load_general, load_rows
from appkit.runs.seen import hash_rows
from appkit.training.plan import Mix, Step, plan

if TYPE_CHECKING:
    from appkit.method import Method, Servable
    from appkit.task import Task

__all__ = ["Prepared", "Say", "Stage", "plan_steps", "prepare", "quiet"]

Say = Callable[[str], None]


def quiet(line: str) -> None:
    """Print nothing: the default of the Python API."""


@dataclass(frozen=True)
class Stage:
    """A stage of training before the last one."""

    name: str
    config: RunConfig
    """with the stage's own train and data"""
    splits: Splits
    examples: Sequence[Any]
    """training rows as tokens"""
    records: Sequence[Record]
    """the row of each example"""
    plan: Sequence[Step]
    """which examples form which step"""
    dev: Sequence[Record]
    """rows that are measured during the stage"""
    notes: Sequence[str]
    """rows left out and other remarks, a line each"""


@dataclass(frozen=True)
class Prepared:
    """All parts of a run that need no weights."""

    config: RunConfig
    method: Method
    splits: Splits
    head: Head
    examples: Sequence[Any]
    """training rows as tokens"""
    records: Sequence[Record]
    """the row of each example"""
    plan: Sequence[Step]
    """which examples form which step"""
    test: Sequence[Record]
    """rows that the report measures, at most eval.rows"""
    dev: Sequence[Record]
    """rows that are measured during training, at most train.eval_rows"""
    notes: Sequence[str]
    """rows left out and other remarks, a line each"""
    documents: str | None = None
    """version of the index that the rows' passages came from"""
    earlier: Sequence[Stage] = ()
    """the stages before the one that everything else here is of"""
    general: Sequence[Record] = ()
    """rows of eval.general"""

    @property
    def rows(self) -> list[Record]:
        """The training rows, each once."""
        return list({id(record): record for record in self.records}.values())

    @property
    def servable(self) -> Servable:
        """Which engines can serve the bundle; the reason is the method's, or else the head's."""
        servable = self.method.servable(self.config.method).within_limits()
        return replace(servable, reason=servable.reason or self.head.serving_note)

    def data_fingerprints(self) -> dict[str, Any]:
        """Fingerprint the rows of each split, and the documents; a resumed run must have the same."""
        splits = {"train": self.records, "dev": self.dev, "test": self.test}
        stages = {stage.name: fingerprint(stage.records) for stage in self.earlier}
        return {
            **{name: fingerprint(records) for name, records in splits.items()},
            "rows": {name: len(records) for name, records in splits.items()},
            "documents": self.documents,
            **({"stages": stages} if stages else {}),
        }

    @property
    def sources(self) -> list[Source]:
        """The files and data sets that were read, of earlier stages those that were trained on."""
        trained = [
            source for stage in self.earlier for source in stage.splits.sources if source["split"] == "train"
        ]
        return [*trained, *self.splits.sources]

    def hash_rows(self) -> dict[str, str] | None:
        """Hash the inputs that were trained on, selected by, and kept for the test; see `seen`."""
        trained = [record for stage in self.earlier for record in stage.records]
        splits = {"train": [*trained, *self.rows], "dev": self.splits.dev, "test": self.splits.test}
        return hash_rows(self.head.task, fingerprint(self.records), splits)


def prepare(config: RunConfig, say: Say = quiet) -> Prepared:
    """Read and check the data, tokenize it, audit the labels and plan the batches; loads the tokenizer but no weights.

    Raises DataError, ConfigError or ModelError for an error that would make the run fail later.
    """
    from appkit.models.sources import locate_tokenizer
    from appkit.training.optimizer import check_choices

    task, method = load_task(config.task.name).under(config.task), load_method(config.method.name)
    if not NAME.fullmatch(config.name or task.name):
        raise ConfigError(
            "a bundle's name has 64 letters, digits, '.', '_' and '-' at most, "
            f"got {shortened(config.name or task.name)}; choose another name="
        )
    check_choices(config.train)
    check_options(task, config)
    splits, documents = load_rows(task, config)
    loaded = _load_earlier(task, config, splits)
    chat = Chat.at(locate_tokenizer(config.model))
    every = [record for part in [*loaded.values(), splits] for record in part.train]
    head, target_notes = head_of_rows(task, config, chat, every, {"dev": splits.dev, "test": splits.test})
    if head.spec is not None and method.servable(config.method).rank is None:
        raise ConfigError(
            f"method={method.name} changes weights of the base, which no engine serves together with a head over "
            "labels; choose another method, or a task that answers in words"
        )
    examples, records, row_notes = _encode_training_rows(config, head, splits)
    if not examples:
        raise DataError("no training row is left; raise data.max_length, or check data.train")
    head.audit(examples, records)
    earlier = [_prepare_stage(name, config, head, part) for name, part in loaded.items()]
    parts = {"train": splits.train, "dev": splits.dev, "test": splits.test}
    domains = [example.domain for example in examples]
    prepared = Prepared(
        config,
        method,
        splits,
        head.fitted(examples),
        examples,
        records,
        plan_steps(config, examples),
        subset(splits.test, config.eval.rows) if config.eval.rows else list(splits.test),
        subset(splits.dev, config.train.eval_rows),
        [
            *splits.notes,
            *describe_shares(domains, shares(domains, config.data)),
            *note_alike(parts, task, config.data.near),
            *target_notes,
            *row_notes,
            *(f"stage {stage.name}: {note}" for stage in earlier for note in stage.notes),
        ],
        documents,
        earlier,
        _read_general(head, config, splits.train),
    )
    notes = [*prepared.notes, *filter(None, [prepared.servable.reason])]
    notes += [f"dropped: {fault}" for fault in splits.faults]
    prepared = replace(prepared, notes=notes)
    _report_data(prepared, say)
    return prepared


def _load_earlier(task: Task, config: RunConfig, last: Splits) -> dict[str, Splits]:
    """Load the rows of the stages before the last, without those that the last one measures on."""
    held = [*last.dev, *last.test]
    return {
        name: leave_out(
            load_rows(task, config.model_copy(update={"data": stage.data}))[0],
            held,
            task,
            "the last stage's dev or test",
        )
        for name, stage in list(config.stages.items())[:-1]
    }


def _prepare_stage(name: str, config: RunConfig, head: Head, splits: Splits) -> Stage:
    """Encode and plan a stage before the last. Raises DataError when it has no row to train on."""
    stage = config.stages[name]
    config = config.model_copy(update={"train": stage.train, "data": stage.data})
    examples, records, notes = _encode_training_rows(config, head, splits)
    if not examples:
        raise DataError(f"stage {name} has no training row left; check stages.{name}.data.train")
    head.audit(examples, records)
    domains = [example.domain for example in examples]
    faults = [f"dropped: {fault}" for fault in splits.faults]
    return Stage(
        name,
        config,
        splits,
        examples,
        records,
        plan_steps(config, examples),
        subset(splits.dev, stage.train.eval_rows),
        [*splits.notes, *describe_shares(domains, shares(domains, stage.data)), *notes, *faults],
    )


def _read_general(head: Head, config: RunConfig, train: Sequence[Record]) -> list[Record]:
    """Read the rows of eval.general, at most eval.rows, filled as test rows are; none where it names none.

    Raises ConfigError where nothing could answer them before training, DataError for rows that do not fit.
    """
    if config.eval.general is None:
        return []
    if head.spec is not None and len(config.stages) < 2:
        raise ConfigError(
            "eval.general compares with the model before training, which has no head over labels; train in two stages "
            "(stages=[general,domain]), and it compares with the end of the first"
        )
    records = load_general(head.task, config, config.eval.general, train)
    if not records:
        raise DataError(
            f"{config.eval.general!r} holds no rows that can be measured; name another eval.general"
        )
    return records


def plan_steps(config: RunConfig, examples: Sequence[Any]) -> list[Step]:
    """Plan the optimizer steps over examples, by the configuration's batch sizes and epochs."""
    sizes, lengths = config.train, [len(example.tokens) for example in examples]
    domains = [example.domain for example in examples]
    drawn = shares(domains, config.data)
    mix = None if drawn is None else Mix.of(domains, drawn)
    return plan(lengths, sizes.batch_rows, sizes.batch_tokens, sizes.epochs, config.seed, mix)


def _report_data(prepared: Prepared, say: Say) -> None:
    examples = prepared.examples
    say(
        f"data: {len(prepared.rows)} rows to train on in {len(prepared.plan)} steps, {len(prepared.dev)} dev, "
        f"{len(prepared.test)} test; {sum(len(e.tokens) for e in examples) / len(examples):.0f} tokens a row, "
        f"{sum(e.targets for e in examples) / len(examples):.0f} supervised"
    )
    for stage in prepared.earlier:
        say(f"stage {stage.name}: {len(stage.records)} rows to train on in {len(stage.plan)} steps first")
    for note in prepared.notes[:10]:
        say(f"  note: {note}")


def _encode_training_rows(
    config: RunConfig, head: Head, splits: Splits
) -> tuple[list[Any], list[Record], list[str]]:
    """Encode the training rows that are used, in hash order; return examples, their rows, notes of those left out."""
    waiting = subset(splits.train, len(splits.train))
    most = config.train.max_rows or len(waiting)
    examples: list[Any] = []
    records: list[Record] = []
    notes: list[str] = []
    while waiting and (wanted := most - len(set(map(id, records)))):
        taken, waiting = waiting[:wanted], waiting[wanted:]
        encoded, sources, dropped = head.encode(taken, config.data.max_length, config.data.on_long)
        examples.extend(
            example if record.domain is None else replace(example, domain=record.domain)
            for example, record in zip(encoded, sources, strict=True)
        )
        records.extend(sources)
        notes.extend(dropped)
    count = len(examples)
    if (limit := config.train.max_tokens) is not None:
        so_far = accumulate(len(example.tokens) for example in examples[:count])
        fit = max(1, sum(tokens <= limit for tokens in so_far))
        if fit < count:
            notes.append(f"train: {fit} of {count} rows are used, train.max_tokens={limit}")
        count = fit
    return examples[:count], records[:count], notes
