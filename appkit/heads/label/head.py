"""Defines the head of label tasks: a linear layer on the base's states, one pass over each text."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from appkit.heads.head import Reply, Wishes
from appkit.heads.label import check, encode
from appkit.heads.label.answer import engine_logits, model_logits, read_logits
from appkit.heads.label.encode import Windows
from appkit.heads.label.spec import head_spec, read_head_spec
from appkit.heads.label.targets import Targets, discover, require_kind, require_spelling
from appkit.heads.roles import MOST_LABELS, Asked, Checked, Matrix, Role, role_of
from appkit.models.batch import Labelled, collate_labelled
from appkit.stats.calibration import calibration_error, settle
from appkit.stats.confidence import LabelCalibration, Uncalibrated
from appkit.task import HeadSpec, LabelHead, Metric, Parsed, Prediction, Task

if TYPE_CHECKING:
    import torch

    from appkit.config import RunConfig
    from appkit.data.rows import Record
    from appkit.heads.checks import Check
    from appkit.heads.label.loss import LabelLoss
    from appkit.heads.reference import Recorded
    from appkit.models.batch import Batch
    from appkit.models.chat import Chat

__all__ = ["LinearHead"]


@dataclass(frozen=True)
class LinearHead:
    """Answers a label task by one linear layer."""

    task: Task
    labels: LabelHead
    """the task's declaration of its head"""
    options: Any
    """the pack's configuration"""
    chat: Chat
    spec: HeadSpec
    dropout: float = 0.0
    """on what the head sees, in training"""
    smoothing: float = 0.0
    """share of the target that is spread over all labels"""
    weights: tuple[float, ...] | None = None
    """(C,) of the classes in the loss; None: all alike"""
    named: tuple[str, ...] = ()
    """the labels as the manifest lists them beside the head"""
    matrix: Matrix | None = None
    """where it is applied on this side of an engine, to hidden states"""
    folded: bool = False
    """it stands in a generating engine, where lm_head stands"""

    cap: ClassVar[int] = 0
    constrains: ClassVar[bool] = False

    @classmethod
    def of_spec(cls, task: Task, config: RunConfig, chat: Chat, spec: HeadSpec) -> LinearHead:
        """Makes the head of a spec, with the metrics that fit it."""
        assert isinstance(task.head, LabelHead)
        labels = task.head
        if labels.metrics_for is not None:
            metrics, primary = labels.metrics_for(spec, config.task)
            task = replace(task, metrics=metrics, primary=primary)
        return cls(task, labels, config.task, chat, spec)

    @classmethod
    def of_rows(
        cls,
        task: Task,
        config: RunConfig,
        chat: Chat,
        train: Sequence[Record],
        others: Mapping[str, Sequence[Record]],
    ) -> tuple[LinearHead, tuple[str, ...]]:
        """Makes the head from the training rows, with notes on the labels. Raises DataError and ConfigError."""
        assert isinstance(task.head, LabelHead)
        targets = discover(task, task.head, config.task, train)
        chosen = config.head
        head = cls.of_spec(task, config, chat, head_spec(task, task.head, config, targets))
        dropout = chosen.dropout if chosen.dropout != "auto" else 0.1 if head.spec.of_words else 0.0
        weights = None if chosen.class_weights == "none" else _balance_weights(targets, len(train))
        head = replace(head, dropout=float(dropout), smoothing=chosen.label_smoothing, weights=weights)
        unknown = [note for split, records in others.items() for note in head.unknown(records, split)]
        return head, (*targets.notes, *unknown)

    @classmethod
    def of_manifest(
        cls, manifest: Mapping[str, Any], config: RunConfig, task: Task, chat: Chat
    ) -> LinearHead:
        """Makes the head of a bundle. Raises BundleError when it cannot be read."""
        head = cls.of_spec(task, config, chat, read_head_spec(manifest))
        return replace(head, named=tuple(manifest.get("labels") or ()))

    @property
    def role(self) -> Role:
        return "generate" if self.folded else role_of(self.spec)

    @property
    def serving_note(self) -> str:
        if self.role != "embed" or self.spec.of_words or self.spec.pooling != "last":
            return ""
        return (
            f"{self.spec.outputs} labels are above {MOST_LABELS}: the head is applied in the gateway, to hidden "
            "states"
        )

    def text(self, row: Any) -> str:
        """Writes what the model reads of a row: the pack's message, without a chat template."""
        text: str = self.task.prompt(row, self.options)[-1].text
        return text

    def spans(self, row: Any) -> Sequence[tuple[int, int]]:
        """Finds start and end of each word, in characters of the text. Raises TypeError for a head of whole texts."""
        if self.labels.words is None:
            raise TypeError(f"task {self.task.name!r} labels whole texts, which have no words")
        return self.labels.words(row, self.options)

    def target(self, record: Record) -> Any:
        """Reads the row's label, labels or number."""
        return self.task.target(record.value, self.options).values  # type: ignore[union-attr]

    def unknown(self, records: Sequence[Record], split: str) -> list[str]:
        """Notes the labels in `records` that the head cannot answer; those rows count as wrong.

        Raises DataError where a row has another kind of target than the head answers, where such a label is one of the
        head's in another spelling, or no row has one of the head's.
        """
        if not self.spec.of_words:
            for record in records:
                require_kind(self.task.output, split, self.spec.problem, self.target(record), record.place)
        if self.spec.problem == "regression":
            return []
        known = {*self.spec.labels, self.spec.oos}
        rows: dict[str, int] = {}
        answerable = False
        for record in records:
            values = self.target(record)
            labels = {values} if isinstance(values, str) else set(values)
            answerable = answerable or not labels or bool(labels & known)
            for label in labels - known:
                rows[label] = rows.get(label, 0) + 1
        if not rows:
            return []
        names = [name for name in known if name is not None]
        require_spelling(self.task.output, split, names, rows, 0 if answerable else len(records))
        shown = ", ".join(f"{label!r} ({count} rows)" for label, count in sorted(rows.items())[:5])
        return [f"{split}: {len(rows)} labels that no training row has, always answered wrong: {shown}"]

    # --- training

    def encode(
        self, records: Sequence[Record], max_length: int, on_long: str
    ) -> tuple[list[Labelled], list[Record], list[str]]:
        return encode.encode(self, records, max_length, on_long)

    def audit(self, examples: Sequence[Labelled], records: Sequence[Record]) -> None:
        encode.audit(examples, records)

    def render(self, examples: Sequence[Labelled], records: Sequence[Record]) -> str:
        return encode.render(self, examples, records)

    def fitted(self, examples: Sequence[Labelled]) -> Self:
        return self

    def attach(self, base: Any) -> Any:
        from appkit.heads.label.loss import attach

        return attach(base, self.spec.kind, self.spec.outputs)

    def collate(self, examples: Sequence[Labelled], device: Any) -> Batch:
        return collate_labelled(examples, device, causal=self.spec.attention == "causal")

    @property
    def loss(self) -> LabelLoss:
        from appkit.heads.label.loss import LabelLoss

        return LabelLoss(self.spec.problem, self.spec.pooling, self.dropout, self.smoothing, self.weights)

    def losses(self, model: Any, batch: Batch) -> torch.Tensor:
        return self.loss.each(model, batch)

    def calibrate(self, model: Any, dev: Sequence[Record]) -> Self:
        """Chooses temperature and thresholds on the dev rows."""
        if self.spec.of_words or self.spec.problem == "regression":
            return self
        dev_windows = [encode.windows(self, record.value).windows[0] for record in dev]
        logits = np.stack(model_logits(self, model, dev_windows, "calibrating on the dev rows", True))
        return replace(self, spec=settle(self.spec, logits, [self.target(record) for record in dev]))

    def rivals(self, baselines: str) -> tuple[str, ...]:
        """Names predictors without a language model; with `all` the slow ones too, and the base writing the label."""
        quick = ("majority", "lexicon", "features") if self.spec.of_words else ("majority", "tfidf")
        slow = () if self.spec.of_words else ("embeddings",)
        return (*quick, *slow, "generative") if baselines == "all" else quick

    # --- answering in this process

    def answering(
        self, *, batch_rows: int | None = None, confidence: bool = False, constrain: bool = False
    ) -> Self:
        return self

    def shown(self, rows: Sequence[Any], count: int) -> Self:
        return self

    def measured_as(self, config: RunConfig, train: Sequence[Record]) -> Self:
        return self

    def answer(
        self, model: Any, rows: Sequence[Any], *, title: str = "reading", show: bool = True
    ) -> list[Prediction]:
        texts = [encode.windows(self, row) for row in rows]
        logits = iter(
            model_logits(self, model, [window for text in texts for window in text.windows], title, show)
        )
        return [
            read_logits(self.labels, self.spec, text, [next(logits) for _ in text.windows]) for text in texts
        ]

    def reread(self, entry: Mapping[str, Any]) -> Prediction:
        return Prediction(
            entry["text"],
            Parsed(entry["parsed"], entry["error"]),
            entry["tokens"],
            entry["truncated"],
            confidence=entry.get("confidence"),
            logits=tuple(entry.get("logits", ())),
        )

    def confidence(
        self,
        metric: Metric,
        statistics: Any,
        test: Sequence[Record],
        predictions: Sequence[Prediction],
        dev_rows: int,
    ) -> LabelCalibration | Uncalibrated:
        """Measures what the temperature that was chosen on dev does on the test rows."""
        if self.spec.of_words or self.spec.problem == "regression":
            return Uncalibrated("it is not one of a few labels that a row has")
        before = after = None
        if self.spec.problem == "single":
            logits = np.array([prediction.logits for prediction in predictions])
            before, after = calibration_error(self.spec, logits, [self.target(record) for record in test])
        return LabelCalibration(
            temperature=self.spec.temperature,
            threshold=self.spec.threshold,
            dev_rows=dev_rows,
            ece_before=before,
            ece=after,
        )

    # --- bundles and certificates

    def reference(self, model: Any) -> tuple[dict[str, Any], dict[str, str]]:
        return check.reference(self, model)

    def facts(self) -> dict[str, Any]:
        return {
            "labels": list(self.spec.labels),
            "head": self.spec.model_dump(mode="json"),
            "decoding": {"cap": 0},
            "grammar": None,
        }

    def served(self, matrix: Matrix | None, *, folded: bool) -> Self:
        return replace(self, matrix=matrix, folded=folded)

    def check_files(self, recorded: Recorded) -> Iterator[Check]:
        return check.check_files(self, recorded)

    def check_engine(
        self, engine: Checked, adapter: str, recorded: Recorded, *, exact: bool
    ) -> AsyncIterator[Check]:
        return check.check_engine(self, engine, adapter, recorded, exact=exact)

    # --- asking an engine

    def refusal(self, wishes: Wishes, ref: str) -> str | None:
        name = self.task.name
        if wishes.base:
            return f"task {name!r} is answered by a head, which the base lacks; ask without base"
        if wishes.constrain:
            return f"task {name!r} answers with its labels only; ask without constrain"
        if wishes.threshold is not None and (self.spec.of_words or self.spec.problem != "single"):
            return f"task {name!r} has no one label a row to abstain from; ask without threshold"
        return None

    def question(self, row: Any, wishes: Wishes) -> Windows:
        return encode.windows(self, row)

    async def ask(self, engine: Asked, adapter: str, question: Windows) -> Reply:
        logits = await engine_logits(engine, adapter, self.spec, self.matrix, question.windows)
        return Reply(read_logits(self.labels, self.spec, question, logits), 0)

    async def stream(self, engine: Asked, adapter: str, question: Windows) -> AsyncGenerator[str | Reply]:
        yield await self.ask(engine, adapter, question)


def _balance_weights(targets: Targets, rows: int) -> tuple[float, ...] | None:
    """Weighs classes by n / (C n_c); of several labels a row, by negatives for each positive. None: numbers."""
    if targets.problem == "regression":
        return None
    if targets.problem == "multi":
        return tuple((rows - count) / max(count, 1) for count in targets.counts)
    total = sum(targets.counts)
    seen = sum(count > 0 for count in targets.counts)
    return tuple(total / (seen * count) if count else 0.0 for count in targets.counts)
