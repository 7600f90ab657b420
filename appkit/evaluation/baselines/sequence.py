"""Baselines of sequence tasks: label shares, TF-IDF, sentence embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from appkit.errors import DataError, shortened
from appkit.evaluation.baselines import linear
from appkit.models import embedder
from appkit.task import HeadSpec

__all__ = ["SEQUENCE", "Target", "predict_sequence"]

Target = str | tuple[str, ...] | float
"""one label, any number of labels, or a number"""

Rows = Sequence[tuple[str, Target]]

SEQUENCE = ("majority", "tfidf", "embeddings")

WORDS = 50_000
PIECES = 50_000
"""features of each kind, at most, the most frequent ones: more cost time and change little"""


def predict_sequence(
    name: Literal["majority", "tfidf", "embeddings"],
    train: Rows,
    dev: Rows,
    texts: Sequence[str],
    head: HeadSpec,
    *,
    show: bool = True,
) -> np.ndarray:
    """Fit a baseline on train and predict N texts: (N, C) probabilities of `head.labels`, or (N, 1) numbers.

    majority: the shares of the labels in train, for every text (a regression: their mean).
    tfidf: logistic regression on TF-IDF of words, word pairs and pieces of words (a regression: ridge regression).
    embeddings: the same on MiniLM's sentence embeddings.

    The strength of a regression's penalty is chosen on dev; nothing else is learned from dev. Labels that the head does
    not have are left out.

    Raises:
        ValueError: no row of train has a label of the head, or the name is unknown.
        DataError: a row of a regression has no number.
        AppkitError: MiniLM cannot be fetched.
    """
    if name not in SEQUENCE:
        raise ValueError(f"no baseline {name!r} for sequences; known: {', '.join(SEQUENCE)}")
    train_texts, train_targets = _select_known(train, head)
    dev_texts, dev_targets = _select_known(dev, head)
    if not train_texts:
        raise ValueError(f"none of {len(train)} training rows has a label of the head: {list(head.labels)}")
    if not texts:
        return np.zeros((0, head.outputs))
    if name == "majority":
        return np.repeat(train_targets.mean(0, keepdims=True), len(texts), 0)
    grid: Sequence[float] = linear.GRID
    if name == "tfidf":
        x, x_dev, x_test = _weigh_words(train_texts, dev_texts, texts)
    else:
        vectors = embedder.embed([*train_texts, *dev_texts, *texts], show=show)
        x, x_dev, x_test = np.split(vectors, np.cumsum([len(train_texts), len(dev_texts)]))
        grid = grid[:3]  # the weakest penalty was never the best for 384 dense features
    return linear.fit_predict(x, train_targets, x_dev, dev_targets, x_test, head.problem, grid)


def _select_known(rows: Rows, head: HeadSpec) -> tuple[list[str], np.ndarray]:
    """Select the rows that have a label of the head; return texts and targets (N, C), 1 where a label applies.

    The targets of a regression are (N, 1) numbers.
    """
    if head.problem == "regression":
        numbers = [_read_number(target) for _, target in rows]
        return [text for text, _ in rows], np.array(numbers).reshape(-1, 1)
    place = {label: number for number, label in enumerate(head.labels)}
    usable = [row for row in rows if head.problem == "multi" or row[1] in place]
    targets = np.zeros((len(usable), len(place)))
    for number, (_, target) in enumerate(usable):
        for label in target if isinstance(target, tuple) else (target,):
            if label in place:
                targets[number, place[label]] = 1
    return [text for text, _ in usable], targets


def _read_number(target: Target) -> float:
    try:
        return float(target)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise DataError(
            f"a number is learned, and a training or dev row has {shortened(target)}; correct the row or leave it out"
        ) from None


def _weigh_words(train: Sequence[str], dev: Sequence[str], test: Sequence[str]) -> tuple[Any, Any, Any]:
    """Compute sparse TF-IDF weights of words and of their pieces, each of length 1; fitted on train."""
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import TfidfVectorizer

    both = {"sublinear_tf": True, "dtype": np.float32}
    words = TfidfVectorizer(ngram_range=(1, 2), max_features=WORDS, token_pattern=r"(?u)\w+|[^\w\s]", **both)
    pieces = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), max_features=PIECES, **both)
    fitted = [kind.fit(train) for kind in (words, pieces)]
    x, x_dev, x_test = (
        hstack([kind.transform(texts) for kind in fitted], format="csr") if texts else None  # no dev rows
        for texts in (train, dev, test)
    )
    return x, x_dev, x_test
