"""The promises of the shipped data set's datasheet."""

import hashlib
import importlib.resources
import json
import subprocess
import sys
from collections import Counter

import pytest
import yaml
from appkit_tasks.nl2fol.dataset import SHARED, conflicts, is_complex, names
from appkit_tasks.nl2fol.equivalence import status
from appkit_tasks.nl2fol.parser import parse
from appkit_tasks.nl2fol.syntax import free_variables, skeleton, symbols, to_text

FOLDER = importlib.resources.files("appkit_data") / "nl2fol"


def rows(name: str) -> list[dict]:
    return [json.loads(line) for line in (FOLDER / name).read_text(encoding="utf-8").splitlines()]


TRAIN, TEST, HARD = rows("train.jsonl"), rows("test.jsonl"), rows("test_hard.jsonl")


def test_sizes():
    assert len(TRAIN) >= 1500
    assert sum("template" not in row for row in TRAIN) >= 400
    assert len(TEST) >= 200
    assert sum(is_complex(row["formula"]) for row in TEST) >= len(TEST) / 2
    assert not [row for row in TEST + HARD if "template" in row]


@pytest.mark.parametrize(("name", "side"), [("train", TRAIN), ("test", TEST), ("test_hard", HARD)])
def test_every_formula_is_in_normal_form_and_closed(name, side):
    for row in side:
        formula = parse(row["formula"])
        assert to_text(formula) == row["formula"], row
        assert not free_variables(formula), row
        arity = Counter(predicate for predicate, _ in symbols(formula).predicates)
        assert set(arity.values()) <= {1}, row
        assert all(1 <= places <= 3 for _, places in symbols(formula).predicates), row


def test_nothing_on_the_test_side_is_valid_or_unsatisfiable():
    assert {status(parse(row["formula"])) for row in TEST + HARD} == {"contingent"}


def test_training_shows_nothing_of_the_test_side():
    held = TEST + HARD
    held_names = set().union(*(names(row["formula"]) for row in held)) - SHARED
    held_skeletons = {skeleton(parse(row["formula"])) for row in held}
    assert not [(row["id"], why) for row in TRAIN if (why := conflicts(row, held_names, held_skeletons))]
    assert not {row["sentence"].casefold() for row in held} & {row["sentence"].casefold() for row in TRAIN}


def test_no_row_twice():
    for side in (TRAIN, TEST + HARD):
        assert len({row["sentence"] for row in side}) == len(side)
        assert len({row["id"] for row in side}) == len(side)


def test_the_card_tells_the_truth():
    card = yaml.safe_load((FOLDER / "card.yaml").read_text(encoding="utf-8"))
    assert card["licence"] == "CC0-1.0"
    for name, recorded in card["files"].items():
        content = (FOLDER / name).read_bytes()
        assert recorded == {"rows": content.count(b"\n"), "sha256": hashlib.sha256(content).hexdigest()}


def test_the_generator_makes_the_generated_rows():
    with importlib.resources.as_file(FOLDER / "generate.py") as script:
        done = subprocess.run(
            [sys.executable, str(script), "--rows", "2000", "--seed", "7"],
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=True,
        )
    made = {(row["id"], row["sentence"], row["formula"]) for row in map(json.loads, done.stdout.splitlines())}
    shipped = {(row["id"], row["sentence"], row["formula"]) for row in TRAIN if "template" in row}
    assert len(shipped) >= 400
    assert shipped <= made
