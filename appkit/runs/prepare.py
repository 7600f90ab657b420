"""What a run decides before it needs weights: rows, head, examples, plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from appkit.config import HeadConfig, RunConfig
from appkit.data.rows import Record
from appkit.data.splits import Splits, subset
from appkit.errors import ConfigError, DataError, RunError
from appkit.heads.head import Kind
from appkit.heads.label import Labelling
from appkit.heads.lm import Generating, token_cap
from appkit.heads.roles import MOST_LABELS, role_of
from appkit.method import Servable
from appkit.models.chat import Chat
from appkit.plugins import load_method, load_task
from appkit.rag.rows import load_rows
from appkit.task import HeadSpec, Task
from appkit.training.plan import plan as batch_plan

if TYPE_CHECKING:
    from appkit.method import Method, Servable

__all__ = ["Prepared", "label_servable", "prepare"]


Say = Callable[[str], None]


def quiet(line: str) -> None:
    """The Python API prints nothing unless asked."""


@dataclass(frozen=True)
class Prepared:
    """All that a run decides before it needs weights."""

    config: RunConfig
    task: Task
    method: Method
    splits: Splits
    kind: Kind
    examples: Sequence[Any]
    records: Sequence[Record]
    """the row of each example"""
    plan: Sequence[Any]
    test: Sequence[Record]
    dev: Sequence[Record]
    notes: Sequence[str]
    documents: str | None = None
    """version of the index that the rows' passages came from"""

    @property
    def cap(self) -> int:
        """The most tokens of an answer; 0 where none is written."""
        return self.kind.cap if isinstance(self.kind, Generating) else 0


def prepare(config: RunConfig, say: Say = quiet) -> Prepared:
    """Read and check the data, tokenize it, audit the labels, plan the batches. Needs no weights but the tokenizer.

    Raises DataError, ConfigError or ModelError for whatever would make the run fail later.
    """
    from appkit.models.sources import locate_tokenizer
    from appkit.training.loop import check_choices

    task, method = load_task(config.task.name), load_method(config.method.name)
    if task.objective != "supervised":
        raise RunError(f"task {task.name!r} has the objective {task.objective}, which cannot be trained yet")
    check_choices(config.train)
    _check_head(config, task)
    splits, documents = load_rows(task, config)
    chat = Chat.at(locate_tokenizer(config.model))
    kind, told = _kind(config, task, chat, splits)
    examples, records, notes = _training_rows(config, kind, splits)
    if not examples:
        raise DataError("no training row is left; raise data.max_length, or check data.train")
    kind.audit(examples, records)
    if isinstance(kind, Generating):
        kind = replace(kind, cap=token_cap(config.decoding, max(example.targets for example in examples)))
    plan = batch_plan(
        [len(example.tokens) for example in examples],
        config.train.batch_rows,
        config.train.batch_tokens,
        config.train.epochs,
        config.seed,
    )
    test = subset(splits.test, config.eval.rows) if config.eval.rows else list(splits.test)
    dev = subset(splits.dev, config.train.eval_rows)
    servable = servable_of(method, config, kind)
    notes = [*splits.notes, *told, *notes, *([servable.reason] if servable.reason else [])]
    for fault in splits.faults:
        notes.append(f"dropped: {fault}")
    rows = len({id(record) for record in records})
    say(
        f"data: {rows} rows to train on in {len(plan)} steps, {len(dev)} dev, {len(test)} test; "
        f"{sum(len(e.tokens) for e in examples) / len(examples):.0f} tokens a row, "
        f"{sum(e.targets for e in examples) / len(examples):.0f} supervised"
    )
    for note in notes[:10]:
        say(f"  note: {note}")
    return Prepared(
        config, kind.task, method, splits, kind, examples, records, plan, test, dev, notes, documents
    )


def _check_head(config: RunConfig, task: Task) -> None:
    """Raise ConfigError for options that would change nothing."""
    if task.kind != "generate":
        return
    changed = [key for key, value in config.head.model_dump().items() if value != getattr(HeadConfig(), key)]
    if changed:
        raise ConfigError(
            f"head.{changed[0]} has no effect on task {task.name!r}, which answers in words; leave it out"
        )
    if config.data.on_long == "cut":
        raise ConfigError(
            f"data.on_long=cut would cut the answers of task {task.name!r}; use refuse or drop, "
            "or raise data.max_length"
        )


def _kind(config: RunConfig, task: Task, chat: Chat, splits: Splits) -> tuple[Kind, Sequence[str]]:
    """What the rows are to the model, and what to tell of them."""
    if task.kind == "generate":
        return Generating(task, config.task, chat, config.decoding, 0, config.eval.batch_rows), ()
    kind, told = Labelling.discovered(task, config, chat, splits.train)
    return kind, (*told, *kind.unknown(splits.dev, "dev"), *kind.unknown(splits.test, "test"))


def servable_of(method: Method, config: RunConfig, kind: Kind) -> Servable:
    """By which engines the bundle will be served, known before training."""
    found = method.servable(config.method)
    return label_servable(kind.spec, found) if isinstance(kind, Labelling) else found


def _training_rows(
    config: RunConfig, kind: Kind, splits: Splits
) -> tuple[list[Any], list[Record], list[str]]:
    """The rows to train on as tokens, in hash order, and what was left out."""
    ordered = subset(splits.train, len(splits.train))
    examples, records, notes = kind.encode(ordered, config.data.max_length, config.data.on_long)
    count = len(examples)
    if (most := config.train.max_rows) is not None:
        rows = list(dict.fromkeys(map(id, records)))[:most]
        count = sum(id(record) in set(rows) for record in records)
    if (limit := config.train.max_tokens) is not None:
        so_far = accumulate(len(example.tokens) for example in examples[:count])
        fit = max(1, sum(tokens <= limit for tokens in so_far))
        if fit < count:
            notes.append(f"train: {fit} of {count} rows are used, train.max_tokens={limit}")
        count = fit
    return examples[:count], records[:count], notes


def label_servable(head: HeadSpec, method: Servable) -> Servable:
    """The method's own, with a word on the head where it costs something."""
    if method.reason or role_of(head) != "embed" or head.kind == "token" or head.pooling != "last":
        return method
    reason = (
        f"{head.outputs} labels are above {MOST_LABELS}: the head is applied in the gateway, to hidden states"
    )
    return Servable(method.engines, method.rank, reason)
