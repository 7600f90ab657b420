"""The promises of the shipped data set's datasheet."""

import hashlib
import importlib.resources
import json
import re
from collections import Counter

import yaml
from appkit_tasks.classification import TASK
from appkit_tasks.classification.config import ClassificationConfig

from appkit.data.rows import read

FOLDER = importlib.resources.files("appkit_data") / "tickets"
NAMES = ("train.jsonl", "test.jsonl")


def rows(name: str) -> list[dict]:
    return [json.loads(line) for line in (FOLDER / name).read_text(encoding="utf-8").splitlines()]


TRAIN, TEST = map(rows, NAMES)


def words(row: dict) -> set[str]:
    return set(re.findall(r"\w+", row["text"].lower()))


def test_the_pack_ships_it() -> None:
    shipped = TASK.load(ClassificationConfig())
    assert shipped is not None
    assert dict(shipped.files) == {name.removesuffix(".jsonl"): f"tickets/{name}" for name in NAMES}
    for name, count in zip(NAMES, (1284, 324), strict=True):
        found = read(str(FOLDER / name), TASK.row, {}, TASK.needed or ())
        assert (len(found.records), found.faults) == (count, [])


def test_twelve_labels_as_the_datasheet_counts_them() -> None:
    table = (FOLDER / "README.md").read_text(encoding="utf-8")
    told = {
        label: (int(train), int(test))
        for label, train, test in re.findall(r"^\| `(\w+)` \| (\d+) \| (\d+) \|", table, re.M)
    }
    train, test = (Counter(row["label"] for row in side) for side in (TRAIN, TEST))
    assert told == {label: (train[label], test[label]) for label in train}
    assert len(told) == 12
    assert set(test.values()) == {27}


def test_no_text_twice_and_none_near_a_test_text() -> None:
    every = [row["text"] for row in TRAIN + TEST]
    assert len(set(every)) == len(every)
    assert len({row["id"] for row in TRAIN + TEST}) == len(every)
    held = [words(row) for row in TEST]
    near = [
        (row["id"], TEST[place]["id"])
        for row in TRAIN
        if (mine := words(row))
        for place, other in enumerate(held)
        if len(mine & other) > len(mine | other) / 2
    ]
    assert near == []


def test_the_card_tells_the_truth() -> None:
    card = yaml.safe_load((FOLDER / "card.yaml").read_text(encoding="utf-8"))
    assert card["licence"] == "CC0-1.0"
    assert set(card["files"]) == set(NAMES)
    for name, recorded in card["files"].items():
        content = (FOLDER / name).read_bytes()
        assert recorded == {"rows": content.count(b"\n"), "sha256": hashlib.sha256(content).hexdigest()}


def test_counting_words_does_not_solve_it() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(C=100, max_iter=1000))
    model.fit([row["text"] for row in TRAIN], [row["label"] for row in TRAIN])
    answers = model.predict([row["text"] for row in TEST])
    assert 0.4 < f1_score([row["label"] for row in TEST], answers, average="macro") < 0.85


def test_the_examples_are_not_from_it() -> None:
    shown = [set(re.findall(r"\w+", text.lower())) for text in TASK.examples]
    assert len(shown) == 3
    for row in TRAIN + TEST:
        for example in shown:
            assert len(example & words(row)) < len(example | words(row)) / 2
