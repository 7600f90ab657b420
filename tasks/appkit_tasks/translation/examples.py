"""Retrieves training rows whose sources are like a row's, for its prompt (BM25, Robertson and Zaragoza 2009).

An embedding would need a model, which no pack has; BM25 finds the same terms and phrases, which is what examples of
a domain are for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from appkit_tasks.translation.words import SPACELESS

if TYPE_CHECKING:
    import numpy as np

__all__ = ["DUPLICATE", "Pair", "Retriever", "similarity"]

DUPLICATE = 0.8
"""similarity from which two sources are near-duplicates: one would give the other's translation away"""

FREQUENT = 0.05
"""share of rows; words of more count only where the others find too few: they say little, and take the most time"""

FEW = 100
"""rows; words of no more always count"""

MARGIN = 16
"""candidates looked at besides those wanted, since some are left out; if they are too few, four times as many"""


class Pair(Protocol):
    """What the retriever reads of a row."""

    @property
    def source(self) -> str: ...
    @property
    def source_language(self) -> str | None: ...
    @property
    def target_language(self) -> str | None: ...
    @property
    def document(self) -> str | None: ...


R = TypeVar("R", bound=Pair)


@dataclass(frozen=True)
class Index(Generic[R]):
    """The rows of one direction, and their words."""

    rows: Sequence[R]
    bm25: Any
    counts: Mapping[str, int]
    """word -> rows that have it"""

    def nearest(self, row: Pair, k: int, words: Sequence[str]) -> list[R]:
        """Returns up to k rows that have some of the words, which the index must have."""
        if not words:
            return []
        scores = self.bm25.get_scores_from_ids([self.bm25.vocab_dict[word] for word in words])
        count = k + MARGIN
        while True:
            order = _best(scores, count)
            chosen = _choose([self.rows[place] for place in order], row, k)
            if len(chosen) == k or len(order) < count:
                return chosen
            count *= 4


class Retriever(Generic[R]):
    """Finds the nearest rows among those of the training side."""

    def __init__(self, rows: Sequence[R]) -> None:
        """Indexes rows, those of each pair of languages by themselves."""
        directions: dict[tuple[str | None, str | None], list[R]] = {}
        for row in rows:
            directions.setdefault((row.source_language, row.target_language), []).append(row)
        self._indexes = {direction: _index(members) for direction, members in directions.items()}

    def nearest(self, row: Pair, k: int) -> list[R]:
        """Returns up to k rows whose sources share words with the row's, nearest first; ties in the order of the rows.

        None is of the row's document, near-duplicate of its source (and so never the row itself) or of another one
        returned, and all are of its direction. Rows without a document may be of any.
        """
        index = self._indexes.get((row.source_language, row.target_language))
        if index is None or k < 1:
            return []
        words = sorted({word for word in _words(row.source) if index.counts[word]})
        most = max(FEW, FREQUENT * len(index.rows))
        counting = [word for word in words if index.counts[word] <= most]
        chosen = index.nearest(row, k, counting)
        return chosen if len(chosen) == k or counting == words else index.nearest(row, k, words)


def _choose(candidates: Sequence[R], row: Pair, k: int) -> list[R]:
    chosen: list[R] = []
    for candidate in candidates:
        if len(chosen) == k:
            break
        if row.document and candidate.document == row.document:
            continue
        sources = [row.source, *(other.source for other in chosen)]
        if all(similarity(candidate.source, source) < DUPLICATE for source in sources):
            chosen.append(candidate)
    return chosen


def _index(rows: Sequence[R]) -> Index[R]:
    import bm25s

    bm25 = bm25s.BM25()
    words = [_words(row.source) for row in rows]
    # bm25s needs a word: if no text has any, index one that no query can contain
    bm25.index(words if any(words) else [["\0"]] * len(rows), show_progress=False)
    return Index(rows, bm25, Counter(word for listed in words for word in set(listed)))


def _best(scores: np.ndarray, count: int) -> list[int]:
    """Lists the places of the highest scores, those above 0, highest first; with the last all that equal it."""
    import numpy as np

    places = np.flatnonzero(scores > 0)
    values = scores[places]
    if count < len(places):
        best = values >= np.partition(values, -count)[-count]
        places, values = places[best], values[best]
    order: list[int] = places[np.argsort(-values, kind="stable")].tolist()
    return order


@lru_cache(maxsize=1)
def _patterns() -> tuple[Any, Any]:
    import regex

    return regex.compile(rf"[{SPACELESS}]+|[^\W{SPACELESS}]+"), regex.compile(rf"[{SPACELESS}]")


def _words(text: str) -> list[str]:
    """Lists the words of a text without case; of scripts without spaces, pairs of neighbouring characters."""
    pattern, spaceless = _patterns()
    words: list[str] = pattern.findall(text.casefold())
    if not spaceless.search(text):
        return words
    return [
        part
        for word in words
        for part in (
            [word[at : at + 2] for at in range(max(1, len(word) - 1))] if spaceless.match(word) else [word]
        )
    ]


def similarity(a: str, b: str) -> float:
    """Computes the Jaccard index of the sets of 3 neighbouring characters of two texts, without case; 0 to 1."""
    first, second = _trigrams(a), _trigrams(b)
    common = len(first & second)
    return common / (len(first) + len(second) - common)


@lru_cache(maxsize=1 << 14)
def _trigrams(text: str) -> frozenset[str]:
    text = " ".join(text.casefold().split())
    return frozenset(text[at : at + 3] for at in range(max(1, len(text) - 2)))
