"""Retrieved examples: nearest first, of the row's direction, never of its document, never nearly the row itself."""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appkit.data.rows import Record
from appkit.rag import examples
from appkit.rag.examples import DUPLICATE, Retriever, put_examples, similarity
from appkit.task import Similar


@dataclass(frozen=True)
class Row:
    source: str
    document: str | None = None
    target_language: str = "fr"
    source_language: str = "en"
    examples: tuple[str, ...] = ()


SIMILAR = Similar(
    count=lambda options: options,
    field="examples",
    text=lambda row: row.source,
    put=lambda row, examples: replace(row, examples=tuple(example.source for example in examples)),
    allowed=lambda row, other: not row.document or row.document != other.document,
    group=lambda row: (row.source_language, row.target_language),
)

ROWS = [
    Row("Delete the account", "a"),
    Row("Delete the old account for ever", "b"),
    Row("Rename a folder", "c"),
    Row("The account was deleted", "a"),
    Row("Deleting an account cannot be undone", "d"),
    Row("Delete the account", "e", target_language="de"),
    Row("Delete the accounts!", "f"),
]


def nearest(row: Row, k: int, rows: list[Row] = ROWS) -> list[str]:
    return [example.source for example in Retriever(rows, SIMILAR).nearest(row, k)]


def test_nearest_first_without_the_document_and_near_duplicates() -> None:
    found = nearest(ROWS[0], 5)
    assert found == ["Delete the old account for ever", "Deleting an account cannot be undone"]
    assert nearest(ROWS[0], 1) == found[:1]
    assert nearest(ROWS[0], 0) == []
    assert set(nearest(Row("Delete the account"), 5)) == {*found, "The account was deleted"}


def test_another_direction_has_its_own_rows() -> None:
    assert nearest(Row("Delete my account", "x", target_language="de"), 3) == ["Delete the account"]
    assert nearest(Row("Delete my account", "x", target_language="it"), 3) == []
    assert nearest(Row("quite unrelated", "x"), 3) == []
    assert nearest(Row("", "x"), 3) == []
    assert nearest(Row("any", "x"), 3, [Row("…")]) == []
    assert nearest(Row("any", "x"), 3, []) == []


def test_two_examples_are_no_near_duplicates_of_each_other() -> None:
    rows = [
        Row("Open the settings of the account", "a"),
        Row("Open the settings of the account.", "b"),
        Row("settings", "c"),
    ]
    assert nearest(Row("the settings", "x"), 3, rows) == ["Open the settings of the account", "settings"]


def test_scripts_without_spaces() -> None:
    rows = [Row("请删除您的账户。", source_language="zh"), Row("打开文件夹", source_language="zh")]
    assert nearest(Row("删除账户设置", source_language="zh"), 2, rows) == ["请删除您的账户。"]


def test_ties_are_in_the_order_of_the_rows() -> None:
    numbers = random.Random(2).sample(range(1000, 10_000), 500)
    # two scores, each of many rows: an unstable sort mixes rows of one score
    rows = [Row(f"{'account ' * (1 + number % 2)}{number} {number}", str(number)) for number in numbers]
    found = nearest(Row("my account", "none"), 400, rows)
    for odd in (0, 1):
        of_one_score = [row.source for row in rows if int(str(row.document)) % 2 == odd]
        sources = [source for source in found if int(source.split()[-1]) % 2 == odd]
        assert sources == of_one_score[: len(sources)]
        assert len(sources) > 100


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("abcd", "abcd", 1),
        ("abcd", "ABCD", 1),
        ("abcd", "bcde", 1 / 3),
        ("ab", "ab", 1),
        ("ab", "abc", 0),
        ("", "", 1),
        ("a  b c", "a b\nc", 1),
    ],
)
def test_similarity(a: str, b: str, expected: float) -> None:
    assert similarity(a, b) == pytest.approx(expected)


def bm25(query: set[str], texts: list[list[str]], k1: float = 1.5, b: float = 0.75) -> list[float]:
    """Lucene's variant, as bm25s has it by default, written down from its formula."""
    mean = sum(map(len, texts)) / len(texts)
    scores = []
    for text in texts:
        counts = Counter(text)
        total = 0.0
        for word in query:
            documents = sum(word in other for other in texts)
            if counts[word]:
                weight = math.log(1 + (len(texts) - documents + 0.5) / (documents + 0.5))
                total += weight * counts[word] / (counts[word] + k1 * (1 - b + b * len(text) / mean))
        scores.append(total)
    return scores


SOURCES = st.lists(
    st.sampled_from(["red", "green", "blue", "old", "new", "file", "folder", "account"]),
    min_size=1,
    max_size=8,
)


@settings(deadline=None)
@given(st.lists(SOURCES, min_size=1, max_size=30), SOURCES)
def test_the_order_is_that_of_bm25(texts: list[list[str]], query: list[str]) -> None:
    rows = [Row(" ".join(text), str(place)) for place, text in enumerate(texts)]
    row = Row(" ".join(query), "query")
    scores = bm25(set(query), texts)
    found = Retriever(rows, SIMILAR).nearest(row, 5)
    places = [int(str(example.document)) for example in found]
    for one, other in pairwise(places):
        assert scores[one] > scores[other] - 1e-5
    assert all(
        scores[place] > 0 and similarity(rows[place].source, row.source) < DUPLICATE for place in places
    )
    least = min((scores[place] for place in places), default=math.inf)
    for place, score in enumerate(scores):  # what is better was left out as a near-duplicate
        if score > (least if len(places) == 5 else 0) + 1e-5 and place not in places:
            assert any(similarity(rows[place].source, other.source) >= DUPLICATE for other in (row, *found))


def test_a_large_document_does_not_hide_the_others() -> None:
    rows = [Row(f"account number {number}", "large") for number in range(500)] + [
        Row("an account of another book", "b")
    ]
    assert nearest(Row("account number 7", "large"), 2, rows) == ["an account of another book"]


def test_10_000_queries_on_100_000_rows_take_less_than_a_minute() -> None:
    rng = random.Random(5)
    words = [f"w{number}" for number in range(20_000)]
    weights = [1 / (number + 1) for number in range(20_000)]  # Zipf's law
    drawn = rng.choices(words, weights, k=20 * 20_000)
    rows = [Row(" ".join(drawn[20 * place : 20 * place + 20]), str(place // 50)) for place in range(20_000)]
    retriever = Retriever(rows, SIMILAR)
    began = time.process_time()
    for row in rows[:1000]:
        assert len(retriever.nearest(row, 4)) == 4
    assert time.process_time() - began < 60 / 10 / 5 * 1.5  # a tenth of the queries on a fifth of the rows
    assert examples.FREQUENT < 0.1


class Letters:
    """Embeds a text by its counts of letters: near texts are near, whatever their words."""

    def embed(self, texts: list[str], *, show: bool = True) -> np.ndarray:
        letters = "abcdefghijklmnopqrstuvwxyz"
        counts = np.array([[text.lower().count(letter) for letter in letters] for text in texts], np.float32)
        return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-9)


def test_by_embedding_the_nearest_vectors_come_first() -> None:
    rows = [Row("zzzz qq", "a"), Row("not tone", "b"), Row("onset attune", "c")]
    retriever = Retriever(rows, SIMILAR, Letters())
    row = Row("tonnot e", "x")
    (vector,) = retriever.embed([row])
    assert [found.source for found in retriever.nearest(row, 2, vector)] == ["not tone", "onset attune"]
    assert Retriever(rows, SIMILAR).nearest(row, 2) == []  # no word in common


def test_a_pack_writes_the_text_of_a_row_once() -> None:
    written: list[str] = []

    def text(row: Row) -> str:
        written.append(row.source)
        return row.source

    rows = [Row(f"open {thing}", "x") for thing in ("gates", "my box", "this window", "a jar of jam")]
    retriever = Retriever(rows, replace(SIMILAR, text=text))
    assert len(retriever.nearest(Row("open the door", "y"), 3)) == 3
    assert sorted(written) == sorted([*(row.source for row in rows), "open the door"])


def test_every_split_is_shown_training_rows_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def record(row: Row) -> Record:
        return Record(row, "file", 1, row.source)  # type: ignore[arg-type]

    parts = {
        "train": [record(Row("open the red gate", "a")), record(Row("open the blue gate wide", "b"))],
        "test": [record(Row("open my gate", "c")), record(Row("own", "d", examples=("brought",)))],
    }
    task = SimpleNamespace(similar=SIMILAR)
    filled = put_examples(parts, task, 1, "bm25")
    assert [found.value.examples for found in filled["train"]] == [
        ("open the blue gate wide",),
        ("open the red gate",),
    ]
    assert [found.value.examples for found in filled["test"]] == [("open the red gate",), ("brought",)]
    assert put_examples(parts, task, 0, "bm25") == parts
    monkeypatch.setattr("appkit.rag.encoders.encoder", lambda name: Letters())
    by_vectors = put_examples(parts, task, 2, "embedding")
    assert by_vectors["test"][0].value.examples == ("open the red gate", "open the blue gate wide")
