"""Runs on the real base, each made once in a session, whichever of its workers asks first."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
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
    return shipped("entities/train.jsonl")[:160]


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
        "train": SHORT | {"max_rows": 64, "batch_rows": 4},
        "eval": {"rows": 8, "quant_rows": 4, "few_shot": 2},
        "method": {"rank": 8},
        "run_dir": str(folder / "run"),
    }


def classification(folder: Path) -> dict[str, Any]:
    return label_run("classification", ten_labels(), folder)


def ner(folder: Path) -> dict[str, Any]:
    return label_run("ner", names_in_texts(), folder, head={"attention": "unmasked"})


RECIPES = {"nl2fol": nl2fol, "classification": classification, "ner": ner}


@dataclass(frozen=True)
class Made:
    """A run, its bundle, what the adapter answered to the rows it was measured on, and scores by who and metric."""

    run_dir: Path
    bundle: Path
    rows: list[dict[str, Any]]
    answers: list[str]
    scores: dict[str, dict[str, float]]


def made(result: Any) -> dict[str, Any]:
    """As JSON, for the other workers."""
    who = {"adapter": result.adapter, "base": result.base}
    return {
        "run_dir": str(result.run_dir),
        "bundle": str(result.bundle),
        "rows": [record.value.model_dump(mode="json") for record in result.adapter.records],
        "answers": [prediction.text for prediction in result.adapter.predictions],
        "scores": {
            name: {metric: score.interval.value for metric, score in one.scores.items()}
            for name, one in who.items()
            if one is not None
        },
    }


class Trained:
    """`trained("nl2fol")` is that run; workers share the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str) -> Made:
        import appkit
        from appkit.storage.atomic import locked

        kept = self.folder / name / "made.json"
        kept.parent.mkdir(parents=True, exist_ok=True)
        with locked(kept):
            if not kept.exists():
                result = appkit.train(name=name, **RECIPES[name](kept.parent))
                kept.write_text(json.dumps(made(result)), encoding="utf-8")
        found = json.loads(kept.read_text(encoding="utf-8"))
        return Made(Path(found.pop("run_dir")), Path(found.pop("bundle")), **found)


def shared_folder(tmp_path_factory: pytest.TempPathFactory, name: str) -> Path:
    """One for all workers of a session."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    folder.mkdir(exist_ok=True)
    return folder
