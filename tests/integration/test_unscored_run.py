"""A whole run and a whole evaluation with rows, a metric and an appendix that fail: they end as others do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import appkit_tasks.nl2fol as pack
import pytest
from forked import Commands

import appkit
from appkit.bundles.manifest import read_manifest
from appkit.config import build_run_config, parse_overrides
from appkit.runs.events import Forecast, read_events
from appkit.task import Metric
from conftest import Project, write_rows

LONG = " ∧ ".join(f"P{number}(a)" for number in range(20))
"""more atoms than a truth table holds"""


def test_an_evaluation_goes_on_over_a_reference_that_a_metric_cannot_score(
    project: Project, commands: Commands, trained: Path, tmp_path: Path
) -> None:
    rows = [{"sentence": f"New {number}.", "formula": LONG if number else "P(a)"} for number in range(3)]
    test = write_rows(tmp_path / "test.jsonl", rows)
    done = commands.run(
        "eval", str(trained), f"data.test={test}", "eval.baseline=false", "--to", str(tmp_path / "out"),
        cwd=project.folder,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    said = "LE could not score 2 of 3 rows, its value is over the other 1"
    assert said in done.stdout + done.stderr
    (scores,) = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert {name: metric["n"] for name, metric in scores["metrics"].items()}["LE"] == 1
    answers = (tmp_path / "out" / "predictions.0.jsonl").read_text().splitlines()
    assert len(answers) == 3


def test_an_evaluation_says_how_rows_were_read_as_a_training_does(
    project: Project, commands: Commands, tmp_path: Path
) -> None:
    rows = [{"sentence": f"New {number}.", "formula": "∀a P(a) → Q(a)"} for number in range(3)]
    test = write_rows(tmp_path / "test.jsonl", [*rows, rows[0], {"sentence": "Bad.", "formula": "P("}])
    words = [word for word in project.words[1:] if not word.startswith(("data.test", "method", "train"))]
    done = commands.run(
        "eval", *words, "task.scope=wide", "data.on_error=drop", f"data.test={test}", cwd=project.folder
    )
    assert done.code == 0, done.stderr
    assert "note: test: 4 of 4 rows had a scope read to the end (task.scope=wide)\n" in done.stderr
    assert "note: 1 rows at fault were left out\n" in done.stderr
    assert "note: test: 1 exact duplicates kept" in done.stderr
    assert f"note: dropped: {test}:5: formula " in done.stderr


@pytest.mark.parametrize("word", ["missing", "--to"])
def test_an_evaluation_that_could_not_end_is_refused_before_the_first_answer(
    word: str, project: Project, commands: Commands, trained: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    more = [str(tmp_path / "none")] if word == "missing" else ["--to", str(tmp_path / "file")]
    done = commands.run("eval", str(trained), *more, cwd=project.folder)
    assert done.code == 2
    assert "rows in" not in done.stdout + done.stderr, "rows were answered first"
    assert (tmp_path / "file").read_text() == "mine"


def test_a_run_whose_pack_fails_in_every_metric_but_one_ends_with_a_bundle(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> Any:
        raise RuntimeError("a third party's fault")

    metrics = [m if m.name == "exact" else Metric(m.name, m.description, fails) for m in pack.TASK.metrics]
    task = replace(pack.TASK, metrics=tuple(metrics), appendix=fails, strata={"depth": fails})
    monkeypatch.setattr(pack, "TASK", task)
    words = [*project.words[1:], "train.max_rows=12", "train.epochs=1", f"run_dir={tmp_path / 'run'}"]
    said: list[str] = []
    result = appkit.train(build_run_config(parse_overrides(words)), say=said.append)
    assert (
        result.verdict
        == "the adapter and the base could not be compared: strict has no value on the same rows."
    )
    assert "adapter: strict no value in" in "\n".join(said)
    metrics_of = read_manifest(result.bundle)["metrics"]["adapter"]["metrics"]
    assert list(metrics_of) == ["exact"]
    for report in (result.run_dir / "report.md", result.bundle / "report.md"):
        text = report.read_text()
        assert "adapter: strict could not score 4 of 4 rows, it has no value" in text
        assert "The pack could not write this part" in text
        assert ("a third party's fault" in text) == (report.parent == result.run_dir)
    assert len((result.run_dir / "predictions.adapter.jsonl").read_text().splitlines()) == 4


def test_a_run_says_and_records_the_time_of_training_again_after_its_first_steps(trained: Path) -> None:
    first, corrected = (event.text for event in read_events(trained)[0] if isinstance(event, Forecast))
    assert "memory" in first
    assert corrected.startswith("training about")
    assert "tokens/s of its first steps" in corrected
