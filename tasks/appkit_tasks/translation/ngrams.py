"""Scores many texts at once with py3langid's model: naive Bayes over byte n-grams, found by a finite automaton.

py3langid walks text by text in Python, 0.2 ms each; here the automaton takes one byte of all texts at a time, in
numpy. It reads the model that py3langid has loaded (0.4: its attributes are not promised), and a test holds the
scores against py3langid's own.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

__all__ = ["encode", "labels", "score"]


class Model(NamedTuple):
    """S states and F features of the automaton, L labels of languages."""

    transitions: np.ndarray
    """(R * 256,): next state, by row of a state and byte"""
    rows: np.ndarray
    """(S,): where the row of a state begins in `transitions`"""
    features: np.ndarray
    """(S,): the feature that ends in a state, or -1"""
    weights: np.ndarray
    """(F, L) log-likelihoods in nats"""
    priors: np.ndarray
    """(L,)"""
    labels: tuple[str, ...]
    """of the columns; a language has more than one if it is written in more scripts"""


@lru_cache(maxsize=1)
def _model() -> Model:
    import numpy as np

    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ModuleNotFoundError:
        raise ValueError("telling languages needs py3langid; pip install 'appkit[translation]'") from None
    loaded = LanguageIdentifier.from_model_file(MODEL_FILE)
    return Model(
        np.asarray(loaded.tk_nextmove),
        np.asarray(loaded.tk_row, np.int64) << 8,
        np.asarray(loaded.tk_output, np.int32),
        loaded.nb_ptc,
        np.asarray(loaded.nb_pc, np.float32),
        tuple(loaded.nb_classes),
    )


@lru_cache(maxsize=16)
def _weights(wanted: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Copies the columns of some labels: weights (F, K), priors (K,), and the label of each column."""
    import numpy as np

    model = _model()
    columns = [place for place, label in enumerate(model.labels) if label in wanted]
    weights = model.weights[:, columns].astype(np.float32)
    return weights, model.priors[columns], tuple(model.labels[place] for place in columns)


def labels() -> frozenset[str]:
    """Returns the codes of the languages that the model knows (ISO 639). Raises ValueError without py3langid."""
    return frozenset(_model().labels)


def encode(text: str) -> bytes:
    """Returns the bytes that the model reads: UTF-8 of NFC, capitals alone in lower case."""
    lowered = text.lower() if text.isupper() else text
    return unicodedata.normalize("NFC", lowered).encode("utf-8", "surrogatepass")


def score(texts: Sequence[bytes], wanted: Sequence[str]) -> np.ndarray:
    """N encoded texts and K labels that the model knows -> (N, K) log-likelihoods in nats."""
    import numpy as np

    weights, priors, columns = _weights(tuple(sorted(set(wanted))))
    place, feature = _walk(texts)
    # int32 sorts twice as fast; BATCH texts and features fit
    pairs, counts = np.unique(place * np.int32(len(weights)) + feature, return_counts=True)  # sorted by place
    place, feature = np.divmod(pairs, np.int32(len(weights)))
    damped = np.log1p(counts.astype(np.float32))
    sums = np.tile(priors, (len(texts), 1))  # (N, C)
    starts = np.flatnonzero(np.diff(place, prepend=-1))
    if len(starts):
        sums[place[starts]] += np.add.reduceat(damped[:, None] * weights[feature], starts)
    best: dict[str, np.ndarray] = {}
    for label, values in zip(columns, sums.T, strict=True):
        best[label] = np.maximum(best[label], values) if label in best else values
    return np.stack([best[label] for label in wanted], axis=1)  # (N, K)


def _walk(texts: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Finds all features of all texts: (T,) number of the text, (T,) the feature."""
    import numpy as np

    model = _model()
    order = np.argsort([-len(text) for text in texts], kind="stable").astype(np.int32)
    lengths = np.asarray([len(texts[place]) for place in order])
    longest = int(lengths.max(initial=0))
    padded = np.zeros((longest, len(texts)), np.uint8)
    for column, place in enumerate(order):
        padded[: lengths[column], column] = np.frombuffer(texts[place], np.uint8)
    states = np.zeros(len(texts), np.int64)
    places, features = [np.zeros(0, np.int32)], [np.zeros(0, np.int32)]
    # the longest texts come first, so those that go on are the first ones
    unfinished = np.searchsorted(-lengths, -np.arange(longest), side="left")
    for step, count in enumerate(unfinished):
        states = model.transitions[model.rows[states[:count]] + padded[step, :count]]
        ended = model.features[states]
        hits = np.flatnonzero(ended >= 0)
        places.append(order[hits])
        features.append(ended[hits])
    return np.concatenate(places), np.concatenate(features)
