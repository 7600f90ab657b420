"""Turns texts into tokens with labelled places, and the rows' targets into what the loss takes.

What an engine has to compute (`Windows`) needs no torch: the gateway makes them too.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Protocol

from appkit.errors import DataError
from appkit.heads.audit import SHOWN, fenced
from appkit.models.batch import Labelled
from appkit.task import HeadSpec, Labels, TokenLabels

if TYPE_CHECKING:
    import torch

    from appkit.data.rows import Record
    from appkit.models.batch import Batch
    from appkit.models.chat import Chat
    from appkit.task import LabelHead, Task

__all__ = ["Labeller", "Windows", "audit", "encode", "render", "windows"]


class Labeller(Protocol):
    """The head, as far as texts are read for it and its logits are computed."""

    @property
    def task(self) -> Task: ...

    @property
    def labels(self) -> LabelHead: ...

    @property
    def options(self) -> Any: ...

    @property
    def chat(self) -> Chat: ...

    @property
    def spec(self) -> HeadSpec: ...

    def text(self, row: Any) -> str: ...

    def collate(self, examples: Sequence[Labelled], device: torch.device | str) -> Batch: ...


@dataclass(frozen=True)
class Windows:
    """A row's text as a model reads it, and as an engine is asked for it."""

    row: Any
    windows: tuple[Labelled, ...]
    """one, or several that overlap for a long text with labelled words"""
    owners: tuple[tuple[int, int], ...]
    """the window, and the place in it, that each word's label comes from"""
    cut: bool
    """the end of a text was left out"""

    @property
    def tokens(self) -> tuple[int, ...]:
        return tuple(token for window in self.windows for token in window.tokens)

    @property
    def longest(self) -> int:
        return max(len(window.tokens) for window in self.windows)

    @property
    def requests(self) -> int:
        return len(self.windows)

    @property
    def cap(self) -> int:
        return 0

    def limited(self, cap: int) -> Windows:
        return self


def windows(head: Labeller, row: Any) -> Windows:
    """The row's tokens. Raises DataError for a text without any."""
    task, spec, text = head.task, head.spec, head.text(row)
    opening = tuple(head.chat.tokenizer("")["input_ids"])  # a base's begin-of-text token, if it has one
    if head.labels.words is None:
        tokens = (*opening, *head.chat.ids(text))
        if not tokens:
            raise DataError(f"{task.input} is empty; give a text")
        read = tokens[: spec.max_length]
        return Windows(row, (Labelled(read, (len(read) - 1,)),), ((0, 0),), len(read) < len(tokens))
    words = head.labels.words(row, head.options)
    if not words:
        raise DataError(f"{task.input} holds no word, got {text[:40]!r}; give a text")
    made, owners = _windowed(opening, _pieces(head, text, words), spec.max_length, spec.overlap)
    return Windows(row, made, owners, False)


def _pieces(head: Labeller, text: str, words: Sequence[tuple[int, int]]) -> list[tuple[int, ...]]:
    """Each word's own tokens, with the blanks before it: no token belongs to two words."""
    ends = [0, *(end for _, end in words)]
    # the first word looks like the others: a blank stands before each
    parts = [
        text[before:end] if before else " " + text[:end].lstrip()
        for before, (_, end) in zip(ends, words, strict=False)
    ]
    encoded = head.chat.tokenizer(parts, add_special_tokens=False)["input_ids"]
    return [tuple(ids) or (min(head.chat.stop),) for ids in encoded]


def encode(
    head: Labeller, records: Sequence[Record], max_length: int, on_long: str
) -> tuple[list[Labelled], list[Record], list[str]]:
    """Records to labelled windows; gives these, the record of each, and a line for what was cut or dropped."""
    examples: list[Labelled] = []
    sources: list[Record] = []
    long: list[str] = []
    for record in records:
        try:
            read = windows(head, record.value)
        except DataError as error:
            raise DataError(f"{record.place}: {error}") from None
        if read.cut:
            long.append(record.place)
            if on_long == "drop":
                continue
        for labelled in _labelled(head, read):
            examples.append(labelled)
            sources.append(record)
    if long and on_long == "refuse":
        raise DataError(
            f"{len(long)} rows are longer than data.max_length={max_length} tokens; first: {long[0]}; raise "
            "data.max_length, or let data.on_long=cut keep their first tokens, or drop them: data.on_long=drop"
        )
    done = "cut" if on_long == "cut" else "dropped"
    notes = [f"{done} to {max_length} tokens: {len(long)} rows (first: {long[0]})"] if long else []
    return examples, sources, notes


def _labelled(head: Labeller, read: Windows) -> list[Labelled]:
    """The row's windows with the labels to learn, each word's in the window that owns it."""
    target = head.task.target(read.row, head.options)
    if isinstance(target, TokenLabels):
        index = {label: place for place, label in enumerate(head.spec.labels)}
        pairs: list[list[tuple[int, int]]] = [[] for _ in read.windows]
        for (window, place), tag in zip(read.owners, target.values, strict=True):
            pairs[window].append((read.windows[window].places[place], index[tag]))
        return [
            Labelled(window.tokens, tuple(p for p, _ in own), tuple(label for _, label in own))
            for window, own in zip(read.windows, pairs, strict=True)
            if own
        ]
    assert isinstance(target, Labels)
    return [replace(read.windows[0], labels=(_number(head.spec, target.values),))]


def _number(spec: HeadSpec, value: str | tuple[str, ...] | float) -> Any:
    """A target as the loss takes it."""
    if spec.problem == "regression":
        return (float(value) - spec.shift) / spec.scale  # type: ignore[arg-type]
    if spec.problem == "multi":
        assert isinstance(value, tuple)
        return tuple(float(label in value) for label in spec.labels)
    return spec.labels.index(value)


def audit(examples: Sequence[Labelled], records: Sequence[Record]) -> None:
    """Checks that every example has a labelled place. Raises DataError."""
    for example, record in zip(examples, records, strict=True):
        if not example.places or example.places[-1] >= len(example.tokens):
            raise DataError(f"{record.place}: nothing is supervised; correct or drop the row")


def render(head: Labeller, examples: Sequence[Labelled], records: Sequence[Record]) -> str:
    """A few rows as text, each label behind the token that it is learned at."""
    parts = ["# Label audit\n\nA label is learned at the token before ⟦it⟧; all else is only read.\n"]
    for example, record in list(zip(examples, records, strict=True))[:SHOWN]:
        shown = dict(zip(example.places, example.labels, strict=True))
        text = "".join(
            head.chat.tokenizer.decode([token]) + (f"⟦{_name(head.spec, shown[at])}⟧" if at in shown else "")
            for at, token in enumerate(example.tokens)
        )
        size = f"{len(example.tokens)} tokens, {example.targets} supervised"
        parts.append(f"\n## {record.place}\n\n{size}\n\n{fenced(text)}\n")
    return "".join(parts)


def _name(spec: HeadSpec, label: Any) -> str:
    if spec.problem == "single":
        return str(spec.labels[label])
    if spec.problem == "multi":
        return ", ".join(name for name, share in zip(spec.labels, label, strict=True) if share)
    return f"{label * spec.scale + spec.shift:g}"


def _windowed(
    opening: tuple[int, ...], pieces: Sequence[tuple[int, ...]], max_length: int, overlap: int
) -> tuple[tuple[Labelled, ...], tuple[tuple[int, int], ...]]:
    """Words as tokens -> windows of at most `max_length` tokens, and the owner of each word.

    A word belongs where it has most context.
    """
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
    made = []
    for begin, end in spans:
        tokens = [*opening, *(token for piece in pieces[begin:end] for token in piece)]
        places = tuple(len(opening) + starts[word] - starts[begin] for word in range(begin, end))
        made.append(Labelled(tuple(tokens), places))
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
    return tuple(made), tuple(owners)
