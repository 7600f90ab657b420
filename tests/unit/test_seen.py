"""How many test rows a bundle has seen: the right counts, from hashes that hold no text."""

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from appkit.data.rows import Record, digest
from appkit.errors import DataError
from appkit.plugins import load_task
from appkit.runs.seen import check_seen, hash_rows

TASK = load_task("classification")


def records(*numbers: int, label: str = "a", **more: str) -> list[Record]:
    rows = [TASK.row.model_validate({"text": f"text {number}", "label": label, **more}) for number in numbers]
    return [Record(row, "rows.jsonl", number, digest(row)) for number, row in enumerate(rows, 1)]


def manifest(train: range, dev: range, test: range, fingerprint: str = "sha256:1") -> dict[str, Any]:
    splits = {"train": records(*train), "dev": records(*dev), "test": records(*test)}
    return {"rows": hash_rows(TASK, fingerprint, splits)}


OWN = manifest(range(20), range(20, 24), range(24, 30))


def test_its_own_test_rows_are_measured_without_a_word() -> None:
    for choice in ("report", "exclude", "refuse"):
        rows, notes = check_seen(TASK, {"A": OWN}, records(*range(24, 30)), choice)
        assert ([row.value.text for row in rows], notes) == ([f"text {n}" for n in range(24, 30)], [])
    rows, notes = check_seen(TASK, {"A": OWN}, records(*range(24, 30)), "report", 2)
    assert (len(rows), notes) == (2, [])


def test_rows_that_were_trained_on_are_counted_left_out_or_refused() -> None:
    test = records(*range(17), 20, 24, 99)
    counts = "A: 17 of 20 test rows were trained on, 1 more were used for selection"
    split = "A: the test rows are not those of its run: of its 6 inputs 1 are here, beside 19 others"
    rows, notes = check_seen(TASK, {"A": OWN}, test, "report")
    assert (rows, notes[:2]) == (test, [split, counts])
    assert "eval.seen=exclude" in notes[2]
    rows, notes = check_seen(TASK, {"A": OWN}, test, "exclude")
    assert [row.value.text for row in rows] == ["text 24", "text 99"]
    assert notes == [split, counts, "18 of 20 test rows are left out (eval.seen=exclude)"]
    rows, _ = check_seen(TASK, {"A": OWN}, test, "exclude", 1)  # after those that were seen are left out
    assert rows[0].value.text in ("text 24", "text 99")
    with pytest.raises(DataError) as caught:
        check_seen(TASK, {"A": OWN}, test, "refuse")
    assert str(caught.value).startswith(counts)
    with pytest.raises(DataError, match="all 3 test rows were seen in training"):
        check_seen(TASK, {"A": OWN}, records(1, 2, 21), "exclude")


def test_another_label_spelling_or_column_is_the_same_input() -> None:
    for test in (records(1, label="b"), records(1, pair=" ")):
        _, notes = check_seen(TASK, {"A": OWN}, test, "report")
        assert "A: 1 of 1 test rows were trained on, 0 more were used for selection" in notes
    _, notes = check_seen(TASK, {"A": OWN}, records(1, pair="another text"), "report")
    assert not [note for note in notes if "trained on" in note]


@pytest.mark.parametrize("blank", ["\r\n", "\n", "  ", "\t", "\u00a0", "\u2028"])
def test_white_space_makes_no_other_input(blank: str) -> None:
    """A cell of a file from Windows ends its lines otherwise; pages and editors exchange blanks."""
    (row,) = records(1)
    spaced = replace(row, value=row.value.model_copy(update={"text": row.value.text.replace(" ", blank)}))
    _, notes = check_seen(TASK, {"A": OWN}, [spaced], "report")
    assert "A: 1 of 1 test rows were trained on, 0 more were used for selection" in notes


def test_each_of_several_bundles_is_looked_at() -> None:
    other = manifest(range(24, 26), range(1), range(26, 30), "sha256:2")
    rows, notes = check_seen(TASK, {"A": OWN, "B": other}, records(*range(24, 30)), "report")
    assert len(rows) == 6
    assert "B: 2 of 6 test rows were trained on, 0 more were used for selection" in notes
    assert not [note for note in notes if note.startswith("A:")]
    rows, _ = check_seen(TASK, {"A": OWN, "B": other}, records(*range(24, 30)), "exclude")
    assert [row.value.text for row in rows] == ["text 26", "text 27", "text 28", "text 29"]
    with pytest.raises(DataError, match="B: 2 of 6"):
        check_seen(TASK, {"A": OWN, "B": other}, records(*range(24, 30)), "refuse")


@pytest.mark.parametrize(
    "rows", [None, {}, [], {"salt": "x", "train": "?", "dev": "", "test": ""}, {"salt": 1}]
)
def test_of_a_bundle_without_hashes_it_is_unknown(rows: Any) -> None:
    test = records(1, 2)
    for choice in ("report", "exclude"):
        measured, notes = check_seen(TASK, {"old": {"rows": rows}}, test, choice)
        assert measured == test
        assert notes == [
            "old: unknown which test rows it was trained on; bundles keep hashes of their rows since 0.2"
        ]
    with pytest.raises(DataError, match="old: unknown which test rows"):
        check_seen(TASK, {"old": {}}, test, "refuse")


def test_the_hashes_hold_no_text_and_are_those_of_the_rows_alone() -> None:
    rows = OWN["rows"]
    assert sorted(rows) == ["dev", "salt", "test", "train"]
    assert [len(base64.b64decode(rows[name])) for name in ("train", "dev", "test")] == [120, 24, 36]
    assert "text" not in json.dumps(rows)
    again = manifest(range(19, -1, -1), range(20, 24), range(24, 30))
    assert again["rows"] == rows
    salted = manifest(range(20), range(20, 24), range(24, 30), "sha256:other")["rows"]
    assert salted["train"] != rows["train"]
