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
    """Describes the head as reading texts and computing logits use it."""

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
    """Holds a row's text as a model or an engine reads it."""

    row: Any
    """a value of the pack's schema"""
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
    """Tokenizes a row's text into windows. Raises DataError for a text without tokens."""
    task, spec, text = head.task, head.spec, head.text(row)
    opening = tuple(head.chat.tokenizer("")["input_ids"])  # a base's begin-of-text token, if it has one
    if head.labels.words is None:
        tokens = (*opening, *head.chat.ids(text))
        if not tokens:
            raise DataError(f"{task.input} is empty; give a text")
        first_tokens = tokens[: spec.max_length]
        return Windows(
            row,
            (Labelled(first_tokens, (len(first_tokens) - 1,)),),
            ((0, 0),),
            len(first_tokens) < len(tokens),
        )
    words = head.labels.words(row, head.options)
    if not words:
        raise DataError(f"{task.input} holds no word, got {text[:40]!r}; give a text")
    parts, owners = _split_windows(opening, _tokenize_words(head, text, words), spec.max_length, spec.overlap)
    return Windows(row, parts, owners, False)


def _tokenize_words(head: Labeller, text: str, words: Sequence[tuple[int, int]]) -> list[tuple[int, ...]]:
    """Tokenizes each word with the blanks before it: no token belongs to two words."""
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
    """Turns records into labelled windows; returns these, the record of each, and a line for rows cut or dropped."""
    examples: list[Labelled] = []
    sources: list[Record] = []
    long: list[str] = []
    for record in records:
        try:
            row_windows = windows(head, record.value)
        except DataError as error:
            raise DataError(f"{record.place}: {error}") from None
        if row_windows.cut:
            long.append(record.place)
            if on_long == "drop":
                continue
        for labelled in _add_labels(head, row_windows):
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


def _add_labels(head: Labeller, row_windows: Windows) -> list[Labelled]:
    """Adds the labels to learn to a row's windows, each word's in the window that owns it."""
    target = head.task.target(row_windows.row, head.options)
    if isinstance(target, TokenLabels):
        index = {label: place for place, label in enumerate(head.spec.labels)}
        pairs: list[list[tuple[int, int]]] = [[] for _ in row_windows.windows]
        for (window, place), tag in zip(row_windows.owners, target.values, strict=True):
            pairs[window].append((row_windows.windows[window].places[place], index[tag]))
        return [
            Labelled(
                window.tokens, tuple(p for p, _ in window_labels), tuple(label for _, label in window_labels)
            )
            for window, window_labels in zip(row_windows.windows, pairs, strict=True)
            if window_labels
        ]
    assert isinstance(target, Labels)
    return [replace(row_windows.windows[0], labels=(_encode_target(head.spec, target.values),))]


def _encode_target(spec: HeadSpec, value: str | tuple[str, ...] | float) -> Any:
    """Turns a target into what the loss takes: an index, a vector of 0 and 1, or a standardized number."""
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
    """Renders a few rows as text, each label behind the token that it is learned at."""
    parts = ["# Label audit\n\nA label is learned at the token before ⟦it⟧; all else is only read.\n"]
    for example, record in list(zip(examples, records, strict=True))[:SHOWN]:
        labels_at = dict(zip(example.places, example.labels, strict=True))
        text = "".join(
            head.chat.tokenizer.decode([token])
            + (f"⟦{_format_label(head.spec, labels_at[at])}⟧" if at in labels_at else "")
            for at, token in enumerate(example.tokens)
        )
        size = f"{len(example.tokens)} tokens, {example.targets} supervised"
        parts.append(f"\n## {record.place}\n\n{size}\n\n{fenced(text)}\n")
    return "".join(parts)


def _format_label(spec: HeadSpec, label: Any) -> str:
    if spec.problem == "single":
        return str(spec.labels[label])
    if spec.problem == "multi":
        return ", ".join(name for name, share in zip(spec.labels, label, strict=True) if share)
    return f"{label * spec.scale + spec.shift:g}"


def _split_windows(
    opening: tuple[int, ...], pieces: Sequence[tuple[int, ...]], max_length: int, overlap: int
) -> tuple[tuple[Labelled, ...], tuple[tuple[int, int], ...]]:
    """Splits words, as tokens, into windows of at most `max_length` tokens; returns the owner of each word too.

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
    labelled = []
    for begin, end in spans:
        tokens = [*opening, *(token for piece in pieces[begin:end] for token in piece)]
        places = tuple(len(opening) + starts[word] - starts[begin] for word in range(begin, end))
        labelled.append(Labelled(tuple(tokens), places))
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
    return tuple(labelled), tuple(owners)
