"""Retriever finds training rows that are like a row, for its prompt: by words (BM25) or by sentence embeddings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np

from appkit.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Hashable

    from appkit.data.rows import Record
    from appkit.rag.encoders import Encoder
    from appkit.task import Similar, Task

__all__ = ["DUPLICATE", "By", "Retriever", "put_examples", "similarity"]

By = Literal["bm25", "embedding"]

DUPLICATE = 0.8
"""similarity from which two texts are near-duplicates: one would give the other's answer away"""

FREQUENT = 0.05
"""share of rows; words of more count only where the others find too few: they say little, and take the most time"""

FEW = 100
"""rows; words of no more always count"""

MARGIN = 16
"""candidates looked at besides those wanted, since some are left out; if they are too few, four times as many"""

COMPARED = 2000
"""characters of a text by which near-duplicates are told"""

SPACELESS = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    r"\U00020000-\U0003ffff"
)
"""letters of scripts without spaces between words (Thai, Lao, Burmese, Khmer, Kana, Han), for a pattern's brackets"""

WORD = re.compile(rf"[{SPACELESS}]+|[^\W{SPACELESS}]+")
IS_SPACELESS = re.compile(f"[{SPACELESS}]")


class Index(Protocol):
    """Scores the rows of one group."""

    def score(self, text: str, vector: np.ndarray | None, *, frequent: bool) -> np.ndarray | None:
        """Scores all rows (N,), 0 for those that are not alike; None where nothing can be scored.

        frequent: with the words that most rows have, as a second try.
        """
        ...


@dataclass(frozen=True)
class Words:
    """Scores by BM25 (Robertson and Zaragoza 2009) over words."""

    bm25: Any
    counts: Mapping[str, int]
    """word -> rows that have it"""
    size: int
    """rows"""

    @classmethod
    def of(cls, texts: Sequence[str]) -> Words:
        """Indexes texts."""
        import bm25s

        bm25 = bm25s.BM25()
        words = [_split_words(text) for text in texts]
        # bm25s needs a word: if no text has any, index one that no query can contain
        bm25.index(words if any(words) else [["\0"]] * len(texts), show_progress=False)
        return cls(bm25, Counter(word for listed in words for word in set(listed)), len(texts))

    def score(self, text: str, vector: np.ndarray | None, *, frequent: bool) -> np.ndarray | None:
        words = sorted({word for word in _split_words(text) if self.counts[word]})
        most = max(FEW, FREQUENT * self.size)
        counting = [word for word in words if self.counts[word] <= most]
        if frequent and counting == words:
            return None  # the first try had them all
        chosen = words if frequent else counting
        if not chosen:
            return None
        scores: np.ndarray = self.bm25.get_scores_from_ids([self.bm25.vocab_dict[word] for word in chosen])
        return scores


@dataclass(frozen=True)
class Vectors:
    """Scores by the cosine of sentence embeddings."""

    vectors: np.ndarray
    """(N, d), of length 1"""

    def score(self, text: str, vector: np.ndarray | None, *, frequent: bool) -> np.ndarray | None:
        return None if frequent or vector is None else self.vectors @ vector


class _RowText(NamedTuple):
    """A row with the text by which it is compared, which some packs are slow to write."""

    row: Any
    text: str


class Retriever:
    """Finds the nearest rows among those of the training side."""

    def __init__(self, rows: Sequence[Any], similar: Similar, encoder: Encoder | None = None) -> None:
        """Indexes rows, those of each group by themselves. encoder: of embeddings; None ranks by words."""
        self._similar, self._encoder = similar, encoder
        groups: dict[Hashable, list[int]] = {}
        for place, row in enumerate(rows):
            groups.setdefault(similar.group(row), []).append(place)
        candidates = [_RowText(row, similar.text(row)) for row in rows]
        vectors = encoder.embed([candidate.text for candidate in candidates]) if encoder and rows else None
        self._groups: dict[Hashable, tuple[list[_RowText], Index]] = {}
        for group, places in groups.items():
            members = [candidates[place] for place in places]
            index: Index = (
                Words.of([member.text for member in members]) if vectors is None else Vectors(vectors[places])
            )
            self._groups[group] = members, index

    def embed(self, rows: Sequence[Any]) -> Sequence[np.ndarray | None]:
        """Embeds rows for `nearest`; of an index by words a None for each."""
        if self._encoder is None or not rows:
            return [None] * len(rows)
        return list(self._encoder.embed([self._similar.text(row) for row in rows]))

    def nearest(self, row: Any, k: int, vector: np.ndarray | None = None) -> list[Any]:
        """Returns up to k rows that are like a row, nearest first; ties in the order of the rows.

        All are of the row's group and allowed by the pack; none is a near-duplicate of it (and so never the row
        itself) or of another one returned. vector: of the row, where the index is one of embeddings.
        """
        members, index = self._groups.get(self._similar.group(row), ([], None))
        if index is None or k < 1:
            return []
        query = _RowText(row, self._similar.text(row))
        chosen: list[_RowText] = []
        for frequent in (False, True):
            scores = index.score(query.text, vector, frequent=frequent)
            chosen = chosen if scores is None else self._choose(members, scores, query, k)
            if len(chosen) == k:
                break
        return [candidate.row for candidate in chosen]

    def _choose(
        self, members: Sequence[_RowText], scores: np.ndarray, query: _RowText, k: int
    ) -> list[_RowText]:
        """Chooses the k best that may be shown."""
        count = k + MARGIN
        while True:
            order = _find_best(scores, count)
            chosen = self._filter([members[place] for place in order], query, k)
            if len(chosen) == k or len(order) < count:
                return chosen
            count *= 4

    def _filter(self, candidates: Sequence[_RowText], query: _RowText, k: int) -> list[_RowText]:
        chosen: list[_RowText] = []
        for candidate in candidates:
            if len(chosen) == k:
                break
            if not self._similar.allowed(query.row, candidate.row):
                continue
            if all(similarity(candidate.text, other.text) < DUPLICATE for other in (query, *chosen)):
                chosen.append(candidate)
        return chosen


def put_examples(
    parts: Mapping[str, Sequence[Record]], task: Task, options: Any, by: By
) -> dict[str, list[Record]]:
    """Shows each row of the parts its nearest rows of `train`, where the pack has a rule and the options ask for some.

    A row that brings examples, or has them from before, keeps them. Raises AppkitError when the model of embeddings
    cannot be loaded.
    """
    similar = task.similar
    count = similar.count(options) if similar else 0
    train = [record.value for record in parts.get("train", ())]
    if similar is None or not count or not train:
        return {name: list(records) for name, records in parts.items()}
    encoder = None
    if by == "embedding":
        from appkit.rag.encoders import encoder as load_encoder

        encoder = load_encoder("minilm")
    retriever = Retriever(train, similar, encoder)
    filled: dict[str, list[Record]] = {}
    with Progress("examples", sum(map(len, parts.values())), "rows") as bar:
        for name, records in parts.items():
            waiting = [
                place for place, record in enumerate(records) if not getattr(record.value, similar.field)
            ]
            vectors = retriever.embed([records[place].value for place in waiting])
            filled[name] = list(records)
            for place, vector in zip(waiting, vectors, strict=True):
                row = records[place].value
                row = similar.put(row, retriever.nearest(row, count, vector))
                filled[name][place] = replace(records[place], value=row)
                bar.advance(1)
            bar.advance(len(records) - len(waiting))
    return filled


def _find_best(scores: np.ndarray, count: int) -> list[int]:
    """Lists the places of the highest scores, those above 0, highest first; with the last all that equal it."""
    places = np.flatnonzero(scores > 0)
    values = scores[places]
    if count < len(places):
        best = values >= np.partition(values, -count)[-count]
        places, values = places[best], values[best]
    order: list[int] = places[np.argsort(-values, kind="stable")].tolist()
    return order


def _split_words(text: str) -> list[str]:
    """Lists the words of a text without case; of scripts without spaces, pairs of neighbouring characters."""
    words: list[str] = WORD.findall(text.casefold())
    if not IS_SPACELESS.search(text):
        return words
    return [
        part
        for word in words
        for part in (
            [word[at : at + 2] for at in range(max(1, len(word) - 1))] if IS_SPACELESS.match(word) else [word]
        )
    ]


def similarity(a: str, b: str) -> float:
    """Computes the Jaccard index of the sets of 3 neighbouring characters of two texts, without case; 0 to 1."""
    first, second = _trigrams(a[:COMPARED]), _trigrams(b[:COMPARED])
    common = len(first & second)
    return common / (len(first) + len(second) - common)


@lru_cache(maxsize=1 << 14)
def _trigrams(text: str) -> frozenset[str]:
    text = " ".join(text.casefold().split())
    return frozenset(text[at : at + 3] for at in range(max(1, len(text) - 2)))
