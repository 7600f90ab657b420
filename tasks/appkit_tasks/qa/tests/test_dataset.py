"""The data set that comes with the pack is what its card says."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import yaml
from appkit_tasks.qa import TASK
from appkit_tasks.qa.load import supporting

from appkit.config import DataConfig
from appkit.data.splits import load_splits

FOLDER = Path(str(files("appkit_data").joinpath("qa")))


def test_the_card_tells_the_truth() -> None:
    card = yaml.safe_load((FOLDER / "card.yaml").read_text(encoding="utf-8"))
    for name, told in card["files"].items():
        raw = (FOLDER / name).read_bytes()
        assert (len(raw.splitlines()), hashlib.sha256(raw).hexdigest()) == (told["rows"], told["sha256"])


def test_the_generator_writes_these_files(tmp_path: Path) -> None:
    for name in ("generate.py", "facts.jsonl", "words.yaml"):
        (tmp_path / name).write_bytes((FOLDER / name).read_bytes())
    subprocess.run([sys.executable, "generate.py"], cwd=tmp_path, check=True, capture_output=True)
    for name in ("train.jsonl", "test.jsonl", "handbook.md"):
        assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes(), name


def test_rows_are_sound_and_the_sides_apart() -> None:
    splits = load_splits(TASK, TASK.config(), DataConfig())
    assert not splits.faults
    for side in (splits.train, splits.test):
        for record in side:
            held = supporting(record.value)  # type: ignore[arg-type]
            assert bool(held) == record.value.answerable, record.place  # type: ignore[attr-defined]
    seen = {text for one in splits.train for text in one.value.passages}  # type: ignore[attr-defined]
    assert not seen & {text for one in splits.test for text in one.value.passages}  # type: ignore[attr-defined]
    left = [one for one in splits.test if not one.value.answerable]  # type: ignore[attr-defined]
    assert 0.08 < len(left) / len(splits.test) < 0.2


def test_the_handbook_holds_every_passage_of_the_test_side() -> None:
    book = (FOLDER / "handbook.md").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in (FOLDER / "test.jsonl").read_text(encoding="utf-8").splitlines()]
    assert all(text in book for row in rows for text in row["passages"])
