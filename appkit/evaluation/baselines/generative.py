"""Generative baseline: the same base learns to write the label, and label heads are measured against it."""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import Any

import numpy as np

from appkit.heads.label.answer import read_probabilities
from appkit.heads.label.head import LinearHead
from appkit.task import Decoding, HeadSpec, Labels, Parsed, Prediction, Task, Text, TextHead, TokenLabels

__all__ = ["as_text", "read_back"]

NONE = "none"


def as_text(head: LinearHead) -> Task:
    """Make the task whose target is a text: a label, `a, b`, a number, or `Ada: person; Oslo: place`."""

    def target(row: Any, options: Any) -> Text:
        return Text(_write_target(head, row))

    return replace(head.task, target=target, head=TextHead(parse=Parsed, decoding=Decoding(stop=("\n",))))


def _write_target(head: LinearHead, row: Any) -> str:
    target = head.task.target(row, head.options)
    if isinstance(target, TokenLabels):
        text, spans = head.text(row), head.spans(row)
        mentions = [
            f"{text[spans[begin][0] : spans[end - 1][1]]}: {name}"
            for begin, end, name in head.labels.tagging.entities(target.values)
        ]
        return "; ".join(mentions) or NONE
    assert isinstance(target, Labels)
    if isinstance(target.values, tuple):
        return ", ".join(target.values) or NONE
    return target.values if isinstance(target.values, str) else f"{target.values:.6g}"


def read_back(head: LinearHead, row: Any, written: Prediction) -> Prediction:
    """Read a written answer as the head's prediction with probabilities 0 and 1; of one label the nearest counts."""
    sure = (
        _read_tags(head, row, written.text) if head.spec.of_words else _read_labels(head.spec, written.text)
    )
    prediction = read_probabilities(head.labels, head.spec, row, sure)
    return replace(prediction, tokens=written.tokens, truncated=written.truncated, confidence=None)


def _read_labels(spec: HeadSpec, text: str) -> np.ndarray:
    """Read the labels that a text names: (C,), 1 at each, or the number of a regression."""
    if spec.problem == "regression":
        try:
            return np.array([float(text.split()[0])])
        except (ValueError, IndexError):
            return np.array([spec.shift])  # a text that is no number counts as the mean
    sure = np.zeros(spec.outputs)
    if spec.problem == "multi":
        named = {part.strip() for part in text.split(",")}
        sure[[place for place, label in enumerate(spec.labels) if label in named]] = 1.0
        return sure
    nearest = difflib.get_close_matches(text, spec.labels, 1, cutoff=0.0)
    sure[spec.labels.index(nearest[0])] = 1.0
    return sure


def _read_tags(head: LinearHead, row: Any, text: str) -> np.ndarray:
    """Read the tag of each word: (W, C), 1 at the tag. Each mention is searched after the one before it."""
    source, spans, tagging = head.text(row), head.spans(row), head.labels.tagging
    index = {label: place for place, label in enumerate(head.spec.labels)}
    tags = [tagging.outside] * len(spans)
    behind = 0
    for part in text.split("; "):
        mention, _, name = part.rpartition(": ")
        start = source.find(mention, behind) if mention and f"{tagging.begin}{name}" in index else -1
        if start < 0:
            continue
        behind = start + len(mention)
        inside = [place for place, (a, b) in enumerate(spans) if a < behind and b > start]
        for number, place in enumerate(inside):
            tags[place] = f"{tagging.inside if number else tagging.begin}{name}"
    sure = np.zeros((len(spans), len(index)))
    sure[range(len(spans)), [index[tag] for tag in tags]] = 1.0
    return sure
