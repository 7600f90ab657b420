"""A mix of sources: what is read of each, which rows are held out, how often each is drawn."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from appkit.config import DataConfig, build_run_config
from appkit.data.mix import shares
from appkit.data.splits import Splits, load_splits
from appkit.errors import ConfigError, DataError
from appkit.plugins import load_task
from appkit.training.plan import Mix, plan

TASK = load_task("nl2fol")


def write(folder: Path, name: str, count: int, **more: Any) -> str:
    rows = [{"sentence": f"{name} {n} barks.", "formula": "P(a)"} | more for n in range(count)]
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def load(**data: Any) -> Splits:
    config = build_run_config({"task": "nl2fol", "data": data})
    return load_splits(TASK, config.task, config.data)


def count(records: Any) -> Counter[str | None]:
    return Counter(record.domain for record in records)


def test_each_source_is_a_domain_and_gives_its_share_to_dev_and_test(tmp_path: Path) -> None:
    law, it = write(tmp_path, "law.jsonl", 200), write(tmp_path, "it.jsonl", 100)
    splits = load(mix=[{"path": law}, {"path": it, "domain": "software"}], dev_share=0.1, test_share=0.2)
    whole = count([*splits.train, *splits.dev, *splits.test])
    assert whole == {"law": 200, "software": 100}
    for part, share in ((splits.dev, 0.1), (splits.test, 0.2)):
        assert count(part)["law"] == pytest.approx(200 * share, abs=15)
        assert count(part)["software"] == pytest.approx(100 * share, abs=12)
    assert {(one["path"], one["rows"]) for one in splits.sources} == {(law, 200), (it, 100)}
    assert any("of software carved" in note for note in splits.notes)


def test_a_source_with_files_of_its_own_is_not_carved(tmp_path: Path) -> None:
    law, it = write(tmp_path, "law.jsonl", 50), write(tmp_path, "it.jsonl", 50)
    held = write(tmp_path, "held.jsonl", 7)
    splits = load(mix=[{"path": law, "test": held}, {"path": it}], dev_share=0.1, test_share=0.2)
    assert count(splits.test)["law"] == 7
    assert count(splits.test)["it"] > 3
    assert count([*splits.train, *splits.dev])["law"] == 50


def test_a_dev_file_for_all_carves_no_dev(tmp_path: Path) -> None:
    law, it = write(tmp_path, "law.jsonl", 50), write(tmp_path, "it.jsonl", 50)
    splits = load(mix=[{"path": law}, {"path": it}], dev=write(tmp_path, "dev.jsonl", 9), test_share=0.2)
    assert count(splits.dev) == {None: 9}
    assert len(splits.train) + len(splits.test) == 100


def test_an_input_in_two_sources_stays_on_one_side(tmp_path: Path) -> None:
    one = write(tmp_path, "one.jsonl", 60)
    other = str(Path(one).with_name("other.jsonl"))
    Path(other).write_text(Path(one).read_text(), encoding="utf-8")
    splits = load(mix=[{"path": one}, {"path": other}], dev_share=0.2, test_share=0.2)
    sides = [{record.value.sentence for record in part} for part in (splits.train, splits.dev, splits.test)]
    assert not sides[0] & sides[1]
    assert not sides[0] & sides[2]
    assert not sides[1] & sides[2]


def test_a_column_names_domain_and_document(tmp_path: Path) -> None:
    rows = [
        {
            "sentence": f"{n} barks.",
            "formula": "P(a)",
            "field": "law" if n % 2 else "it",
            "book": f"b{n // 10}",
        }
        for n in range(200)
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    splits = load(train=str(path), domain="field", document="book", dev_share=0.2, test_share=0.2)
    books = [{record.document for record in part} for part in (splits.train, splits.dev, splits.test)]
    assert not books[0] & books[1]
    assert not books[0] & books[2]
    assert not books[1] & books[2]
    assert sum(len(part) for part in books) == 20
    assert count(splits.train) == {"law": len(splits.train) // 2, "it": len(splits.train) // 2}


def test_of_two_documents_with_one_input_none_is_trained_on_what_the_other_tests(tmp_path: Path) -> None:
    rows = [{"sentence": f"{n % 50} barks.", "formula": "P(a)", "book": f"b{n // 10}"} for n in range(100)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    splits = load(train=str(path), document="book", dev_share=0.2, test_share=0.2)
    held = {record.value.sentence for record in (*splits.dev, *splits.test)}
    assert held
    assert not held & {record.value.sentence for record in splits.train}


@pytest.mark.parametrize(
    ("data", "error", "said"),
    [
        ({"train": "a.jsonl", "mix": [{"path": "b.jsonl"}]}, ConfigError, "mix and train both name"),
        ({"temperature": 2}, ConfigError, "temperature has no effect without a mix"),
        ({"mix": [{"path": "a.jsonl", "weigth": 2}]}, ConfigError, r"data.mix.0.weigth.*did you mean"),
        ({"mix": [{"path": "a.jsonl", "weight": 0}]}, ConfigError, r"data.mix.0.weight: .*greater than 0"),
        ({"mix": [{"path": "x/a.jsonl"}, {"path": "y/a.csv"}]}, DataError, "names the domain 'a' twice"),
        ({"mix": "a.jsonl"}, ConfigError, "data.mix: input should be a list"),
    ],
)
def test_what_is_no_mix_is_one_line(data: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said) as raised:
        load(**data)
    assert "\n" not in str(raised.value)


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no column 'book'; it has 'sentence', 'formula'.*data.document="):
        load(train=write(tmp_path, "a.jsonl", 20), document="book")


# --- shares and drawing


def configured(temperature: float = 1, **weights: float | None) -> DataConfig:
    mix = tuple({"path": f"{name}.jsonl", "weight": weight} for name, weight in weights.items())
    return DataConfig.model_validate({"mix": mix, "temperature": temperature})


ROWS = ["big"] * 90 + ["small"] * 10


def test_without_weights_every_row_is_drawn_once() -> None:
    assert shares(ROWS, configured(big=None, small=None)) is None


@pytest.mark.parametrize(
    ("data", "small"),
    [
        (configured(big=None, small=90), 0.5),
        (configured(big=1, small=3), 0.75),
        (configured(2, big=None, small=None), 10**0.5 / (10**0.5 + 90**0.5)),
        (configured(100, big=None, small=None), 0.5),
        (configured(2, big=9, small=1), 0.25),
    ],
)
def test_shares_follow_weight_and_temperature(data: DataConfig, small: float) -> None:
    drawn = shares(ROWS, data)
    assert drawn is not None
    assert drawn["small"] == pytest.approx(small, abs=0.006)
    assert sum(drawn.values()) == pytest.approx(1)


def test_a_weight_of_what_is_not_there_is_refused() -> None:
    with pytest.raises(
        ConfigError, match="weight to 'small', of which no training row is left; it has 'big'"
    ):
        shares(["big"] * 4, configured(big=None, small=2))


@pytest.mark.parametrize("share", [0.5, 0.07, 0.003])
def test_an_epoch_draws_each_source_by_its_share_and_its_rows_in_turn(share: float) -> None:
    mix = Mix.of(ROWS, {"big": 1 - share, "small": share})
    drawn: Counter[int] = Counter()
    for epoch in range(7):
        order = mix.draw(seed=3, epoch=epoch)
        assert len(order) == 100
        assert sum(row >= 90 for row in order) == pytest.approx(100 * share, abs=1)
        drawn.update(order.tolist())
    for rows in (range(90), range(90, 100)):
        times = [drawn[row] for row in rows]
        assert max(times) - min(times) <= 1
    assert np.array_equal(mix.draw(3, 4), mix.draw(3, 4))
    assert not np.array_equal(mix.draw(3, 4), mix.draw(3, 5))


def test_a_plan_of_a_mix_has_the_steps_of_one_without() -> None:
    lengths = [5] * 100
    mixed = plan(lengths, 8, 40, 2.5, 0, Mix.of(ROWS, {"big": 0.5, "small": 0.5}))
    plain = plan(lengths, 8, 40, 2.5, 0)
    assert [len(step.batches) for step in mixed] == [len(step.batches) for step in plain]
    rows = [row for step in mixed for batch in step.batches for row in batch]
    assert sum(row >= 90 for row in rows) == pytest.approx(len(rows) / 2, abs=8)
