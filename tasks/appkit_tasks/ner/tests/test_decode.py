"""Probabilities to entities: the best legal sequence, against trying all of them."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from appkit_tasks.ner import TASK
from appkit_tasks.ner.decode import best_tags, read
from appkit_tasks.ner.load import NerRow, word_spans
from appkit_tasks.ner.tags import entities_of
from hypothesis import given
from hypothesis import strategies as st

from appkit.task import HeadSpec

LABELS = ("O", "B-a", "I-a", "B-b", "I-b")


def legal(tags: tuple[str, ...]) -> bool:
    return all(
        tag[0] != "I" or before[1:] == tag[1:] for before, tag in zip(("O", *tags), tags, strict=False)
    )


def brute(scores: np.ndarray, labels: tuple[str, ...]) -> float:
    """The largest sum of a legal sequence."""
    return max(
        float(sum(scores[place, labels.index(tag)] for place, tag in enumerate(tags)))
        for tags in product(labels, repeat=len(scores))
        if legal(tags)
    )


def check(scores: np.ndarray, labels: tuple[str, ...]) -> None:
    columns = best_tags(scores, labels)
    assert legal(tuple(labels[column] for column in columns))
    assert scores[np.arange(len(scores)), columns].sum() == pytest.approx(brute(scores, labels), abs=1e-9)


@given(
    st.integers(1, 5), st.integers(0, 2**32 - 1), st.permutations(LABELS), st.sampled_from([0.1, 1.0, 20.0])
)
def test_no_legal_sequence_is_better(words: int, seed: int, labels: list[str], spread: float) -> None:
    check(np.random.default_rng(seed).normal(size=(words, 5)) * spread, tuple(labels))


@pytest.mark.parametrize(
    "labels", [("O",), ("B-a", "O"), ("O", "B-a", "B-b", "I-b"), ("I-b", "O", "B-a", "B-b", "I-a", "B-c")]
)
@pytest.mark.parametrize("seed", range(20))
def test_types_that_never_had_a_second_word(labels: tuple[str, ...], seed: int) -> None:
    check(np.random.default_rng(seed).normal(size=(4, len(labels))), labels)


def test_a_lone_i_is_never_chosen_even_when_it_is_certain() -> None:
    scores = np.full((3, 5), -1e9)
    scores[:, LABELS.index("I-a")] = 0.0
    assert [LABELS[column] for column in best_tags(scores, LABELS)] == ["B-a", "I-a", "I-a"]


def test_an_i_without_its_b_is_never_chosen() -> None:
    assert best_tags(np.array([[-5.0, 0.0], [-5.0, 0.0]]), ("O", "I-a")).tolist() == [0, 0]


def test_a_document_of_100_000_words() -> None:
    rng = np.random.default_rng(0)
    scores = np.log(rng.dirichlet(np.ones(5), 100_000))
    tags = [LABELS[column] for column in best_tags(scores, LABELS)]
    assert legal(tuple(tags))
    # what is far away does not matter: a part of it is decoded as in the whole, but near the cuts
    part = [LABELS[column] for column in best_tags(scores[50_000:50_200], LABELS)]
    assert part[50:150] == tags[50_050:50_150]


def head(*labels: str) -> HeadSpec:
    return HeadSpec(kind="token", labels=labels)


def test_an_answer() -> None:
    row = TASK.input_row("😂 Ada  Lovelace in Paris")
    labels = ("B-place", "O", "I-person", "B-person", "I-place")
    table = np.full((5, 5), 0.02)
    for word, label, share in [(0, 1, 0.9), (1, 3, 0.8), (2, 2, 0.5), (3, 1, 0.9), (4, 0, 0.7)]:
        table[word, label] = share
    text, value, confidence = read(row, table, head(*labels))
    assert text == "Ada Lovelace [person] · Paris [place]"
    assert confidence is None
    assert value == [
        {"text": "Ada  Lovelace", "type": "person", "start": 2, "end": 15, "confidence": 0.6325},
        {"text": "Paris", "type": "place", "start": 19, "end": 24, "confidence": 0.7},
    ]
    assert NerRow(text=row.text, entities=value).entities == ((2, 15, "person"), (19, 24, "place"))


def test_an_answer_without_entity() -> None:
    assert read(TASK.input_row("a b"), np.array([[1.0, 0.0], [0.9, 0.1]]), head("O", "B-x")) == (
        "(none)",
        [],
        None,
    )


def test_probabilities_of_zero() -> None:
    text, value, _ = read(TASK.input_row("a b"), np.array([[0.0, 0, 1], [0, 0, 1]]), head("O", "B-x", "I-x"))
    assert (text, len(value)) == ("a b [x]", 1)


@pytest.mark.parametrize("shape", [(3, 2), (2, 3), (2,)])
def test_probabilities_of_other_words_or_labels_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"probabilities must be \(2, 2\), .* got \("):
        read(TASK.input_row("a b"), np.full(shape, 0.5), head("O", "B-x"))


@given(st.text(alphabet="ab1 .é\u0301😂ש東\n", min_size=1).filter(str.strip), st.integers(0, 2**32 - 1))
def test_the_answer_is_the_chosen_tags(text: str, seed: int) -> None:
    row = TASK.input_row(text)
    words = word_spans(row)
    table = np.random.default_rng(seed).dirichlet(np.ones(5), len(words))
    _, value, _ = read(row, table, head(*LABELS))
    tags = [LABELS[column] for column in best_tags(np.log(table), LABELS)]
    assert [(one["start"], one["end"], one["type"]) for one in value] == entities_of(tags, words)
    assert all(text[one["start"] : one["end"]] == one["text"] and 0 < one["confidence"] <= 1 for one in value)
