"""Computes CrystalBLEU: BLEU without the n-grams that all code shares (Eghbali and Pradel, ASE 2022).

Which n-grams these are comes from a fixed set of texts, such as the training rows, not from the answers.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Set
from functools import lru_cache
from typing import TYPE_CHECKING

from appkit.task import Metric
from appkit_tasks.codechange.bnorm import ORDER, count_ngrams

if TYPE_CHECKING:
    import numpy as np

    from appkit.task import Prediction
    from appkit_tasks.codechange.metrics import ScoredRow

__all__ = [
    "SHARED",
    "Ngrams",
    "code_tokens",
    "crystal_bleu",
    "crystal_score",
    "crystal_statistics",
    "trivially_shared",
]

SHARED = 500
"""k, how many n-grams are ignored, as the authors advise"""

Ngrams = Set[tuple[str, ...]]
"""N-grams of 1 to 4 tokens."""

_TOKEN = re.compile(r"\w+|[^\w\s]")


def code_tokens(text: str) -> list[str]:
    """Splits code or comments into words, as written, and signs, each by itself."""
    return _TOKEN.findall(text)


def trivially_shared(texts: Iterable[str], k: int = SHARED) -> frozenset[tuple[str, ...]]:
    """Lists the k most frequent n-grams of 1 to 4 tokens; of equally frequent ones those that sort first.

    The order of the texts does not matter, and no n-gram goes over the border of two.
    """
    counts: Counter[tuple[str, ...]] = Counter()
    for text in texts:
        tokens = code_tokens(text)
        for order in range(1, ORDER + 1):
            counts.update(count_ngrams(tokens, order))
    ranked = sorted(counts, key=lambda ngram: (-counts[ngram], ngram))
    return frozenset(ranked[:k])


def crystal_statistics(answer: str, reference: str, shared: Ngrams) -> tuple[float, ...]:
    """Counts what a row adds to CrystalBLEU: tokens of both texts, then matches and totals of each order.

    The answer comes first. A total is 1 at least, as in the authors' code.
    """
    predicted, gold = code_tokens(answer), code_tokens(reference)
    matches, totals = [], []
    for order in range(1, ORDER + 1):
        counts = count_ngrams(predicted, order)
        for ngram in counts.keys() & shared:
            del counts[ngram]
        matches.append(float((counts & count_ngrams(gold, order)).total()))
        totals.append(float(max(1, counts.total())))
    return (float(len(predicted)), float(len(gold)), *matches, *totals)


def crystal_score(matrix: np.ndarray) -> float:
    """(N, 10) of `crystal_statistics` -> CrystalBLEU, 0 to 100, as `crystalbleu.corpus_bleu` has it."""
    answer, reference, *counts = matrix.sum(0).tolist()
    matches, totals = counts[:ORDER], counts[ORDER:]
    if not all(matches):
        return 0.0
    precisions = sum(math.log(match / total) for match, total in zip(matches, totals, strict=True)) / ORDER
    return 100 * math.exp(precisions + min(0.0, 1 - reference / answer))


def crystal_bleu(texts: Callable[[], Iterable[str]], k: int = SHARED) -> Metric:
    """Makes the metric CrystalBLEU, which ignores the k most frequent n-grams of texts and reads them late.

    texts: gives a fixed set, such as the references of the training rows; called once, at first use.
    """

    @lru_cache(maxsize=1)
    def shared() -> frozenset[tuple[str, ...]]:
        return trivially_shared(texts(), k)

    def statistics(row: ScoredRow, prediction: Prediction) -> tuple[float, ...]:
        return crystal_statistics(prediction.answer, row.answer, shared())

    return Metric(
        "CrystalBLEU",
        f"BLEU without the {k} most frequent n-grams of a fixed set, 0 to 100",
        statistics,
        crystal_score,
        scale=100,
    )
