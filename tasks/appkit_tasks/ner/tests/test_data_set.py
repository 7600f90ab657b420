"""The promises of the shipped data set's datasheet, and that real files are read without faults."""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from appkit_tasks.ner import TASK
from appkit_tasks.ner.config import NerConfig
from appkit_tasks.ner.load import NerRow, word_spans
from appkit_tasks.ner.prompt import target
from appkit_tasks.ner.tests.answers import rows_of

from appkit.config import DataConfig
from appkit.data.rows import read
from appkit.data.splits import load_splits

FOLDER = importlib.resources.files("appkit_data") / "entities"
SHARED = Path(__file__).parents[5] / "shared" / "data" / "ner"
TYPES = ("person", "organization", "place", "product", "date", "amount")


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


SIDES = {"train": rows("train"), "test": rows("test")}


def strings(side: str) -> list[tuple[str, str]]:
    """(string, case folded, and type) of each entity."""
    return [
        (row["text"][one["start"] : one["end"]].casefold(), one["type"])
        for row in SIDES[side]
        for one in row["entities"]
    ]


@pytest.mark.parametrize(
    ("side", "sizes", "of_type"),
    [
        ("train", (927, 139, 1766), (290, 257, 301, 260, 282, 376)),
        ("test", (256, 37, 503), (85, 78, 95, 78, 71, 96)),
    ],
)
def test_sizes(side: str, sizes: tuple[int, ...], of_type: tuple[int, ...]) -> None:
    found = SIDES[side]
    empty = sum(not row["entities"] for row in found)
    assert (len(found), empty, sum(len(row["entities"]) for row in found)) == sizes
    counted = Counter(kind for _, kind in strings(side))
    assert tuple(counted[kind] for kind in TYPES) == of_type
    assert set(counted) == set(TYPES)


@pytest.mark.parametrize("side", SIDES)
def test_spans_are_sorted_whole_and_apart(side: str) -> None:
    for row in SIDES[side]:
        ends = [0] + [one["end"] for one in row["entities"]]
        for before, one in zip(ends, row["entities"], strict=False):
            assert before <= one["start"] < one["end"] <= len(row["text"])
            inside = row["text"][one["start"] : one["end"]]
            assert inside == inside.strip()
            assert (
                not re.match(r"\w\w", row["text"][max(one["start"] - 1, 0) : one["start"] + 1])
                or not one["start"]
            )
            assert not re.match(r"\w\w", row["text"][one["end"] - 1 : one["end"] + 1])


def test_no_text_and_no_id_twice() -> None:
    both = SIDES["train"] + SIDES["test"]
    assert len({row["text"].casefold() for row in both}) == len({row["id"] for row in both}) == len(both)


def test_no_test_text_is_near_to_a_training_text() -> None:
    def bag(text: str) -> frozenset[str]:
        return frozenset(re.findall(r"\w+", text.casefold()))

    train = [bag(row["text"]) for row in SIDES["train"]]
    for row in SIDES["test"]:
        words = bag(row["text"])
        assert all(len(words & other) <= len(words | other) / 2 for other in train), row["id"]


def test_most_entities_of_the_test_side_are_in_no_training_row() -> None:
    known = {text for text, _ in strings("train")}
    test = strings("test")
    different = {text for text, _ in test}
    assert len(different) == 486
    assert round(100 * sum(text not in known for text in different) / 486) == 87
    assert round(100 * sum(text not in known for text, _ in test) / len(test)) == 85
    of_type = {kind: {text for text, other in test if other == kind} for kind in TYPES}
    shares = [round(100 * len(texts - known) / len(texts)) for texts in of_type.values()]
    assert shares == [77, 84, 88, 90, 79, 93]


def test_the_card_tells_the_truth() -> None:
    card = yaml.safe_load((FOLDER / "card.yaml").read_text(encoding="utf-8"))
    assert card["licence"] == "CC0-1.0"
    assert set(card["files"]) == {"train.jsonl", "test.jsonl"}
    for name, recorded in card["files"].items():
        content = (FOLDER / name).read_bytes()
        assert recorded == {"rows": content.count(b"\n"), "sha256": hashlib.sha256(content).hexdigest()}


def test_every_shipped_row_is_read() -> None:
    splits = load_splits(TASK, NerConfig(), DataConfig())
    assert not splits.faults
    assert len(splits.train) + len(splits.dev) == 927
    assert len(splits.test) == 256


def test_every_shipped_row_is_tagged() -> None:
    found = rows_of(read(str(FOLDER / "train.jsonl"), NerRow, {}))
    tags = {tag for row in found for tag in target(row, NerConfig()).values}
    assert tags == {"O"} | {f"{prefix}-{kind}" for prefix in "BI" for kind in TYPES}


def test_the_examples_are_not_from_the_data_set() -> None:
    texts = {row["text"] for side in SIDES.values() for row in side}
    names = {text for side in SIDES for text, _ in strings(side)}
    assert not texts & set(TASK.examples)
    for example in TASK.examples:
        assert TASK.input_row(example).text == example
    assert not [
        name
        for name in ("ada brandt", "priya nair", "halvorsen foods", "larkwell", "quillon stores")
        if name in names
    ]


def shared(name: str) -> str:
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"no {path}; the project does not need it")
    return str(path)


@pytest.mark.parametrize(
    ("name", "count"),
    [("wnut17/train.jsonl", 3394), ("wnut17/valid.jsonl", 1009), ("wikigold/train.jsonl", 1180)],
)
def test_real_rows_are_read_and_our_words_can_hold_their_entities(name: str, count: int) -> None:
    source = shared(name)
    found = rows_of(read(source, NerRow, {"tags": "ner_tags"}, TASK.needed or ()))
    given = [json.loads(line) for line in Path(source).read_text(encoding="utf-8").splitlines()]
    assert len(found) == count
    for row, one in zip(found, given, strict=True):
        assert list(target(row, NerConfig()).values) == one["ner_tags"]
        assert [row.text[start:end] for start, end in word_spans(row)] == one["tokens"]
        # the same as text and spans, without the tokens: refused if an entity began or ended inside a word
        assert NerRow(text=row.text, entities=list(row.entities)).entities == row.entities
