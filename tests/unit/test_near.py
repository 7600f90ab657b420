"""Near-duplicates: what is planted is found with its exact share, nothing else is, and every row stays."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from pydantic import BaseModel
from tiny import save_tiny

from appkit.config import build_run_config
from appkit.data import near
from appkit.data.near import find_alike, note_alike
from appkit.data.report import check
from appkit.data.rows import Read, Record
from appkit.plugins import load_task
from appkit.runs.check import check_data
from appkit.runs.prepare import prepare
from appkit.task import Row, Task

CLASSIFICATION, QA = load_task("classification"), load_task("qa")
ENGLISH = "The committee postponed its decision on the new harbour bridge until the spring session."
CHINESE = "委员会把关于新港口大桥的决定推迟到春季会议再作讨论，并要求工程部门提交一份更详细的预算报告。"


def records(texts: list[str], file: str = "rows.jsonl", **more: str) -> list[Record]:
    return [
        Record(CLASSIFICATION.row(text=text, label="a", **more), file, line, f"{file}{line}")  # type: ignore[call-arg]
        for line, text in enumerate(texts, 1)
    ]


def share(a: str, b: str) -> float:
    """The share of three-character sequences that two texts have in common, by the definition."""
    texts = (" ".join(text.casefold().split()) for text in (a, b))
    left, right = ({text[at : at + 3] for at in range(len(text) - 2)} for text in texts)
    return len(left & right) / len(left | right)


@pytest.mark.parametrize(
    ("text", "changed"),
    [(ENGLISH, ENGLISH.replace("spring", "autumn")), (CHINESE, CHINESE.replace("春", "秋"))],
)
def test_a_word_exchanged_is_found_with_its_share_in_any_script(text: str, changed: str) -> None:
    (pair,) = find_alike(
        {"train": records(["Something else altogether.", text]), "test": records([changed], "test.jsonl")},
        CLASSIFICATION,
        0.8,
    )
    assert (pair.a, pair.b, pair.places) == ("train", "test", ("rows.jsonl:2", "test.jsonl:1"))
    assert pair.similarity == pytest.approx(share(text, changed), abs=1e-4)
    assert pair.similarity >= 0.8
    assert pair.inputs[0][1:20] == text[:19]


def test_the_threshold_decides() -> None:
    parts = {
        "train": records([ENGLISH]),
        "test": records([ENGLISH.replace("spring session", "next meeting")]),
    }
    value = share(*(rows[0].value.text for rows in parts.values()))  # type: ignore[attr-defined]
    assert 0.5 < value < 0.8
    assert find_alike(parts, CLASSIFICATION, 0.8) == []
    assert [pair.similarity for pair in find_alike(parts, CLASSIFICATION, 0.5)] == [
        pytest.approx(value, abs=1e-4)
    ]


def test_case_and_width_are_no_difference_and_equal_inputs_are_the_business_of_others() -> None:
    texts = [ENGLISH, ENGLISH.upper(), f"  {ENGLISH}".replace(" ", "  "), "ＡＢＣ 123", "abc 123"]
    found = find_alike({"train": records(texts)}, CLASSIFICATION, 1.0)
    assert [(pair.places[1], pair.similarity) for pair in found] == [
        ("rows.jsonl:2", 1.0),
        ("rows.jsonl:5", 1.0),
    ]
    twice = {"train": records([ENGLISH, ENGLISH]), "test": records([ENGLISH])}
    assert find_alike(twice, CLASSIFICATION, 0.8) == []


def test_each_two_splits_are_compared_in_turn_and_a_row_counts_once() -> None:
    parts = {
        "train": records([ENGLISH, f"{ENGLISH} Yes.", "A row that is like no other one."]),
        "dev": records([f"{ENGLISH} No."]),
        "test": records([f"{ENGLISH} Why?", "No row is alike, not even this."]),
    }
    found = find_alike(parts, CLASSIFICATION, 0.8)
    assert sorted((pair.a, pair.b) for pair in found) == [
        ("dev", "test"),
        ("train", "dev"),
        ("train", "test"),
        ("train", "train"),
    ]


def test_one_text_of_a_pair_may_repeat() -> None:
    premise = f"{ENGLISH} " * 8
    rows = [
        *records([premise], pair="It rained."),
        *records([premise], "b.jsonl", pair="Nobody was asked at all."),
    ]
    assert find_alike({"train": rows}, CLASSIFICATION, 0.5) == []
    rows = [
        *records([premise], pair="It rained a lot."),
        *records([premise], "b.jsonl", pair="It rained a lot!"),
    ]
    (pair,) = find_alike({"train": rows}, CLASSIFICATION, 0.5)
    assert pair.similarity == pytest.approx(share("It rained a lot.", "It rained a lot!"), abs=1e-4)


@pytest.mark.parametrize("text", ["…", "!?", "---"])
def test_rows_without_text_are_left_out(text: str) -> None:
    assert (
        find_alike({"train": records([text, f"{text} "]), "test": records([f" {text}"])}, CLASSIFICATION, 0.5)
        == []
    )


def test_long_texts_short_texts_and_other_alphabets() -> None:
    drawn = random.Random(0)
    long = " ".join("".join(drawn.choices("абвгдежзиклмн", k=6)) for _ in range(3000))
    texts = ["a", "b", "ab", "ça", "ça va", long, long[:-2000], "🙂🙂🙂🙂", "नमस्ते दुनिया", "नमस्ते  दुनिया"]
    found = {
        pair.places: pair.similarity for pair in find_alike({"train": records(texts)}, CLASSIFICATION, 0.8)
    }
    assert set(found) == {("rows.jsonl:6", "rows.jsonl:7")}
    assert found["rows.jsonl:6", "rows.jsonl:7"] == pytest.approx(share(long, long[:-2000]), abs=1e-3)


def mutate(text: str, changes: int, drawn: random.Random) -> str:
    signs = list(text)
    for _ in range(changes):
        signs[drawn.randrange(len(signs))] = drawn.choice("abcdefghij")
    return "".join(signs)


def test_what_a_count_of_all_pairs_finds_is_found() -> None:
    drawn = random.Random(1)
    seeds = ["".join(drawn.choices("abcdefghij ", k=90)) for _ in range(60)]
    texts = list(dict.fromkeys(mutate(seed, n, drawn).strip() for seed in seeds for n in range(6)))
    found = {
        pair.places[1]: pair.similarity for pair in find_alike({"train": records(texts)}, CLASSIFICATION, 0.8)
    }
    best = {
        f"rows.jsonl:{line}": max((share(text, other) for other in texts[: line - 1]), default=0.0)
        for line, text in enumerate(texts, 1)
    }
    expected = {place for place, value in best.items() if value >= 0.8}
    assert len(expected) > 60
    assert set(found) <= expected
    assert len(found) >= 0.97 * len(expected)
    assert all(value >= 0.8 for value in found.values())
    exact = sum(abs(found[place] - best[place]) < 1e-3 for place in found)
    assert exact >= 0.9 * len(found), "the most alike is shown"


def test_many_rows_of_one_template_are_all_found() -> None:
    texts = [f"The delivery of order number {n} was delayed by the weather in the north." for n in range(500)]
    assert len(find_alike({"train": records(texts)}, CLASSIFICATION, 0.8)) == 499


def test_rows_that_are_not_compared_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {"train": records([ENGLISH, f"{ENGLISH}!"])}
    assert note_alike(parts, CLASSIFICATION, None) == []
    (note,) = note_alike(parts, CLASSIFICATION, 0.8)
    assert note.startswith("train: 1 row with an input almost like that of an earlier row (data.near=0.8): ")
    monkeypatch.setattr(near, "MOST_ROWS", 1)
    (note,) = note_alike(parts, CLASSIFICATION, 0.8)
    assert note.startswith("near-duplicates were not looked for: 2 rows, at most 1 are compared")
    monkeypatch.setattr(near, "MOST_ROWS", 10)
    monkeypatch.setattr(near, "find_spec", lambda name: None)
    (note,) = note_alike(parts, CLASSIFICATION, 0.8)
    assert "datasketch is not installed; pip install 'appkit[train]'" in note
    report = check({"train": Read(parts["train"], [])}, CLASSIFICATION, near=0.8)
    assert (report.alike, report.notes) == (None, (note,))
    assert report.ok


def test_the_check_shows_the_first_side_by_side_and_counts_all() -> None:
    train, test = records([ENGLISH]), records([f"{ENGLISH} {n}" for n in range(8)], "test.jsonl")
    report = check({"train": Read(train, []), "test": Read(test, [])}, CLASSIFICATION, near=0.8)
    assert report.ok, "they are reported, and stay"
    lines = report.lines()
    at = lines.index(
        "train and test: 8 rows of test with an input almost like that of a row of train (data.near=0.8)"
    )
    assert lines[at + 1].startswith("  0.9")
    assert lines[at + 1].count(ENGLISH[:60]) == 2
    assert " rows.jsonl:1 " in lines[at + 1]
    assert lines[at + 6] == "  and 3 more"
    values = json.loads(report.to_json(2))
    assert values["counts"]["alike"] == 8 + 7
    assert len(values["alike"]) == 2
    assert set(values["alike"][0]) == {"a", "b", "places", "inputs", "similarity"}
    without = check({"train": Read(train, []), "test": Read(test, [])}, CLASSIFICATION)
    assert without.alike is None
    assert not any("almost" in line for line in without.lines())


def test_a_row_is_shown_by_its_text_and_what_tells_it_apart() -> None:
    translation = load_task("translation")

    def translated(source: str, context: str, line: int) -> Record:
        fields = {"source": source, "target_language": "fr", "source_language": "en", "context": context}
        return Record(translation.row(**fields), "rows.jsonl", line, str(line))

    first = translated("Paint the castle blue", "the minutes", 1)
    for context, beside in (("the minutes", ("", "")), ("the minutes!", ("\nthe minutes", "\nthe minutes!"))):
        other = translated("Paint the castle blue!", context, 2)
        (pair,) = find_alike({"train": [first], "test": [other]}, translation, 0.8)
        assert pair.inputs == (
            repr(f"Paint the castle blue{beside[0]}"),
            repr(f"Paint the castle blue!{beside[1]}"),
        )


def write(folder: Path) -> dict[str, str]:
    rows = [{"text": f"{ENGLISH} {word}", "label": word} for word in ("yes", "no")]
    rows += [
        {"text": f"{'abcdefghijkl'[n]} is row {n * 7919}", "label": ("yes", "no")[n % 2]} for n in range(12)
    ]
    folder.joinpath("train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder.joinpath("test.jsonl").write_text(json.dumps({"text": f"{ENGLISH} Why?", "label": "yes"}) + "\n")
    return {"train": str(folder / "train.jsonl"), "test": str(folder / "test.jsonl")}


def test_the_command_and_a_run_report_them_and_keep_the_rows(tmp_path: Path) -> None:
    data = write(tmp_path)
    values = {
        "task": "classification",
        "model": str(save_tiny(tmp_path / "tiny")),
        "quant": "none",
        "data": {**data, "dev_share": 0.2},
    }
    report = check_data(build_run_config(values))
    assert ("train", "test") in [(pair.a, pair.b) for pair in report.alike or ()]
    prepared = prepare(build_run_config(values))
    (note,) = (note for note in prepared.notes if note.startswith("train and test: 1 row of test"))
    assert f"{data['test']}:1 " in note
    assert "\n" not in note
    splits = prepared.splits
    assert len(splits.train) + len(splits.dev) + len(splits.test) == 15
    values["data"]["near"] = None  # type: ignore[index]
    assert check_data(build_run_config(values)).alike is None
    assert not any("almost" in note for note in prepare(build_run_config(values)).notes)


class Pictures(Row):
    picture: bytes = b""
    label: str = ""


class Options(BaseModel):
    pass


def test_inputs_that_are_no_text_are_left_out() -> None:
    task = Task(
        name="toy",
        summary="a picture",
        config=Options,
        row=Pictures,
        load=lambda options: None,
        prompt=lambda row, options: [],
        target=lambda row, options: None,  # type: ignore[arg-type, return-value]
        metrics=CLASSIFICATION.metrics,
        primary=CLASSIFICATION.primary,
        input="picture",
        output="label",
        examples=("x",),
    )
    rows = [Record(Pictures(picture=b"same" * 9 + bytes([n])), "p.parquet", n, str(n)) for n in range(3)]
    assert find_alike({"train": rows}, task, 0.5) == []
