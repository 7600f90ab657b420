"""CrystalBLEU equals the authors' package, with n-grams that are shared by our count."""

from __future__ import annotations

import warnings

import crystalbleu
import numpy as np
import pytest
from appkit_tasks.codechange.crystal import (
    code_tokens,
    crystal_bleu,
    crystal_score,
    crystal_statistics,
    trivially_shared,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from appkit.task import Parsed, Prediction


class Row:
    def __init__(self, answer: str) -> None:
        self.answer = answer


def theirs_of(answers: list[str], references: list[str], shared: frozenset[tuple[str, ...]]) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of orders without a match
        return 100 * crystalbleu.corpus_bleu(
            [[code_tokens(text)] for text in references],
            [code_tokens(text) for text in answers],
            ignoring=shared,
        )


def crystal(answers: list[str], references: list[str], shared: frozenset[tuple[str, ...]]) -> float:
    rows = zip(answers, references, strict=True)
    return crystal_score(np.array([crystal_statistics(predicted, gold, shared) for predicted, gold in rows]))


CODE = [
    "for (int i = 0; i < n; i++) { sum += a[i]; }",
    "for (int j = 0; j < n; j++) { total += b[j]; }",
    "if (p == null) { return 0; }",
    "public int size() { return this.items.size(); }",
]
CODE_ANSWERS = [
    "for (int i = 0; i < m; i++) { sum += a[i]; }",
    "for (int j = 0; j < n; j++) { sum += b[j]; }",
    "if (p == null) { return; }",
    "public int size() { return items.size(); }",
]


@pytest.mark.parametrize(("k", "recorded"), [(0, 84.6184), (10, 83.6240), (40, 79.3408)])
def test_crystal_bleu_equals_the_package(k: int, recorded: float) -> None:
    shared = trivially_shared(CODE, k)
    assert crystal(CODE_ANSWERS, CODE, shared) == pytest.approx(recorded, abs=1e-4)  # crystalbleu 0.2
    assert theirs_of(CODE_ANSWERS, CODE, shared) == pytest.approx(recorded, abs=1e-4)


@settings(deadline=None)
@given(st.lists(st.tuples(*2 * (st.text("ab( ", max_size=12),)), min_size=1, max_size=4), st.integers(0, 12))
def test_crystal_bleu_equals_the_package_on_any_text(pairs: list[tuple[str, str]], k: int) -> None:
    references, answers = map(list, zip(*pairs, strict=True))
    shared = trivially_shared(references, k)
    theirs = theirs_of(answers, references, shared)
    assert crystal(answers, references, shared) == pytest.approx(theirs, abs=1e-9)


def test_shared_n_grams_are_the_most_frequent_in_any_order_of_texts() -> None:
    texts = ["a b", "a b", "a c"]
    # a 3 times; b and (a, b) twice; c and (a, c) once; nothing goes from one text to the next
    assert trivially_shared(texts, 3) == {("a",), ("b",), ("a", "b")}
    assert trivially_shared(texts, 100) == {("a",), ("b",), ("a", "b"), ("c",), ("a", "c")}
    assert trivially_shared(reversed(texts), 4) == trivially_shared(texts, 4)


def test_the_metric_reads_its_texts_once_and_late() -> None:
    reads = []

    def texts() -> list[str]:
        reads.append(1)
        return CODE

    scored = crystal_bleu(texts, k=10)
    assert not reads
    matrix = [
        scored.statistics(row, Prediction(text, Parsed(text), tokens=1, truncated=False))
        for row, text in zip(map(Row, CODE), CODE_ANSWERS, strict=True)
    ]
    assert len(reads) == 1
    assert scored.aggregate(np.array(matrix)) == pytest.approx(83.6240, abs=1e-4)
