"""Labels of texts and of words: a linear head on the base's states, one pass over each text.

What an engine has to compute (`windows`) and what is made of its logits (`prediction`) need no torch: the gateway uses
both.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import ValidationError

from appkit.errors import BundleError, ConfigError, DataError
from appkit.heads.audit import fenced
from appkit.heads.targets import Targets, discover
from appkit.models.batch import Labelled
from appkit.task import HeadSpec, Labels, Parsed, Prediction, Task, TokenLabels

if TYPE_CHECKING:
    from appkit.config import RunConfig
    from appkit.data.rows import Record
    from appkit.heads import Head
    from appkit.models.chat import Chat

__all__ = ["Labelling", "Windows", "head_spec", "read_head_spec"]

PASS_TOKENS = 2048
"""tokens laid end to end in one forward pass without gradients"""
SHOWN = 5


@dataclass(frozen=True)
class Windows:
    """A text as a model reads it.

    windows: one, or several that overlap for a long text with labelled words. owners: the window, and the place in it,
    that each word's label comes from. cut: the end of a sequence was left out.
    """

    windows: tuple[Labelled, ...]
    owners: tuple[tuple[int, int], ...]
    cut: bool

    @property
    def tokens(self) -> int:
        return sum(len(window.tokens) for window in self.windows)


def head_spec(task: Task, config: RunConfig, targets: Targets) -> HeadSpec:
    """The head that these targets and the configuration ask for. Raises ConfigError where they do not fit."""
    chosen = config.head
    token = task.kind == "token"
    if token and chosen.pooling != "auto":
        raise ConfigError(
            f"head.pooling={chosen.pooling} has no effect on task {task.name!r}, which labels words; leave it out"
        )
    if chosen.overlap * 2 >= config.data.max_length and token:
        raise ConfigError(
            f"head.overlap={chosen.overlap} must be less than half of data.max_length={config.data.max_length}"
        )
    pooling = "none" if token else chosen.pooling
    if pooling == "auto":
        pooling = "mean" if chosen.attention == "unmasked" else "last"
    oos = getattr(config.task, "oos", None)
    if oos is not None and targets.problem != "single":
        raise ConfigError(f"task.oos={oos!r} needs rows of one label each, these are {targets.problem}")
    return HeadSpec(
        kind="token" if token else "sequence",
        problem=targets.problem,
        labels=targets.labels,
        attention=chosen.attention,
        pooling=pooling,
        max_length=config.data.max_length,
        overlap=chosen.overlap if token else 0,
        threshold=0.5 if targets.problem == "multi" else 0.0 if oos is not None else None,
        oos=oos,
        shift=targets.shift,
        scale=targets.scale,
    )


def read_head_spec(manifest: Mapping[str, Any]) -> HeadSpec:
    """The head of a bundle. Raises BundleError when there is none, or it is damaged."""
    try:
        return HeadSpec.model_validate(manifest["head"])
    except (KeyError, ValidationError) as error:
        raise BundleError(
            f"{manifest.get('name')}: the head in the manifest cannot be read ({type(error).__name__}); "
            "copy the bundle again"
        ) from None


@dataclass(frozen=True)
class Labelling:
    """A label task with one head. weights: (C,) of the classes in the loss; None: all alike."""

    task: Task
    options: Any
    chat: Chat
    spec: HeadSpec
    dropout: float = 0.0
    smoothing: float = 0.0
    weights: tuple[float, ...] | None = None

    @classmethod
    def of(cls, task: Task, config: RunConfig, chat: Chat, spec: HeadSpec) -> Labelling:
        """With the metrics that the head asks for."""
        if task.metrics_for is not None:
            metrics, primary = task.metrics_for(spec, config.task)
            task = replace(task, metrics=metrics, primary=primary)
        return cls(task, config.task, chat, spec)

    @classmethod
    def discovered(
        cls, task: Task, config: RunConfig, chat: Chat, records: Sequence[Record]
    ) -> tuple[Labelling, tuple[str, ...]]:
        """From the training rows; and what to tell the user of their labels. Raises DataError and ConfigError."""
        targets = discover(task, config.task, records)
        head = config.head
        made = cls.of(task, config, chat, head_spec(task, config, targets))
        dropout = head.dropout if head.dropout != "auto" else 0.1 if task.kind == "token" else 0.0
        weights = None if head.class_weights == "none" else _balanced(targets, len(records))
        return replace(
            made, dropout=float(dropout), smoothing=head.label_smoothing, weights=weights
        ), targets.notes

    @property
    def head(self) -> Head:
        from appkit.heads import Head
        from appkit.heads.label_loss import LabelLoss
        from appkit.models.batch import collate_labelled

        causal = self.spec.attention == "causal"
        return Head(
            "words" if self.spec.kind == "token" else "rows",
            lambda examples, device: collate_labelled(examples, device, causal=causal),
            LabelLoss(self.spec.problem, self.spec.pooling, self.dropout, self.smoothing, self.weights),
        )

    def unknown(self, records: Sequence[Record], split: str) -> list[str]:
        """A note of the labels in `records` that the head cannot answer; those rows count as wrong."""
        if self.spec.problem == "regression":
            return []
        known = {*self.spec.labels, self.spec.oos}
        found: dict[str, int] = {}
        for record in records:
            values = self.task.target(record.value, self.options).values  # type: ignore[union-attr]
            for label_loss in {values} if isinstance(values, str) else set(values):  # type: ignore[arg-type]
                if label_loss not in known:
                    found[label_loss] = found.get(label_loss, 0) + 1
        if not found:
            return []
        shown = ", ".join(f"{label_loss!r} ({count} rows)" for label_loss, count in sorted(found.items())[:5])
        return [f"{split}: {len(found)} labels that no training row has, always answered wrong: {shown}"]

    # -- texts to tokens -----------------------------------------------------------------------------------------

    def text(self, row: Any) -> str:
        """What the model reads of a row: the pack's message, without a chat template."""
        text: str = self.task.prompt(row, self.options)[-1].text
        return text

    def windows(self, row: Any) -> Windows:
        """The row's tokens. Raises DataError for a text without any."""
        text = self.text(row)
        opening = tuple(self.chat.tokenizer("")["input_ids"])  # a base's begin-of-text token, if it has one
        if self.spec.kind == "sequence":
            tokens = (*opening, *self.chat.ids(text))
            if not tokens:
                raise DataError(f"{self.task.input} is empty; give a text")
            kept = tokens[: self.spec.max_length]
            return Windows((Labelled(kept, (len(kept) - 1,)),), ((0, 0),), len(kept) < len(tokens))
        assert self.task.words is not None
        words = self.task.words(row, self.options)
        if not words:
            raise DataError(f"{self.task.input} holds no word, got {text[:40]!r}; give a text")
        return _windowed(opening, self._pieces(text, words), self.spec.max_length, self.spec.overlap)

    def _pieces(self, text: str, words: Sequence[tuple[int, int]]) -> list[tuple[int, ...]]:
        """Each word's own tokens, with the blanks before it: no token belongs to two words."""
        ends = [0, *(end for _, end in words)]
        # the first word looks like the others: a blank stands before each
        parts = [
            text[before:end] if before else " " + text[:end].lstrip()
            for before, (_, end) in zip(ends, words, strict=False)
        ]
        encoded = self.chat.tokenizer(parts, add_special_tokens=False)["input_ids"]
        return [tuple(ids) or (min(self.chat.stop),) for ids in encoded]

    def encode(
        self, records: Sequence[Record], max_length: int, on_long: str
    ) -> tuple[list[Labelled], list[Record], list[str]]:
        examples: list[Labelled] = []
        kept: list[Record] = []
        long: list[str] = []
        for record in records:
            try:
                read = self.windows(record.value)
            except DataError as error:
                raise DataError(f"{record.place}: {error}") from None
            if read.cut:
                long.append(record.place)
                if on_long == "drop":
                    continue
            for labelled in self._labelled(record.value, read):
                examples.append(labelled)
                kept.append(record)
        if long and on_long == "refuse":
            raise DataError(
                f"{len(long)} rows are longer than data.max_length={max_length} tokens; first: {long[0]}; raise "
                "data.max_length, or let data.on_long=cut keep their first tokens, or drop them: data.on_long=drop"
            )
        done = "cut" if on_long == "cut" else "dropped"
        notes = [f"{done} to {max_length} tokens: {len(long)} rows (first: {long[0]})"] if long else []
        return examples, kept, notes

    def _labelled(self, row: Any, read: Windows) -> list[Labelled]:
        """The row's windows with the labels to learn, each word's in the window that owns it."""
        target = self.task.target(row, self.options)
        if isinstance(target, TokenLabels):
            index = {label_loss: place for place, label_loss in enumerate(self.spec.labels)}
            mine: list[list[tuple[int, int]]] = [[] for _ in read.windows]
            for (window, place), tag in zip(read.owners, target.values, strict=True):
                mine[window].append((read.windows[window].places[place], index[tag]))
            return [
                Labelled(
                    window.tokens, tuple(p for p, _ in pairs), tuple(label_loss for _, label_loss in pairs)
                )
                for window, pairs in zip(read.windows, mine, strict=True)
                if pairs
            ]
        assert isinstance(target, Labels)
        return [replace(read.windows[0], labels=(self._number(target.values),))]

    def _number(self, value: str | tuple[str, ...] | float) -> Any:
        """A target as the loss takes it."""
        if self.spec.problem == "regression":
            return (float(value) - self.spec.shift) / self.spec.scale  # type: ignore[arg-type]
        if self.spec.problem == "multi":
            assert isinstance(value, tuple)
            return tuple(float(label_loss in value) for label_loss in self.spec.labels)
        return self.spec.labels.index(value)

    def audit(self, examples: Sequence[Labelled], records: Sequence[Record]) -> None:
        for example, record in zip(examples, records, strict=True):
            if not example.places or example.places[-1] >= len(example.tokens):
                raise DataError(f"{record.place}: nothing is supervised; correct or drop the row")

    def render(self, examples: Sequence[Labelled], records: Sequence[Record]) -> str:
        parts = ["# Label audit\n\nA label is learned at the token before ⟦it⟧; all else is only read.\n"]
        for example, record in list(zip(examples, records, strict=True))[:SHOWN]:
            shown = dict(zip(example.places, example.labels, strict=True))
            text = "".join(
                self.chat.tokenizer.decode([token]) + (f"⟦{self._name(shown[at])}⟧" if at in shown else "")
                for at, token in enumerate(example.tokens)
            )
            size = f"{len(example.tokens)} tokens, {example.targets} supervised"
            parts.append(f"\n## {record.place}\n\n{size}\n\n{fenced(text)}\n")
        return "".join(parts)

    def _name(self, label: Any) -> str:
        if self.spec.problem == "single":
            return str(self.spec.labels[label])
        if self.spec.problem == "multi":
            return ", ".join(name for name, share in zip(self.spec.labels, label, strict=True) if share)
        return f"{label * self.spec.scale + self.spec.shift:g}"

    # -- logits to predictions -----------------------------------------------------------------------------------

    def prediction(self, row: Any, read: Windows, logits: Sequence[np.ndarray]) -> Prediction:
        """logits: of each window, (C,) of a sequence or (places, C)."""
        assert self.task.read is not None
        if self.spec.kind == "sequence":
            found = np.asarray(logits[0], dtype=np.float64).reshape(self.spec.outputs)
            raw: tuple[float, ...] = tuple(round(float(value), 6) for value in found)
        else:
            found, raw = np.stack([logits[window][place] for window, place in read.owners]), ()
        text, value, confidence = self.task.read(row, self.spec.probabilities(found), self.spec)
        return Prediction(text, Parsed(value), read.tokens, read.cut, (), confidence, raw)

    def attach(self, base: Any) -> Any:
        from appkit.heads.label_loss import attach

        return attach(base, self.spec.kind, self.spec.outputs)

    def answer(
        self, model: Any, rows: Sequence[Any], *, title: str = "reading", show: bool = True
    ) -> list[Prediction]:
        read = [self.windows(row) for row in rows]
        logits = self._logits(model, [window for one in read for window in one.windows], title, show)
        found = iter(logits)
        return [
            self.prediction(row, one, [next(found) for _ in one.windows])
            for row, one in zip(rows, read, strict=True)
        ]

    def _logits(self, model: Any, windows: Sequence[Labelled], title: str, show: bool) -> list[np.ndarray]:
        """(C,) or (places, C) of each window, in order; windows of like length go through the model together."""
        import torch

        from appkit.heads import label_loss
        from appkit.models.batch import by_length, collate_labelled
        from appkit.progress import Progress

        model.eval()
        device = next(model.parameters()).device
        found: dict[int, np.ndarray] = {}
        with Progress(title, len(windows), "texts", show=show) as bar, torch.inference_mode():
            for group in by_length([len(window.tokens) for window in windows], PASS_TOKENS):
                batch = collate_labelled(
                    [windows[one] for one in group], device, causal=self.spec.attention == "causal"
                )
                logits = label_loss.logits(model, batch, self.spec.pooling).cpu().numpy()
                if self.spec.kind == "sequence":
                    parts = list(logits)
                else:
                    parts = np.split(logits, np.cumsum([windows[one].targets for one in group])[:-1])
                found |= dict(zip(group, parts, strict=True))
                bar.advance(len(group))
        return [found[one] for one in range(len(windows))]

    # -- after training ------------------------------------------------------------------------------------------

    def settled(self, model: Any, dev: Sequence[Record]) -> Self:
        """With temperature and thresholds chosen on the dev rows."""
        if self.spec.kind == "token" or self.spec.problem == "regression":
            return self
        from appkit.stats.calibration import settle

        read = [self.windows(record.value) for record in dev]
        logits = np.stack(
            self._logits(model, [one.windows[0] for one in read], "calibrating on the dev rows", True)
        )
        targets = [self.task.target(record.value, self.options).values for record in dev]  # type: ignore[union-attr]
        return replace(self, spec=settle(self.spec, logits, targets))

    def reference(self, model: Any) -> tuple[dict[str, Any], dict[str, str]]:
        """What the live trained model gives for the pack's examples, never for the user's data.

        For N windows laid end to end: `tokens` (T,) int64; `lengths`, `counts` (N,) int64, the tokens and the labelled
        places of each; `places` (L,) int64; `adapter`, `base` (N or L, C) fp32, logits with the adapter on and off,
        both times under the trained head; and `reference_tensors` of them.
        """
        import json

        import torch

        from appkit.heads import label_loss
        from appkit.heads.reference import reference_tensors
        from appkit.models.batch import collate_labelled

        rows = [self.task.input_row(text) for text in self.task.examples]
        windows = [window for row in rows for window in self.windows(row).windows]
        device = next(model.parameters()).device
        batch = collate_labelled(windows, device, causal=self.spec.attention == "causal")

        @torch.inference_mode()
        def logits() -> dict[str, torch.Tensor]:
            on = label_loss.logits(model, batch, self.spec.pooling)
            with model.disable_adapter():
                off = label_loss.logits(model, batch, self.spec.pooling)
            return {"adapter": on.float().cpu().clone(), "base": off.float().cpu().clone()}

        tensors = {
            "tokens": torch.tensor([token for window in windows for token in window.tokens]),
            "lengths": torch.tensor([len(window.tokens) for window in windows]),
            "counts": torch.tensor([window.targets for window in windows]),
            "places": torch.tensor([place for window in windows for place in window.places]),
            **reference_tensors(model, logits),
        }
        if torch.equal(tensors["adapter"], tensors["base"]):
            raise BundleError("the adapter changes nothing: its logits equal the base's; train longer")
        facts = {"dtype": str(next(model.parameters()).dtype), "rows": str(len(rows))}
        return tensors, facts | {"labels": json.dumps(self.spec.labels, ensure_ascii=False)}

    def facts(self) -> dict[str, Any]:
        return {
            "labels": list(self.spec.labels),
            "head": self.spec.model_dump(mode="json"),
            "decoding": {"cap": 0},
            "grammar": None,
        }


def _balanced(targets: Targets, rows: int) -> tuple[float, ...] | None:
    """Weights n / (C n_c); of several labels a row, negatives for each positive. None: of numbers."""
    if targets.problem == "regression":
        return None
    if targets.problem == "multi":
        return tuple((rows - count) / max(count, 1) for count in targets.counts)
    total = sum(targets.counts)
    seen = sum(count > 0 for count in targets.counts)
    return tuple(total / (seen * count) if count else 0.0 for count in targets.counts)


def _windowed(
    opening: tuple[int, ...], pieces: Sequence[tuple[int, ...]], max_length: int, overlap: int
) -> Windows:
    """Words as tokens -> windows of at most `max_length` tokens; a word belongs where it has most context."""
    room = max_length - len(opening)
    pieces = [piece[:room] for piece in pieces]  # one word longer than a window keeps its beginning
    ends = list(accumulate(len(piece) for piece in pieces))
    starts = [0, *ends[:-1]]
    spans: list[tuple[int, int]] = []  # (first word, one past the last) of each window
    first = 0
    while True:
        last = bisect_right(ends, starts[first] + room)
        spans.append((first, last))
        if last == len(pieces):
            break
        # back by `overlap` tokens, but always ahead of the window before
        first = max(bisect_right(starts, starts[last] - overlap) - 1, first + 1)
        first = min(first, last)
    windows = []
    for begin, end in spans:
        tokens = [*opening, *(token for piece in pieces[begin:end] for token in piece)]
        places = tuple(len(opening) + starts[word] - starts[begin] for word in range(begin, end))
        windows.append(Labelled(tuple(tokens), places))
    owners: list[tuple[int, int]] = []
    window = 0
    for word in range(len(pieces)):
        # on to the next window once the word is nearer to this one's end than to that one's begin
        while window + 1 < len(spans) and (
            word >= spans[window][1]
            or (
                word >= spans[window + 1][0]
                and ends[spans[window][1] - 1] - ends[word] < starts[word] - starts[spans[window + 1][0]]
            )
        ):
            window += 1
        owners.append((window, word - spans[window][0]))
    return Windows(tuple(windows), tuple(owners), False)
