"""Baselines of token tasks: tag shares, a lexicon of entities, a classifier of single words."""

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
"""the neighbour of a sentence's first and last word; words hold no blank, so features cannot collide"""

FEW = 1000
"""words up to which features that occur once are kept"""

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
    """Fit a baseline on train and predict rows of W words: (W, C) probabilities of `head.labels` for each.

    majority: the shares of the tags in train, which give the outside tag to every word.
    lexicon: the longest stretch of words that was an entity in at least half of its places in train is one again.
    features: logistic regression on the word, its shape and ends, and its neighbours.

    The strength of the regression's penalty is chosen on dev; nothing else is learned from dev. Tags that the head does
    not have are left out.

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
        lexicon = _build_lexicon(train, tagging)
        outside = tagging.outside
        return [_encode_one_hot(_look_up(words, lexicon, outside), place, outside) for words in rows]
    if not any(rows):
        return [np.zeros((0, len(place))) for _ in rows]
    return _classify(train, dev, rows, place, tagging.outside)


# --- lexicon ----------------------------------------------------------------------------------------------

Lexicon = dict[tuple[str, ...], tuple[str, ...]]
"""words of an entity -> their tags"""


def _build_lexicon(train: Rows, tagging: Tagging) -> Lexicon:
    """List stretches of words that are an entity in at least half of their places, with their most frequent tags."""
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


def _look_up(words: Sequence[str], lexicon: Lexicon, outside: str) -> list[str]:
    """Tag each word by the lexicon, from the left, the longest entity first."""
    tags: list[str] = []
    longest = max(map(len, lexicon), default=0)
    while len(tags) < len(words):
        begin = len(tags)
        stretches = (tuple(words[begin : begin + size]) for size in range(longest, 0, -1))
        tags += next((lexicon[stretch] for stretch in stretches if stretch in lexicon), (outside,))
    return tags


def _encode_one_hot(tags: Sequence[str], place: Mapping[str, int], outside: str) -> np.ndarray:
    """Encode W tags as (W, C); a tag that the head does not have counts as outside."""
    rows = np.zeros((len(tags), len(place)))
    rows[np.arange(len(tags)), [place.get(tag, place[outside]) for tag in tags]] = 1
    return rows


# --- a classifier of words --------------------------------------------------------------------------------


def _classify(
    train: Rows, dev: Rows, rows: Sequence[Sequence[str]], place: Mapping[str, int], outside: str
) -> list[np.ndarray]:
    from sklearn.feature_extraction.text import CountVectorizer

    examples, dev_examples = (
        [
            (features, place[tag])
            for words, tags in side
            for features, tag in zip(_features(words), tags, strict=True)
            if tag in place
        ]
        for side in (train, dev)
    )
    # features that occur once say little and cost time; with few words all are kept
    vectorizer = CountVectorizer(
        analyzer=_keep, binary=True, dtype=np.float32, min_df=2 if len(examples) > FEW else 1
    )
    x = vectorizer.fit_transform([features for features, _ in examples])
    eye = np.eye(len(place))
    y, y_dev = (eye[[tag for _, tag in side]].reshape(-1, len(place)) for side in (examples, dev_examples))
    x_dev = vectorizer.transform([features for features, _ in dev_examples])
    x_test = vectorizer.transform([features for words in rows for features in _features(words)])
    loss = partial(_measure_misses, outside=place.get(outside, -1))
    probabilities = linear.fit_predict(x, y, x_dev, y_dev, x_test, "single", GRID, loss)
    return np.split(probabilities, np.cumsum([len(words) for words in rows])[:-1])


def _measure_misses(p: np.ndarray, y: np.ndarray, outside: int) -> float:
    """Compute 1 - micro F1 of all tags but the outside one, which most words have: p, y (words, C)."""
    answered, gold = p.argmax(1), y.argmax(1)
    hits = ((answered == gold) & (gold != outside)).sum()
    return float(1 - 2 * hits / max((answered != outside).sum() + (gold != outside).sum(), 1))


def _keep(features: list[str]) -> list[str]:
    """Return the features unchanged: they need no analyzer."""
    return features


def _features(words: Sequence[str]) -> list[list[str]]:
    """List each word's features: itself, its shape, beginnings and ends, and two neighbours to each side."""
    lower = [EDGE, EDGE, *(word.lower() for word in words), EDGE, EDGE]
    shapes = [EDGE, *map(_shape, words), EDGE]
    rows = []
    for at, word in enumerate(words):
        before2, before, this, after, after2 = lower[at : at + 5]
        shape_before, shape, shape_after = shapes[at : at + 3]
        features = [f"word {word}", f"lower {this}", f"shape {shape}", f"short {_shorten(shape)}"]
        features += [f"begin {this[:size]}" for size in range(1, 5)] + [
            f"end {this[-size:]}" for size in range(1, 5)
        ]
        features += [f"-1 {before}", f"-2 {before2}", f"+1 {after}", f"+2 {after2}"]
        features += [f"-1 0 {before} {this}", f"0 +1 {this} {after}", f"-1 +1 {before} {after}"]
        features += [f"shapes - {shape_before} {shape}", f"shapes + {shape} {shape_after}"]
        rows.append(features)
    return rows


def _shape(word: str) -> str:
    """Write a word's shape: Xx-00 of `Ab-12`."""
    return "".join("X" if c.isupper() else "x" if c.isalpha() else "0" if c.isdigit() else c for c in word)


def _shorten(shape: str) -> str:
    """Remove repeats from a shape: Xxxx becomes Xx."""
    return "".join(c for at, c in enumerate(shape) if c != shape[at - 1 : at])
