"""A label task as a generative one: the same base learns to write the label. Label heads are measured against it."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from appkit.heads.label import Labelling
from appkit.task import Decoding, Labels, Parsed, Prediction, Task, Text, TokenLabels

__all__ = ["as_text", "read_back"]

NONE = "none"


def as_text(kind: Labelling) -> Task:
    """The task with the target as text: a label, `a, b`, a number, or `Ada: person; Oslo: place`."""

    def target(row: Any, options: Any) -> Text:
        return Text(_written(kind, row))

    return replace(
        kind.task,
        kind="generate",
        target=target,
        parse=Parsed,
        decoding=Decoding(stop=("\n",)),
        read=None,
        words=None,
    )


def _written(kind: Labelling, row: Any) -> str:
    target = kind.task.target(row, kind.options)
    if isinstance(target, TokenLabels):
        text, spans = kind.text(row), _spans(kind, row)
        found = [f"{text[start:end]}: {name}" for start, end, name in _entities(spans, target.values)]
        return "; ".join(found) or NONE
    assert isinstance(target, Labels)
    if isinstance(target.values, tuple):
        return ", ".join(target.values) or NONE
    return target.values if isinstance(target.values, str) else f"{target.values:.6g}"


def _spans(kind: Labelling, row: Any) -> Sequence[tuple[int, int]]:
    assert kind.task.words is not None
    return kind.task.words(row, kind.options)


def _entities(spans: Sequence[tuple[int, int]], tags: Sequence[str]) -> list[tuple[int, int, str]]:
    """(first character, one past the last, type) of each."""
    found: list[tuple[int, int, str]] = []
    for (start, end), tag in zip(spans, tags, strict=True):
        if tag.startswith("B-"):
            found.append((start, end, tag[2:]))
        elif tag.startswith("I-"):
            found[-1] = (found[-1][0], end, tag[2:])
    return found


def read_back(kind: Labelling, row: Any, written: Prediction) -> Prediction:
    """What was written, as the head's own prediction, sure of itself. What names no label becomes the nearest one."""
    assert kind.task.read is not None
    sure = _words(kind, row, written.text) if kind.spec.kind == "token" else _sequence(kind, written.text)
    text, value, _ = kind.task.read(row, sure, kind.spec)
    return Prediction(text, Parsed(value), written.tokens, written.truncated)


def _sequence(kind: Labelling, text: str) -> np.ndarray:
    spec = kind.spec
    if spec.problem == "regression":
        try:
            return np.array([float(text.split()[0])])
        except (ValueError, IndexError):
            return np.array([spec.shift])  # what is no number is taken for the mean
    sure = np.zeros(spec.outputs)
    if spec.problem == "multi":
        named = {part.strip() for part in text.split(",")}
        sure[[place for place, label in enumerate(spec.labels) if label in named]] = 1.0
        return sure
    nearest = difflib.get_close_matches(text, spec.labels, 1, cutoff=0.0)
    sure[spec.labels.index(nearest[0])] = 1.0
    return sure


def _words(kind: Labelling, row: Any, text: str) -> np.ndarray:
    """Each mention is looked for behind the one before it."""
    source, spans = kind.text(row), _spans(kind, row)
    index = {label: place for place, label in enumerate(kind.spec.labels)}
    tags = ["O"] * len(spans)
    behind = 0
    for part in text.split("; "):
        mention, _, name = part.rpartition(": ")
        start = source.find(mention, behind) if mention and f"B-{name}" in index else -1
        if start < 0:
            continue
        behind = start + len(mention)
        inside = [place for place, (a, b) in enumerate(spans) if a < behind and b > start]
        for number, place in enumerate(inside):
            tags[place] = f"{'I' if number else 'B'}-{name}"
    sure = np.zeros((len(spans), len(index)))
    sure[range(len(spans)), [index[tag] for tag in tags]] = 1.0
    return sure
