"""Splits: pure functions of content, and no input of dev or test in train."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from appkit.config import DataConfig, build_run_config
from appkit.data.overlap import conflicts, duplicates, input_key
from appkit.data.rows import Record, digest
from appkit.data.splits import load_splits, read_splits, split, subset
from appkit.errors import DataError
from appkit.runs import prepare
from appkit.task import Metric, Parsed, Row, Shipped, Task, Text, TextHead


class Sentence(Row):
    sentence: str
    formula: str = ""


class Options(BaseModel):
    pass


def task(load: Callable[[Any], Shipped | None] = lambda options: None) -> Task:
    return Task(
        name="toy",
        summary="a sentence and its formula",
        config=Options,
        row=Sentence,
        load=load,
        prompt=lambda row, options: [],
        target=lambda row, options: Text(row.formula),
        head=TextHead(parse=Parsed),
        metrics=(Metric("exact", "same text", lambda row, prediction: (0.0,)),),
        primary="exact",
        input="sentence",
        output="formula",
        examples=("Every dog barks.",),
    )


KEY = input_key(task())
SHARES = {"dev": 0.05, "test": 0.1}


def record(sentence: str, formula: str = "P", line: int = 1) -> Record:
    value = Sentence(sentence=sentence, formula=formula)
    return Record(value, "rows.jsonl", line, digest(value))


def numbered(count: int, start: int = 0) -> list[Record]:
    return [record(f"sentence {number}", line=number + 1) for number in range(start, start + count)]


def inputs(records: list[Record]) -> set[str]:
    return {KEY(item) for item in records}


def write(path: Path, pairs: list[tuple[str, str]]) -> str:
    path.parent.mkdir(exist_ok=True)
    rows = [json.dumps({"sentence": sentence, "formula": formula}) for sentence, formula in pairs]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return str(path)


def pairs(count: int, name: str = "s") -> list[tuple[str, str]]:
    return [(f"{name}{number}", f"P{number}") for number in range(count)]


# --- split and subset -----------------------------------------------------------------------------------


def test_shares_are_met_within_sampling_error() -> None:
    parts = split(numbered(10_000), SHARES, KEY)
    assert abs(len(parts["dev"]) - 500) < 4 * 22  # four standard deviations of a binomial
    assert abs(len(parts["test"]) - 1000) < 4 * 30
    assert sum(map(len, parts.values())) == 10_000


def test_the_split_of_a_row_does_not_change_when_rows_come_or_move() -> None:
    old, new = numbered(1000), numbered(2000)
    random.Random(0).shuffle(new)
    before, after = split(old, SHARES, KEY), split(new, SHARES, KEY)
    for name in before:
        assert inputs(before[name]) == inputs(after[name]) & inputs(old)


def test_dev_stays_when_a_test_file_is_brought() -> None:
    assert split(numbered(500), {"dev": 0.05}, KEY)["dev"] == split(numbered(500), SHARES, KEY)["dev"]


def test_one_input_is_in_one_split_whatever_its_targets_and_composition() -> None:
    records = [record(f"é{number}", "P") for number in range(200)]
    records += [record(f"e\u0301{number}", "Q") for number in range(200)]
    parts = split(records, {"dev": 0.3, "test": 0.3}, KEY)
    assert all(len(part) == 2 * len(inputs(part)) > 0 for part in parts.values())


@pytest.mark.parametrize(
    ("count", "sizes"), [(0, (0, 0, 0)), (1, (0, 0, 1)), (2, (1, 0, 1)), (3, (1, 1, 1)), (4, (1, 1, 2))]
)
def test_few_rows_go_to_train_first_then_dev_then_test(count: int, sizes: tuple[int, int, int]) -> None:
    parts = split(numbered(count), {"dev": 1e-9, "test": 1e-9}, KEY)
    assert (len(parts["dev"]), len(parts["test"]), len(parts["train"])) == sizes
    assert {name: inputs(part) for name, part in parts.items()} == {
        name: inputs(part) for name, part in split(numbered(count)[::-1], {"dev": 0, "test": 0}, KEY).items()
    }


def test_large_shares_leave_train_a_row() -> None:
    parts = split(numbered(3), {"dev": 0.49, "test": 0.49}, KEY)
    assert sorted(len(part) for part in parts.values()) == [1, 1, 1]


@settings(max_examples=80, deadline=None)
@given(
    rows=st.lists(st.tuples(st.text(max_size=3), st.sampled_from("PQ")), max_size=40),
    shares=st.lists(st.floats(0.01, 0.49), min_size=1, max_size=2),
    seed=st.randoms(use_true_random=False),
)
def test_splits_are_disjoint_complete_and_independent_of_order(
    rows: list[tuple[str, str]], shares: list[float], seed: random.Random
) -> None:
    records = [record(*row) for row in rows]
    named = dict(zip(("dev", "test"), shares, strict=False))
    parts = split(records, named, KEY)
    assert sorted(map(id, records)) == sorted(id(item) for part in parts.values() for item in part)
    names = [inputs(part) for part in parts.values()]
    assert sum(map(len, names)) == len(set().union(*names))
    if len(inputs(records)) > len(named):
        assert all(parts.values())
    seed.shuffle(records)
    assert [inputs(part) for part in split(records, named, KEY).values()] == names


def test_subset_is_stable_and_nested() -> None:
    records = numbered(300)
    shuffled = random.Random(1).sample(records, 300)
    assert subset(shuffled, 50) == subset(records, 50) == subset(records, 100)[:50]
    assert subset(records, 50) != records[:50]
    kept = set(subset(records, 150))
    assert set(subset([*records, *numbered(30, 300)], 150)) & set(records) <= kept
    assert len(subset(records, 999)) == 300


def test_subset_is_not_correlated_with_split() -> None:
    # with one salt for both, the 200 lowest of 2,000 rows would all be dev or test
    records = [record(f"sentence {number}", "") for number in range(2000)]
    held = split(records, {"dev": 0.1}, lambda item: item.digest)["dev"]
    assert len(set(held) & set(subset(records, 200))) < 60


def test_duplicates_and_conflicts() -> None:
    rows = [
        record("a", "P", 1),
        record("b", "P", 2),
        record("a", "P", 3),
        record("a", "Q", 4),
        record("a", "P", 5),
    ]
    assert [(one.line, two.line) for one, two in duplicates(rows)] == [(1, 3), (1, 5)]
    assert [[item.line for item in group] for group in conflicts(rows, task())] == [[1, 4]]


# --- load_splits ----------------------------------------------------------------------------------------


def test_train_alone_is_carved_into_three(tmp_path: Path) -> None:
    splits = load_splits(task(), Options(), DataConfig(train=write(tmp_path / "a.jsonl", pairs(400))))
    sizes = [len(splits.train), len(splits.dev), len(splits.test)]
    assert sum(sizes) == 400
    assert 5 <= sizes[1] <= 40
    assert 15 <= sizes[2] <= 70
    assert f"dev: {sizes[1]} rows carved from train by hash" in splits.notes
    assert not inputs(splits.train) & (inputs(splits.dev) | inputs(splits.test))
    assert [source["split"] for source in splits.sources] == ["train"]


def test_rows_of_given_dev_and_test_leave_train_and_nothing_else_moves(tmp_path: Path) -> None:
    data = DataConfig(
        train=write(tmp_path / "a.jsonl", pairs(20)),
        dev=write(tmp_path / "dev.jsonl", [("s1", "other"), ("d", "P")]),
        test=write(tmp_path / "test.jsonl", [("s2", "P2"), ("s3", "P"), ("t", "P"), ("t", "P"), ("d", "Q")]),
    )
    splits = load_splits(task(), Options(), data)
    assert inputs(splits.train) == {f"s{number}" for number in range(20)} - {"s1", "s2", "s3"}
    assert [record.value.sentence for record in splits.dev] == ["s1", "d"]
    assert [record.value.sentence for record in splits.test] == ["s2", "s3", "t", "t", "d"]
    notes = "\n".join(splits.notes)
    assert f"train: 1 rows removed, their input is in dev ({data.train}:2 / {data.dev}:1)" in notes
    assert f"train: 2 rows removed, their input is in test ({data.train}:3 / {data.test}:1" in notes
    assert f"test: 1 exact duplicates kept ({data.test}:3 / {data.test}:4)" in notes
    assert f"dev: 1 rows kept, their input is in test too ({data.dev}:2 / {data.test}:5)" in notes


def test_a_carved_dev_is_free_of_test_inputs(tmp_path: Path) -> None:
    train = write(tmp_path / "a.jsonl", pairs(200))
    carved = load_splits(task(), Options(), DataConfig(train=train)).dev
    test = write(tmp_path / "t.jsonl", [(record.value.sentence, "P") for record in carved])
    splits = load_splits(task(), Options(), DataConfig(train=train, test=test))
    assert splits.dev
    assert not inputs(splits.dev) & inputs(carved)


def test_duplicates_leave_train_and_conflicts_are_told(tmp_path: Path) -> None:
    train = write(tmp_path / "a.jsonl", [("s0", "P0"), ("s0", "Q"), *pairs(30)])
    given = write(tmp_path / "b.jsonl", pairs(3, "d"))
    splits = load_splits(task(), Options(), DataConfig(train=train, dev=given, test=given))
    assert len(splits.train) == 31
    assert f"train: 1 exact duplicates removed ({train}:1 / {train}:3)" in splits.notes
    assert f"train: 1 inputs have more than one formula ({train}:1 / {train}:2)" in splits.notes


def test_shipped_files_are_found_in_their_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "toyrows"
    train = write(package / "train.jsonl", pairs(40))
    test = write(package / "test.jsonl", pairs(5, "t"))
    (package / "__init__.py").touch()
    (package / "card.yaml").write_text("licence: CC-BY-4.0\norigin: made up\n")
    monkeypatch.syspath_prepend(tmp_path)
    shipped = task(lambda options: Shipped("toyrows", {"train": "train.jsonl", "test": "test.jsonl"}))
    # data.columns is for the user's files: the shipped ones have the schema's names
    splits = load_splits(shipped, Options(), DataConfig(columns={"sentence": "NL"}))
    assert [record.file for record in splits.test] == [test] * 5
    assert len(splits.train) + len(splits.dev) == 40
    assert splits.dev
    assert splits.sources[0]["path"] == train
    assert splits.sources[0]["rows"] == 40
    assert splits.sources[0]["licence"] == "CC-BY-4.0"
    import hashlib

    assert splits.sources[1]["sha256"] == hashlib.sha256(Path(test).read_bytes()).hexdigest()

    mine = write(tmp_path / "mine.jsonl", pairs(60, "m"))
    splits = load_splits(shipped, Options(), DataConfig(train=mine))
    assert all(name.startswith("m") for name in inputs(splits.test))  # carved, not the shipped test
    assert splits.sources[0]["licence"] is None

    (package / "card.yaml").write_text("licence: [\n")
    with pytest.raises(DataError, match=r"card\.yaml' cannot be read"):
        load_splits(shipped, Options(), DataConfig())
    sys.modules.pop("toyrows", None)


def test_no_data_at_all_names_the_remedy() -> None:
    with pytest.raises(DataError, match=r"task 'toy' ships no rows; name yours: data\.train="):
        load_splits(task(), Options(), DataConfig())
    absent = task(lambda options: Shipped("no_such_package", {"train": "train.jsonl"}))
    with pytest.raises(DataError, match=r"pip install 'appkit\[toy\]'"):
        load_splits(absent, Options(), DataConfig())


def test_faults_are_refused_or_dropped(tmp_path: Path) -> None:
    train = tmp_path / "a.jsonl"
    write(train, [*pairs(30), *[("bad", "")] * 7])
    with pytest.raises(DataError) as caught:
        load_splits(task(), Options(), DataConfig(train=str(train)))
    message = str(caught.value)
    assert message.startswith("7 faults in the data:")
    assert [f"{train}:{line}: formula is empty" in message for line in range(31, 38)] == [True] * 5 + [
        False
    ] * 2
    assert "and 2 more" in message
    assert "appkit data check task=toy" in message
    assert "data.on_error=drop" in message

    splits = load_splits(task(), Options(), DataConfig(train=str(train), on_error="drop"))
    assert [fault.line for fault in splits.faults] == list(range(31, 38))
    assert len(splits.train) + len(splits.dev) + len(splits.test) == 30
    assert "7 rows at fault were left out" in splits.notes


def test_an_empty_split_is_an_error(tmp_path: Path) -> None:
    train = write(tmp_path / "a.jsonl", pairs(2))
    with pytest.raises(DataError, match=r"test has no rows left .*data\.test="):
        load_splits(task(), Options(), DataConfig(train=train))
    with pytest.raises(DataError, match=r"train has no rows left .*2 rows removed, their input is in test"):
        load_splits(task(), Options(), DataConfig(train=train, test=train))
    three = write(tmp_path / "b.jsonl", pairs(3))
    splits = load_splits(task(), Options(), DataConfig(train=three))
    assert [len(splits.train), len(splits.dev), len(splits.test)] == [1, 1, 1]


def test_hub_sources_without_a_split_ask_for_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked = []

    def load_dataset(name: str, split: str, revision: str | None) -> Any:
        asked.append(split)
        return datasets.Dataset.from_list([{"sentence": f"{split}{n}", "formula": "P"} for n in range(3)])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    data = DataConfig(train="hub:org/name", dev="hub:org/name", test="hub:org/name@v2:extra")
    splits = load_splits(task(), Options(), data)
    assert asked == ["train", "validation", "extra"]
    assert splits.sources[1] == {
        "split": "dev",
        "path": "hub:org/name:validation",
        "sha256": None,
        "rows": 3,
        "licence": None,
    }


def test_read_splits_neither_carves_nor_raises_on_bad_rows(tmp_path: Path) -> None:
    train = write(tmp_path / "a.jsonl", [("a", "P"), ("b", "")])
    reads = read_splits(task(), Options(), DataConfig(train=train))
    assert list(reads) == ["train"]
    assert len(reads["train"].records) == len(reads["train"].faults) == 1


def test_no_more_rows_are_encoded_than_are_trained_on() -> None:
    """Those left out for their length are made up for; chosen are those of lowest hash, as if all were read."""
    values = [Sentence(sentence=f"{n}") for n in range(40)]
    rows = [Record(value, "rows.jsonl", n, digest(value)) for n, value in enumerate(values)]
    ordered = subset(rows, len(rows))
    long = {ordered[1].line, ordered[5].line}
    read: list[Record] = []

    def encode(records: list[Record], max_length: int, on_long: str) -> Any:
        read.extend(records)
        short = [record for record in records if record.line not in long]
        examples = [SimpleNamespace(tokens=(1,)) for _ in short]
        return examples, short, [f"dropped, too long: {one.line}" for one in records if one.line in long]

    config = build_run_config({"task": "nl2fol", "model": "smollm2-135m", "train": {"max_rows": 5}})
    head: Any = SimpleNamespace(encode=encode)
    examples, records, notes = prepare._encode_training_rows(config, head, SimpleNamespace(train=rows))  # type: ignore[arg-type]
    assert len(examples) == 5
    assert records == [record for record in ordered if record.line not in long][:5]
    assert read == ordered[:7]
    assert len(notes) == 2
