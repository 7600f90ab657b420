"""Runs on the real base, each made once in a session, whichever of its workers asks first."""

from __future__ import annotations

import json
import os
import pickle
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

SHORT = {"trackers": [], "name": "quick"}


def shipped(name: str) -> list[dict[str, Any]]:
    text = files("appkit_data").joinpath(name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def ten_labels() -> list[dict[str, Any]]:
    rows = shipped("tickets/train.jsonl")
    labels = sorted({row["label"] for row in rows})[:10]
    return [row for label in labels for row in [row for row in rows if row["label"] == label][:8]]


def names_in_texts() -> list[dict[str, Any]]:
    return shipped("entities/train.jsonl")[:400]


def label_run(task: str, rows: list[dict[str, Any]], folder: Path, **more: Any) -> dict[str, Any]:
    """What trains a label head for some steps on these rows, a tenth each held out to select and to test."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {
        "task": task,
        "model": {"name": "smollm2-135m", "dtype": "float32"},
        "method": {"rank": 8},
        "data": {"train": str(file), "dev_share": 0.1, "test_share": 0.1},
        "eval": {"rows": 16, "quant_rows": 0, "baseline": False, "resamples": 100},
        "train": SHORT | {"batch_rows": 16},
        "run_dir": str(folder / "run"),
        **more,
    }


def nl2fol(folder: Path) -> dict[str, Any]:
    return {
        "task": "nl2fol",
        "model": {"name": "smollm2-135m", "dtype": "float32"},
        "train": SHORT | {"max_rows": 96, "batch_rows": 4},
        "eval": {"rows": 12, "quant_rows": 6, "few_shot": 2},
        "method": {"rank": 8},
        "run_dir": str(folder / "run"),
    }


def classification(folder: Path) -> dict[str, Any]:
    return label_run("classification", ten_labels(), folder)


def ner(folder: Path) -> dict[str, Any]:
    return label_run("ner", names_in_texts(), folder, head={"attention": "unmasked"})


RECIPES = {"nl2fol": nl2fol, "classification": classification, "ner": ner}


class Trained:
    """`trained("nl2fol")` is the result of that run; workers share the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results: dict[str, Any] = {}

    def __call__(self, name: str) -> Any:
        import appkit
        from appkit.storage.atomic import locked

        kept = self.folder / name / "result.pickle"
        kept.parent.mkdir(parents=True, exist_ok=True)
        if name not in self.results:
            with locked(kept):
                if kept.exists():
                    self.results[name] = pickle.loads(kept.read_bytes())
                else:
                    self.results[name] = appkit.train(name=name, **RECIPES[name](kept.parent))
                    kept.write_bytes(pickle.dumps(self.results[name]))
        return self.results[name]


def shared_folder(tmp_path_factory: pytest.TempPathFactory, name: str) -> Path:
    """One for all workers of a session."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    folder.mkdir(exist_ok=True)
    return folder
