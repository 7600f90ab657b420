"""Scores against seqeval, strict and IOB2, on random tags and on the shipped rows."""

from __future__ import annotations

import importlib.resources
import random
import time

import numpy as np
import pytest
from appkit_tasks.ner import TASK
from appkit_tasks.ner.appendix import by_type
from appkit_tasks.ner.load import NerRow
from appkit_tasks.ner.metrics import predicted
from appkit_tasks.ner.tests.answers import answer, gold_tags, noisy_tags, random_tags, rows_of
from seqeval.metrics import classification_report
from seqeval.scheme import IOB2

from appkit.data.rows import read
from appkit.task import Parsed, Prediction


def scores(rows: list[NerRow], predictions: list[Prediction]) -> dict[str, float]:
    return {
        metric.name: metric.aggregate(
            np.array([metric.statistics(row, one) for row, one in zip(rows, predictions, strict=True)])
        )
        for metric in TASK.metrics
    }


def check(rows: list[NerRow], tags: list[list[str]]) -> None:
    """Micro and per type scores equal seqeval's on the same tags."""
    predictions = [answer(row, one) for row, one in zip(rows, tags, strict=True)]
    gold = [gold_tags(row) for row in rows]
    report = classification_report(gold, tags, output_dict=True, mode="strict", scheme=IOB2, zero_division=0)
    ours = scores(rows, predictions)
    for name, theirs in [("F1", "f1-score"), ("precision", "precision"), ("recall", "recall")]:
        assert ours[name] == pytest.approx(report["micro avg"][theirs], abs=1e-12)
    assert ours["rows"] == sum(a == b for a, b in zip(gold, tags, strict=True)) / len(rows)
    found = [predicted(one) for one in predictions]
    types = by_type(rows, found)
    assert types == {name: pytest.approx(report[name], abs=1e-12) for name in report if " avg" not in name}
    for name, one in types.items():
        right = sum(
            len({e for e in row.entities if e.type == name} & set(entities))
            for row, entities in zip(rows, found, strict=True)
        )
        total = sum(e.type == name for row in rows for e in row.entities)
        answers = sum(e.type == name for entities in found for e in entities)
        assert one["recall"] == pytest.approx(right / total if total else 0, abs=1e-12)
        assert one["precision"] == pytest.approx(right / answers if answers else 0, abs=1e-12)


@pytest.mark.parametrize("seed", range(40))
def test_parity_on_random_tags(seed: int) -> None:
    rng = random.Random(seed)
    types = ["person", "creative-work", "x"][: rng.randint(1, 3)]
    rows = []
    for _ in range(rng.randint(1, 12)):
        tokens = [rng.choice(["Ada", "St.", "😂", "x"]) for _ in range(rng.randint(1, 9))]
        rows.append(NerRow(tokens=tokens, tags=random_tags(len(tokens), types, rng)))
    if not any(row.entities for row in rows):
        rows.append(NerRow(tokens=["a"], tags=["B-person"]))
    check(rows, [noisy_tags(gold_tags(row), types, rng) for row in rows])
    check(rows, [random_tags(len(row.tokens or ()), types, rng) for row in rows])


@pytest.mark.parametrize("split", ["train", "test"])
def test_parity_on_the_shipped_rows(split: str) -> None:
    path = str(importlib.resources.files("appkit_data") / "entities" / f"{split}.jsonl")
    rows = rows_of(read(path, NerRow, {}))
    types = sorted({entity.type for row in rows for entity in row.entities})
    rng = random.Random(7)
    check(rows, [noisy_tags(gold_tags(row), types, rng) for row in rows])


def test_scores_of_a_few_rows_by_hand() -> None:
    rows = [
        NerRow(tokens=["Ada", "in", "Paris"], tags=["B-person", "O", "B-place"]),
        NerRow(tokens=["nobody", "here"], tags=["O", "O"]),
        NerRow(tokens=["Bo", "Li"], tags=["B-person", "I-person"]),
    ]
    tags = [["B-person", "O", "O"], ["O", "O"], ["B-person", "B-person"]]
    found = scores(rows, [answer(row, one) for row, one in zip(rows, tags, strict=True)])
    assert found == pytest.approx({"F1": 1 / 3, "precision": 1 / 3, "recall": 1 / 3, "rows": 1 / 3})


def test_nothing_there_and_nothing_found_scores_as_in_seqeval() -> None:
    row = NerRow(tokens=["a"], tags=["O"])
    assert scores([row], [answer(row, ["O"])]) == {"F1": 0.0, "precision": 0.0, "recall": 0.0, "rows": 1.0}


def test_an_answer_that_was_not_read_has_no_entities() -> None:
    row = NerRow(tokens=["a"], tags=["B-x"])
    lost = Prediction("", Parsed(None, "cut off"), tokens=0, truncated=True)
    assert TASK.metric("F1").statistics(row, lost) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize("name", ["F1", "precision", "recall"])
def test_a_bootstrap_does_not_wait_for_the_aggregate(name: str) -> None:
    matrix = np.ones((2000, 3))
    aggregate = TASK.metric(name).aggregate
    best = 1.0
    for _ in range(20):
        began = time.perf_counter()
        for _ in range(20):
            aggregate(matrix)
        best = min(best, (time.perf_counter() - began) / 20)
    assert best < 100e-6
