"""Measures a baseline of a label task: fitted on the same rows, scored by the same metrics."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from appkit.data.rows import Record
from appkit.evaluation.baselines import predict_sequence, predict_tokens
from appkit.evaluation.scores import Evaluation, scored
from appkit.heads.label.answer import read_probabilities
from appkit.heads.label.head import LinearHead
from appkit.stats.calibration import LEAST, best_threshold
from appkit.task import HeadSpec

__all__ = ["measure"]


def measure(
    name: str,
    head: LinearHead,
    train: Sequence[Record],
    dev: Sequence[Record],
    test: Sequence[Record],
    resamples: int,
) -> Evaluation:
    """Fit the baseline `name` on train, choose its strength and threshold on dev, and score its answers to test."""
    began = time.monotonic()
    rows = [record.value for record in test]
    spec = head.spec
    probabilities: Sequence[np.ndarray]
    if spec.of_words:
        words = [_split_words(head, row) for row in rows]
        probabilities = predict_tokens(
            name,  # type: ignore[arg-type]
            _list_tagged(head, train),
            _list_tagged(head, dev),
            words,
            spec,
            head.labels.tagging,
        )
    else:
        # the dev rows are answered too: like the head's, thresholds are chosen on them
        chosen = _list_labelled(head, dev)
        texts = [text for text, _ in chosen] + [head.text(row) for row in rows]
        both = predict_sequence(name, _list_labelled(head, train), chosen, texts, spec)  # type: ignore[arg-type]
        spec = _choose_threshold(spec, both[: len(chosen)], [target for _, target in chosen])
        probabilities = list(both[len(chosen) :])
    predictions = [
        read_probabilities(head.labels, spec, row, shares)
        for row, shares in zip(rows, probabilities, strict=True)
    ]
    return scored(name, head.task, test, predictions, time.monotonic() - began, resamples)


def _choose_threshold(spec: HeadSpec, probabilities: np.ndarray, targets: Sequence[Any]) -> HeadSpec:
    """Choose the head's threshold for these probabilities (N, C) of the dev rows."""
    if spec.threshold is None or len(targets) < LEAST:
        return spec
    return spec.model_copy(update={"threshold": best_threshold(spec, probabilities, targets)})


def _list_labelled(head: LinearHead, records: Sequence[Record]) -> list[tuple[str, Any]]:
    return [(head.text(record.value), head.target(record)) for record in records]


def _list_tagged(head: LinearHead, records: Sequence[Record]) -> list[tuple[list[str], tuple[str, ...]]]:
    return [(_split_words(head, record.value), head.target(record)) for record in records]


def _split_words(head: LinearHead, row: Any) -> list[str]:
    text = head.text(row)
    return [text[start:end] for start, end in head.spans(row)]
