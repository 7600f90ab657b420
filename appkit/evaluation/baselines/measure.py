"""Label tasks beside what needs no language model: baselines fitted on the same rows, judged by the same metrics."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from appkit.data.rows import Record
from appkit.evaluation.scores import Evaluation, scored
from appkit.heads.label import Labelling
from appkit.stats.calibration import LEAST, best_threshold
from appkit.task import HeadSpec, Labels, Parsed, Prediction, TokenLabels

__all__ = ["measured", "names"]

QUICK = ("majority", "tfidf", "lexicon", "features")


def names(kind: Labelling, baselines: str) -> tuple[str, ...]:
    """Those of `eval.baselines` that need no language model."""
    from appkit.evaluation.baselines import SEQUENCE, TOKEN

    known = TOKEN if kind.spec.kind == "token" else SEQUENCE
    return tuple(name for name in known if baselines == "all" or name in QUICK)


def measured(
    name: str,
    kind: Labelling,
    train: Sequence[Record],
    dev: Sequence[Record],
    test: Sequence[Record],
    resamples: int,
) -> Evaluation:
    """Fit on train, choose on dev, answer test."""
    from appkit.evaluation.baselines import predict_sequence, predict_tokens

    began = time.monotonic()
    rows = [record.value for record in test]
    found: Sequence[np.ndarray]
    if kind.spec.kind == "token":
        words = [_words(kind, row) for row in rows]
        found = predict_tokens(name, _tagged(kind, train), _tagged(kind, dev), words, kind.spec)  # type: ignore[arg-type]
    else:
        # the dev rows are answered too: thresholds are chosen on them, as the head's are
        chosen = _labelled(kind, dev)
        texts = [text for text, _ in chosen] + [kind.text(row) for row in rows]
        both = predict_sequence(name, _labelled(kind, train), chosen, texts, kind.spec)  # type: ignore[arg-type]
        kind = replace(
            kind, spec=_threshold(kind.spec, both[: len(chosen)], [target for _, target in chosen])
        )
        found = list(both[len(chosen) :])
    assert kind.task.read is not None
    predictions = []
    for row, probabilities in zip(rows, found, strict=True):
        text, value, confidence = kind.task.read(row, np.asarray(probabilities), kind.spec)
        predictions.append(Prediction(text, Parsed(value), 0, False, (), confidence))
    return scored(name, kind.task, test, predictions, time.monotonic() - began, resamples)


def _threshold(spec: HeadSpec, probabilities: np.ndarray, targets: Sequence[Any]) -> HeadSpec:
    """The head with the threshold that suits these probabilities of the dev rows, (N, C)."""
    if spec.threshold is None or len(targets) < LEAST:
        return spec
    return spec.model_copy(update={"threshold": best_threshold(spec, probabilities, targets)})


def _labelled(kind: Labelling, records: Sequence[Record]) -> list[tuple[str, Any]]:
    pairs = []
    for record in records:
        target = kind.task.target(record.value, kind.options)
        assert isinstance(target, Labels)
        pairs.append((kind.text(record.value), target.values))
    return pairs


def _tagged(kind: Labelling, records: Sequence[Record]) -> list[tuple[list[str], tuple[str, ...]]]:
    pairs = []
    for record in records:
        target = kind.task.target(record.value, kind.options)
        assert isinstance(target, TokenLabels)
        pairs.append((_words(kind, record.value), target.values))
    return pairs


def _words(kind: Labelling, row: Any) -> list[str]:
    assert kind.task.words is not None
    text = kind.text(row)
    return [text[start:end] for start, end in kind.task.words(row, kind.options)]
