"""Baselines of token tasks: the shares of the tags, names known by heart, a classifier of single words."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal

import numpy as np

from appkit.evaluation.baselines import linear
from appkit.task import HeadSpec, Tagging

__all__ = ["TOKEN", "predict_tokens"]

TOKEN = ("majority", "lexicon", "features")

Rows = Sequence[tuple[Sequence[str], Sequence[str]]]
"""words of a row, and the tag of each"""

EDGE = "|"
"""stands where a sentence has no neighbour; no word holds a blank, so no feature is another's"""

FEW = 1000
"""words"""

GRID = (1.0, 3.0, 10.0, 30.0)
"""inverse strengths of the penalty"""


def predict_tokens(
    name: Literal["majority", "lexicon", "features"],
    train: Rows,
    dev: Rows,
    rows: Sequence[Sequence[str]],
    head: HeadSpec,
    tagging: Tagging,
) -> list[np.ndarray]:
    """train and dev (words, tags), rows of W words -> (W, C) probabilities of `head.labels` for each.

    majority: the shares of the tags in train, so the one outside of entities for every word.
    lexicon: the longest stretch of words that was an entity in train, in most of its places there, is one again.
    features: logistic regression on the word, its shape and ends, and its neighbours.

    How strongly the regression is regularized is chosen on dev; nothing else of dev is learned. Tags that the head has
    no name for are left out.

    Raises ValueError where no word of train has a tag of the head, or the name is unknown.
    """
    if name not in TOKEN:
        raise ValueError(f"no baseline {name!r} for words; known: {', '.join(TOKEN)}")
    place = {label: number for number, label in enumerate(head.labels)}
    counts = Counter(tag for _, tags in train for tag in tags if tag in place)
    if not counts:
        raise ValueError(f"none of {len(train)} training rows has a tag of the head: {list(head.labels)}")
    if name == "majority":
        shares = np.array([counts[label] for label in head.labels]) / counts.total()
        return [np.tile(shares, (len(words), 1)) for words in rows]
    if name == "lexicon":
        lexicon = _lexicon(train, tagging)
        outside = tagging.outside
        return [_one_hot(_looked_up(words, lexicon, outside), place, outside) for words in rows]
    if not any(rows):
        return [np.zeros((0, len(place))) for _ in rows]
    return _classified(train, dev, rows, place, tagging.outside)


# --- names known by heart ---------------------------------------------------------------------------------

Lexicon = dict[tuple[str, ...], tuple[str, ...]]
"""words of an entity -> their tags"""


def _lexicon(train: Rows, tagging: Tagging) -> Lexicon:
    """The stretches of words that are an entity in at least half of their places, with their most frequent tags."""
    named: defaultdict[tuple[str, ...], Counter[tuple[str, ...]]] = defaultdict(Counter)
    for words, tags in train:
        for begin, end, _ in tagging.entities(tags):
            named[tuple(words[begin:end])][tuple(tags[begin:end])] += 1
    places: Counter[tuple[str, ...]] = Counter()
    longest = max(map(len, named), default=0)
    for words, _ in train:
        for begin in range(len(words)):
            stretches = (tuple(words[begin : begin + size]) for size in range(1, longest + 1))
            places.update({stretch for stretch in stretches if stretch in named})
    return {
        words: tags.most_common(1)[0][0] for words, tags in named.items() if 2 * tags.total() >= places[words]
    }


def _looked_up(words: Sequence[str], lexicon: Lexicon, outside: str) -> list[str]:
    """The tag of each word, from the left, the longest entity first."""
    tags: list[str] = []
    longest = max(map(len, lexicon), default=0)
    while len(tags) < len(words):
        begin = len(tags)
        stretches = (tuple(words[begin : begin + size]) for size in range(longest, 0, -1))
        tags += next((lexicon[stretch] for stretch in stretches if stretch in lexicon), (outside,))
    return tags


def _one_hot(tags: Sequence[str], place: Mapping[str, int], outside: str) -> np.ndarray:
    """W tags -> (W, C); a tag that the head has no name for is outside."""
    found = np.zeros((len(tags), len(place)))
    found[np.arange(len(tags)), [place.get(tag, place[outside]) for tag in tags]] = 1
    return found


# --- a classifier of words --------------------------------------------------------------------------------


def _classified(
    train: Rows, dev: Rows, rows: Sequence[Sequence[str]], place: Mapping[str, int], outside: str
) -> list[np.ndarray]:
    from sklearn.feature_extraction.text import CountVectorizer

    known, known_dev = (
        [
            (features, place[tag])
            for words, tags in side
            for features, tag in zip(_features(words), tags, strict=True)
            if tag in place
        ]
        for side in (train, dev)
    )
    # a feature of one word says little and costs as much as any other; of few words each one counts
    vectorizer = CountVectorizer(
        analyzer=_as_it_is, binary=True, dtype=np.float32, min_df=2 if len(known) > FEW else 1
    )
    x = vectorizer.fit_transform([features for features, _ in known])
    eye = np.eye(len(place))
    y, y_dev = (eye[[tag for _, tag in side]].reshape(-1, len(place)) for side in (known, known_dev))
    x_dev = vectorizer.transform([features for features, _ in known_dev])
    x_test = vectorizer.transform([features for words in rows for features in _features(words)])
    loss = partial(_missed, outside=place.get(outside, -1))
    found = linear.fit_predict(x, y, x_dev, y_dev, x_test, "single", GRID, loss)
    return np.split(found, np.cumsum([len(words) for words in rows])[:-1])


def _missed(p: np.ndarray, y: np.ndarray, outside: int) -> float:
    """p, y (words, C) -> 1 less the micro F1 of the tags but the one outside, which nearly every word has."""
    answered, gold = p.argmax(1), y.argmax(1)
    hits = ((answered == gold) & (gold != outside)).sum()
    return float(1 - 2 * hits / max((answered != outside).sum() + (gold != outside).sum(), 1))


def _as_it_is(features: list[str]) -> list[str]:
    return features


def _features(words: Sequence[str]) -> list[list[str]]:
    """Of each word: itself, its shape, beginnings and ends, and two neighbours to each side."""
    lower = [EDGE, EDGE, *(word.lower() for word in words), EDGE, EDGE]
    shapes = [EDGE, *map(_shape, words), EDGE]
    found = []
    for at, word in enumerate(words):
        before2, before, this, after, after2 = lower[at : at + 5]
        shape_before, shape, shape_after = shapes[at : at + 3]
        one = [f"word {word}", f"lower {this}", f"shape {shape}", f"short {_short(shape)}"]
        one += [f"begin {this[:size]}" for size in range(1, 5)] + [
            f"end {this[-size:]}" for size in range(1, 5)
        ]
        one += [f"-1 {before}", f"-2 {before2}", f"+1 {after}", f"+2 {after2}"]
        one += [f"-1 0 {before} {this}", f"0 +1 {this} {after}", f"-1 +1 {before} {after}"]
        one += [f"shapes - {shape_before} {shape}", f"shapes + {shape} {shape_after}"]
        found.append(one)
    return found


def _shape(word: str) -> str:
    """Xx-00 of `Ab-12`."""
    return "".join("X" if c.isupper() else "x" if c.isalpha() else "0" if c.isdigit() else c for c in word)


def _short(shape: str) -> str:
    """A shape with repeats left out: X and Xx of any length."""
    return "".join(c for at, c in enumerate(shape) if c != shape[at - 1 : at])
