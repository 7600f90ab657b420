"""The report of `appkit data check`: it finds what was planted, all of it, and never raises on bad rows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import BaseModel

from appkit.config import DataConfig
from appkit.data.report import DataReport, check
from appkit.data.rows import Read
from appkit.data.splits import read_splits
from appkit.task import Metric, Parsed, Row, Task, Text, TextHead


class Sentence(Row):
    sentence: str
    formula: str = ""


class Options(BaseModel):
    pass


TASK = Task(
    name="toy",
    summary="a sentence and its formula",
    config=Options,
    row=Sentence,
    load=lambda options: None,
    prompt=lambda row, options: [],
    target=lambda row, options: Text(row.formula),
    head=TextHead(parse=Parsed),
    metrics=(Metric("exact", "same text", lambda row, prediction: (0.0,)),),
    primary="exact",
    input="sentence",
    output="formula",
    examples=("Every dog barks.",),
)

TRAIN = [*[(f"{'w ' * number}end", "P") for number in range(1, 101)], ("w end", "P"), ("w end", "Q")]
TEST = [("w w end", "P"), ("only here", "P")]


def write(path: Path, pairs: list[tuple[str, str]], tail: str = "") -> str:
    rows = [json.dumps({"sentence": sentence, "formula": formula}) for sentence, formula in pairs]
    path.write_text("\n".join(rows) + "\n" + tail, encoding="utf-8")
    return str(path)


@pytest.fixture
def data(tmp_path: Path) -> DataConfig:
    broken = "{\n" * 8
    return DataConfig(
        train=write(tmp_path / "train.jsonl", TRAIN, broken), test=write(tmp_path / "test.jsonl", TEST)
    )


def words(row: Row) -> int:
    return len(row.sentence.split())  # type: ignore[attr-defined]


@pytest.fixture
def report(data: DataConfig) -> DataReport:
    return check(read_splits(TASK, Options(), data), TASK, words, max_length=90)


def test_everything_planted_is_found(report: DataReport, data: DataConfig) -> None:
    assert report.rows == {"train": 102, "test": 2}
    assert [fault.line for fault in report.faults] == list(range(103, 111))
    assert report.duplicates == {"train": [(f"{data.train}:1", f"{data.train}:101")], "test": []}
    assert [item.places for item in report.overlaps] == [(f"{data.train}:2", f"{data.test}:1")]
    assert [item.targets for item in report.conflicts] == [{f"{data.train}:1": "P", f"{data.train}:102": "Q"}]
    # lengths 2..101 and twice 2 more: the 51st, 92nd, 97th and 101st of 102 in order
    assert report.lengths["train"] == {"tokens": {"p50": 50, "p90": 91, "p95": 96, "p99": 100, "max": 101}}
    assert report.long is not None
    assert report.long["train"][0] == (f"{data.train}:90", 91)
    assert len(report.long["train"]) == 11
    assert not report.ok


def test_the_text_shows_every_fault_and_the_first_of_the_rest(report: DataReport, data: DataConfig) -> None:
    text = "\n".join(report.lines())
    assert all(f"{data.train}:{line}: row is broken JSON" in text for line in range(103, 111))
    assert f"{data.train}:101 repeats {data.train}:1" in text
    assert "train: 11 rows longer than data.max_length=90" in text
    assert f"{data.train}:94 has 95 tokens" in text
    assert f"{data.train}:95 has" not in text
    assert "and 6 more" in text
    assert text.endswith("not ok")


def test_what_training_leaves_out_is_no_reason_not_to_start(report: DataReport) -> None:
    assert not replace(report, tolerated=("long",)).ok  # its faults
    assert not replace(report, tolerated=("faults",)).ok
    both = replace(report, tolerated=("faults", "long"))
    assert both.ok
    assert "train: 11 rows longer than data.max_length=90, as data.on_long allows" in "\n".join(both.lines())
    assert not replace(both, rows={"train": 0}).ok


def test_the_json_has_all(report: DataReport) -> None:
    values = json.loads(report.to_json())
    assert values["ok"] is False
    assert len(values["faults"]) == 8
    assert len(values["long"]["train"]) == 11


def test_without_a_tokenizer_characters_are_counted(data: DataConfig) -> None:
    report = check(read_splits(TASK, Options(), data), TASK, max_length=8)
    assert report.lengths["test"]["characters of sentence"]["max"] == len("only here")
    assert report.lengths["test"]["characters of formula"]["p50"] == 1
    assert report.long is None
    assert "data.max_length=8 not checked: no tokenizer was given" in report.lines()


def test_ok_is_whether_training_would_start(tmp_path: Path) -> None:
    twice = DataConfig(train=write(tmp_path / "a.jsonl", [("a b", "P"), ("a b", "P"), ("c", "P")]))
    reads = read_splits(TASK, Options(), twice)
    assert check(reads, TASK, words, max_length=2).ok
    assert not check(reads, TASK, words, max_length=1).ok
    nothing = DataConfig(train=write(tmp_path / "b.jsonl", [], "{\n"))
    report = check(read_splits(TASK, Options(), nothing), TASK, words, max_length=8)
    assert report.rows == {"train": 0}
    assert not report.ok
    assert not check({"train": Read([], [])}, TASK).ok


def test_json_can_be_cut_to_the_first_of_each_kind(report: DataReport) -> None:
    whole, cut = json.loads(report.to_json()), json.loads(report.to_json(3))
    assert cut["counts"] == {
        "faults": 8,
        "duplicates": 1,
        "overlaps": 1,
        "alike": 0,
        "conflicts": 1,
        "long": 11,
        "findings": 0,
    }
    assert cut["faults"] == whole["faults"][:3]
    assert cut["long"] == {"train": whole["long"]["train"][:3], "test": []}
    assert {key: cut[key] for key in ("ok", "rows", "lengths")} == {
        key: whole[key] for key in ("ok", "rows", "lengths")
    }
    assert "counts" not in whole
