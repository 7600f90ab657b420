"""Methods compared by the command line on a tiny base: tuned, trained over seeds, killed, gone on with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forked import Commands, Done

from appkit.errors import ConfigError, RunError
from appkit.evaluation.contest import ContestResult, Standing
from appkit.runs.contest import Contest, choose_cell, mean_over_seeds
from appkit.stats.intervals import Comparison, Interval
from appkit.task import Metric, row_mean
from conftest import Project

GRID = ("--methods", "lora,pissa", "--rates", "1e-3,1e-2", "--rows", "6", "--seeds", "2", "--share", "0.5")


def run(
    project: Project, commands: Commands, out: str, *more: str, grid: tuple[str, ...] = GRID, **how: Any
) -> Done:
    own = ("train.learning_rate", "train.batch_rows", "method.dropout")
    words = [word for word in project.words[1:] if not word.startswith(own)]
    return commands.run("compare-methods", *words, *grid, "--out", out, *more, cwd=project.folder, **how)


@pytest.fixture(scope="module")
def unbroken(project: Project, commands: Commands) -> Path:
    done = run(project, commands, "contest")
    assert done.code == 0, done.stderr
    assert "tuning: 4/4 cells" in done.stderr
    return project.folder / "contest"


def test_each_method_is_tuned_on_every_cell_and_trained_at_its_best(unbroken: Path) -> None:
    lines = [json.loads(line) for line in (unbroken / "tuning.jsonl").read_text().splitlines()]
    assert [(one["method"], one["learning_rate"]) for one in lines] == [
        ("lora", 1e-3), ("pissa", 1e-3), ("lora", 1e-2), ("pissa", 1e-2),
    ]  # fmt: skip
    assert {one["tokens"] for one in lines} == {lines[0]["tokens"]}
    assert all(one["memory"] > 2**27 for one in lines)
    results = json.loads((unbroken / "results.json").read_text())
    assert (results["reference"], results["rows"]) == ("lora", 4)
    for one in results["methods"]:
        best = max(line["dev"] for line in lines if line["method"] == one["name"])
        assert one["dev"] == best
        for seed, value in enumerate(one["seeds"]):
            state = json.loads((unbroken / "runs" / f"{one['name']}-{seed}" / "run.json").read_text())
            train = state["config"]["train"]
            assert (train["learning_rate"], train["batch_rows"]) == (one["learning_rate"], one["batch_rows"])
            assert state["config"]["seed"] == seed
            assert value == state["results"]["adapter"]["metrics"][results["metric"]]["value"]
    lora, pissa = results["methods"]
    assert (lora["rank"], pissa["rank"]) == (4, 8)
    assert lora["parameters"] == pissa["parameters"]
    assert lora["comparison"] is None
    assert pissa["comparison"]["difference"] == pytest.approx(
        np.mean(pissa["seeds"]) - np.mean(lora["seeds"])
    )
    for one in results["methods"]:
        assert one["interval"]["value"] == pytest.approx(np.mean(one["seeds"]))
    report = (unbroken / "report.md").read_text()
    assert "| lora " in report
    assert (unbroken / "methods.png").read_bytes()[:4] == b"\x89PNG"
    assert not (unbroken / "tuning").exists() or not any((unbroken / "tuning").iterdir())


@pytest.mark.parametrize("at", [r"open .*tuning\.jsonl", r"os\.rename .*runs/pissa-0.*step"])
def test_killed_it_goes_on_and_ends_the_same(
    at: str, unbroken: Path, project: Project, commands: Commands
) -> None:
    out = f"killed-{len(at)}"
    assert (
        run(project, commands, out, at={"path": at, "nth": 2 if "tuning" in at else 1, "do": "kill"}).code
        == -9
    )
    done = run(project, commands, out)
    assert done.code == 0, done.stderr
    ended = json.loads((project.folder / out / "results.json").read_text())
    wanted = json.loads((unbroken / "results.json").read_text())
    for results in (ended, wanted):
        for one in results["methods"]:
            del one["tokens_per_s"], one["memory"]
        for line in results["tuning"]:
            del line["seconds"], line["memory"]
    assert ended == wanted
    # once more: nothing is trained, the answer is the same
    again = run(project, commands, out)
    assert again.code == 0
    assert "training:" not in again.stderr


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (("--methods", "lora,pisa"), "no method 'pisa'; did you mean 'pissa'?"),
        (("--methods", "lora,lora"), "--methods names one twice: lora, lora"),
        (
            ("--rates", "0.1,fast"),
            "--rates takes numbers above 0 and at most 1, separated by commas, got 'fast'",
        ),
        (("--rows", "8,2.5"), "--rows takes whole numbers from 1, separated by commas, got '2.5'"),
        (("--seeds", "0"), "--seeds must be in 1..100, got 0"),
        (("--share", "0"), "--share must be above 0 and at most 1, got 0.0"),
        (("method=lora",), "method= chooses one method; name those to compare with --methods"),
        (
            ("train.learning_rate=1e-3",),
            "train.learning_rate= has no effect here, the grid has its own; use --rates",
        ),
        (("run_dir=x",), "run_dir= has no effect here, every run has its own; use --out"),
        (("method.ratio=3",), "method.ratio is an option of none of lora, pissa; leave it out"),
        (("method.rank=0",), "method.rank: input should be greater than or equal to 1, got 0"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    more: tuple[str, ...], line: str, project: Project, commands: Commands
) -> None:
    done = run(project, commands, "refused", *more)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {line}")
    assert done.stderr.count("\n") == 1
    assert not (project.folder / "refused").exists()


def test_another_contest_in_the_same_directory_is_refused(
    unbroken: Path, project: Project, commands: Commands
) -> None:
    done = run(project, commands, "contest", "--share", "1")
    assert done.code == 2
    assert done.stderr.startswith(
        "error: contest holds another contest (contest.json differs); choose another --out"
    )


def standing(name: str, difference: float, p: float) -> Standing:
    compared = (
        None if name == "lora" else Comparison(difference, difference - 0.1, difference + 0.1, p, 0.05, 50)
    )
    interval = Interval(0.5 + difference, 0.4, 0.6, 50)
    return Standing(name, 1e-3, 8, 0.5, interval, [0.5], compared, 10, 4, 100.0, None)


def test_p_is_adjusted_for_the_number_of_methods() -> None:
    """By hand: 0.01 x 3, then 0.02 x 2 = 0.04, then 0.5."""
    standings = [
        standing("lora", 0, 1),
        standing("a", 0.2, 0.01),
        standing("b", -0.2, 0.02),
        standing("c", 0, 0.5),
    ]
    metric = Metric("accuracy", "", lambda row, prediction: (0.0,), row_mean)
    result = ContestResult("x", metric, "lora", standings, [], 50, (1e-3, 8))
    assert result.adjusted == pytest.approx({"a": 0.03, "b": 0.04, "c": 0.5})
    assert "a is better by 0.200 (p = 0.030); b is worse by 0.200 (p = 0.040)" in result.verdict
    none = ContestResult("x", metric, "lora", standings[:1] + standings[3:], [], 50, (1e-3, 8))
    assert none.verdict.startswith("No method differs from lora beyond chance")


@pytest.mark.parametrize(("higher", "rate"), [(True, 1e-3), (False, 3e-3)])
def test_the_best_cell_is_the_first_of_the_best(higher: bool, rate: float) -> None:
    metric = Metric("m", "", lambda row, prediction: (0.0,), row_mean, higher_is_better=higher)
    scores = {3e-4: None, 1e-3: 0.7, 3e-3: 0.2, 1e-2: 0.7, 3e-2: 0.2}
    lines = [{"method": "a", "learning_rate": rate, "dev": dev} for rate, dev in scores.items()]
    lines += [
        {"method": "b", "learning_rate": 1, "dev": 0.9 if higher else 0.1},
        {"method": "c", "dev": None},
    ]
    assert choose_cell(lines, "a", metric)["learning_rate"] == rate
    with pytest.raises(RunError, match="no cell of c has a dev score"):
        choose_cell(lines, "c", metric)


def test_the_reference_is_lora_or_the_first() -> None:
    assert Contest(("pissa", "lora")).reference == "lora"
    assert Contest(("pissa", "olora")).reference == "pissa"
    with pytest.raises(ConfigError, match="--rates is empty"):
        Contest(("lora",), learning_rates=())


def test_the_mean_over_seeds_is_of_values_not_of_label_numbers() -> None:
    """Rows (gold, answered): answers 0 and 2 of two seeds are not the answer 1."""
    gold = np.array([1, 1])
    answered = (np.array([0, 1]), np.array([2, 1]))
    sides = [np.stack([gold, answers], axis=1).astype(float) for answers in answered]

    def accuracy(matrix: np.ndarray) -> float:
        return float((matrix[:, 0] == matrix[:, 1]).mean())

    assert mean_over_seeds(accuracy, 2)(np.hstack(sides)) == 0.5
    assert accuracy(np.mean(sides, axis=0)) == 1  # what a mean of the statistics would have said
