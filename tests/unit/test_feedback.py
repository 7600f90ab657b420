"""What people said: kept with consent, forgotten in time, trained on only when accepted."""

import json
import sqlite3
import time
from pathlib import Path

import pytest

from appkit.data.feedback import DAY, Feedback
from appkit.errors import DataError


def store(tmp_path: Path, **options: int) -> Feedback:
    return Feedback(tmp_path / "feedback.sqlite", **options)


def test_texts_are_kept_only_with_consent(tmp_path: Path) -> None:
    kept = store(tmp_path)
    kept.add(
        "nl2fol",
        "nl2fol@1",
        verdict="down",
        input={"sentence": "A secret."},
        answer="P(a)",
        correction="Q(a)",
    )
    kept.add("nl2fol", "nl2fol@1", verdict="up", input={"sentence": "Shared."}, answer="P(a)", keep=True)
    without, agreed = kept.entries()
    assert (without.verdict, without.input, without.answer, without.correction) == ("down", None, None, None)
    assert b"secret" not in kept.path.read_bytes()
    assert (agreed.input, agreed.answer) == ({"sentence": "Shared."}, "P(a)")


def test_only_accepted_corrections_become_rows_and_pairs(tmp_path: Path) -> None:
    kept = store(tmp_path)
    for sentence in ("One.", "Two.", "Three."):
        kept.add(
            "nl2fol",
            "nl2fol@1",
            verdict="down",
            input={"sentence": sentence},
            answer="P(a)",
            correction="Q(a)",
            keep=True,
        )
    kept.review(1, "accepted")
    kept.review(2, "rejected")
    assert kept.rows("nl2fol", "formula") == {1: {"sentence": "One.", "formula": "Q(a)"}}
    assert kept.pairs("nl2fol") == [{"input": {"sentence": "One."}, "chosen": "Q(a)", "rejected": "P(a)"}]
    assert [one.id for one in kept.entries(status="new")] == [3]
    assert kept.rows("classification", "label") == {}


def test_a_correction_may_be_of_any_shape(tmp_path: Path) -> None:
    spans = [{"start": 0, "end": 3, "type": "PER"}]
    kept = store(tmp_path)
    kept.add("ner", "ner@1", input={"text": "Ada 🦊"}, answer="", correction=spans, keep=True)
    kept.review(1, "accepted")
    assert kept.rows("ner", "entities") == {1: {"text": "Ada 🦊", "entities": spans}}


def test_accepted_corrections_join_the_training_rows_and_no_others(tmp_path: Path) -> None:
    from appkit.config import DataConfig
    from appkit.data.splits import load_splits
    from appkit.plugins import load_task

    task = load_task("nl2fol")
    rows = [{"sentence": f"Row {n}.", "formula": f"P(a{n})"} for n in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = task.config()
    plain = load_splits(task, options, DataConfig(train=str(tmp_path / "rows.jsonl")))
    kept = store(tmp_path)
    known = plain.train[0].value.sentence
    for sentence in ("New.", known, plain.test[0].value.sentence, "Not accepted."):
        kept.add(
            "nl2fol", "nl2fol@1", input={"sentence": sentence}, answer="P(a)", correction="∀x Q(x)", keep=True
        )
    data = DataConfig(train=str(tmp_path / "rows.jsonl"), feedback=str(kept.path))
    with pytest.raises(DataError, match="no accepted correction of task 'nl2fol'"):
        load_splits(task, options, data)
    for number in (1, 2, 3):
        kept.review(number, "accepted")
    joined = load_splits(task, options, data)
    assert [one.digest for one in joined.test] == [one.digest for one in plain.test]
    assert [one.digest for one in joined.dev] == [one.digest for one in plain.dev]
    added = {(one.value.sentence, one.value.formula, one.line) for one in joined.train} - {
        (one.value.sentence, one.value.formula, one.line) for one in plain.train
    }
    assert added == {("New.", "∀x Q(x)", 1), (known, "∀x Q(x)", 2)}
    assert len(joined.train) == len(plain.train) + 1
    assert (
        "train: 2 rows came from feedback, 1 rows of the same inputs gave way; 1 were left out, "
        "their input is in dev or test"
    ) in joined.notes
    assert joined.sources[-1]["path"] == str(kept.path)
    kept.add("nl2fol", "nl2fol@1", input={"sentence": "Odd."}, answer="", correction="", keep=True)
    kept.review(5, "accepted")
    with pytest.raises(DataError, match=r"feedback\.sqlite:5"):
        load_splits(task, options, data)
    with pytest.raises(DataError, match="no feedback store"):
        load_splits(task, options, DataConfig(train=data.train, feedback=str(tmp_path / "none.sqlite")))


@pytest.mark.parametrize("way", ["add", "expire"])
def test_texts_that_nobody_accepted_are_forgotten_in_time(tmp_path: Path, way: str) -> None:
    kept = store(tmp_path, days=7)
    for _ in range(2):
        kept.add("nl2fol", "nl2fol@1", verdict="up", input={"sentence": "Old."}, answer="P(a)", keep=True)
    kept.review(2, "accepted")
    with sqlite3.connect(kept.path) as connection:
        connection.execute("UPDATE feedback SET at = ?", (time.time() - 8 * DAY,))
    store(tmp_path).entries()  # who only reads, with days of his own, takes nothing away
    assert kept.entries()[0].input == {"sentence": "Old."}
    if way == "add":
        kept.add("nl2fol", "nl2fol@1", verdict="up")
    else:
        kept.expire()
    old, accepted, *_ = kept.entries()
    assert (old.verdict, old.input) == ("up", None)
    assert accepted.input == {"sentence": "Old."}


def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    kept = store(tmp_path)
    kept.expire()  # there is nothing yet
    assert not kept.path.exists()
    kept.add("nl2fol", "nl2fol@1", verdict="up")
    assert kept.path.stat().st_mode & 0o777 == 0o600


def test_what_is_no_store_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database, but long enough to be told from one")
    with pytest.raises(DataError, match=r"notes\.txt cannot be used as a feedback store"):
        Feedback(tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text().startswith("not a database")
    with pytest.raises(DataError, match="name another file"):
        Feedback(tmp_path / "missing" / "feedback.sqlite")
    store(tmp_path)
    assert not (tmp_path / "feedback.sqlite").exists()  # a page that is only looked at leaves nothing behind
    assert store(tmp_path).entries() == []
    with pytest.raises(DataError, match="1 day or more, got 0"):
        store(tmp_path, days=0)
    with pytest.raises(DataError, match="no feedback number 5"):
        store(tmp_path).review(5, "accepted")


def test_two_programs_may_add_at_once(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    kept = store(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda n: kept.add("nl2fol", f"m@{n}", verdict="up"), range(40)))
    assert sorted(numbers) == list(range(1, 41))
    assert json.dumps(sorted(one.model for one in kept.entries())) == json.dumps(
        sorted(f"m@{n}" for n in range(40))
    )


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("input", "{"),
        ("input", '["no", "object"]'),
        ("answer", "not JSON"),
        ("answer", "{}"),
        ("correction", "[" * 100_000),
        ("correction", b"\xff\xfe"),
    ],
)
def test_one_damaged_cell_hides_no_other_entry(
    tmp_path: Path, column: str, cell: object, caplog: pytest.LogCaptureFixture
) -> None:
    kept = store(tmp_path)
    for sentence in ("One.", "Two."):
        kept.add("nl2fol", "v", input={"sentence": sentence}, answer="P(a)", correction="Q(a)", keep=True)
    for number in (1, 2):
        kept.review(number, "accepted")
    with sqlite3.connect(kept.path) as connection:
        connection.execute(f"UPDATE feedback SET {column} = ? WHERE id = 1", (cell,))
    damaged, sound = kept.entries()
    assert (damaged.id, damaged.input, damaged.answer, damaged.correction) == (1, None, None, None)
    assert sound.input == {"sentence": "Two."}
    assert kept.rows("nl2fol", "formula") == {2: {"sentence": "Two.", "formula": "Q(a)"}}
    assert len(kept.pairs("nl2fol")) == 1
    assert "feedback number 1" in caplog.text


@pytest.mark.parametrize("column", ["model", "answer", "task"])
def test_a_cell_that_is_no_utf_8_hides_no_other_entry(tmp_path: Path, column: str) -> None:
    kept = store(tmp_path)
    for sentence in ("One.", "Two."):
        kept.add("nl2fol", "v", input={"sentence": sentence}, answer="P(a)", correction="Q(a)", keep=True)
    with sqlite3.connect(kept.path) as connection:
        connection.execute(f"UPDATE feedback SET {column} = CAST(x'22ff22' AS TEXT) WHERE id = 1")
    damaged, sound = kept.entries()
    assert getattr(damaged, column) in ('"\ufffd"', "\ufffd")
    assert sound.input == {"sentence": "Two."}


@pytest.mark.parametrize(
    "values",
    [
        {"input": {"sentence": "a\ud800"}},
        {"input": {"\ud800": "a"}},
        {"answer": "\udfff"},
        {"correction": ["\ud800"]},
    ],
)
def test_half_a_surrogate_pair_is_not_kept(tmp_path: Path, values: dict[str, object]) -> None:
    kept = store(tmp_path)
    with pytest.raises(DataError, match="half a surrogate pair"):
        kept.add("nl2fol", "v", keep=True, **values)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="half a surrogate pair"):
        kept.add("nl2fol", "v\ud800")
    kept.add("nl2fol", "v", keep=False, **values)  # type: ignore[arg-type]
    assert len(kept.entries()) == 1
