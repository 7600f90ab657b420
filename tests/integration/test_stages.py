"""Stages and mixes through whole runs: one adapter over several sets of rows, resumed anywhere to the same bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from forked import Commands

from appkit.bundles.manifest import read_manifest
from appkit.config import build_run_config, load_run_config, to_values
from appkit.errors import ConfigError
from conftest import Project


def rows(path: Path, sentences: list[str], formula: str) -> str:
    path.write_text(
        "".join(json.dumps({"sentence": one, "formula": formula}) + "\n" for one in sentences),
        encoding="utf-8",
    )
    return str(path)


@pytest.fixture(scope="module")
def staged(project: Project) -> list[str]:
    """The words of a run of two stages on the tiny base: other rows first, then those of the project."""
    general = rows(project.folder / "general.jsonl", [f"Word {n} yodels." for n in range(24)], "Q(b)")
    # of the last stage's test, which the general one must not see
    general_test = json.loads((project.folder / "test.jsonl").read_text().splitlines()[0])
    with Path(general).open("a") as file:
        file.write(json.dumps(general_test) + "\n")
    return [
        *project.words,
        "stages=[general,domain]",
        f"stages.general.data.train={general}",
        "stages.general.data.dev=null",
        "stages.general.data.test=null",
        "stages.general.train.epochs=1",
        "stages.domain.train.learning_rate=5e-3",
    ]


@pytest.fixture(scope="module")
def done(staged: list[str], project: Project, commands: Commands) -> Path:
    result = commands.run(*staged, "run_dir=staged", cwd=project.folder)
    assert result.code == 0, result.stderr
    return project.folder / "staged"


def curve(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_adapter_goes_through_both_stages(done: Path) -> None:
    general = curve(done / "stages" / "general" / "metrics.jsonl")
    domain = curve(done / "metrics.jsonl")
    steps = [one["step"] for one in general if "loss" in one]
    assert steps == list(range(1, len(steps) + 1))
    manifest = read_manifest(done / "bundle")
    assert [Path(one["path"]).name for one in manifest["data"]["sources"] if one["split"] == "train"] == [
        "general.jsonl",
        "train.jsonl",
    ]
    assert manifest["data"]["stages"].keys() == {"general"}
    report = (done / "report.md").read_text()
    assert "| stage general |" in report
    assert "learning rate 0.01" in report
    assert "learning rate 0.005" in report
    assert "stage general: train: 1 rows removed, their input is in the last stage's dev or test" in report
    assert domain[0]["step"] == 1


def test_events_count_the_steps_of_all_stages(done: Path) -> None:
    events = [json.loads(line) for line in (done / "events.jsonl").read_text().splitlines()]
    steps = [one["step"] for one in events if one["event"] == "step"]
    assert steps == list(range(1, len(steps) + 1))
    lengths = [
        sum("loss" in one for one in curve(path))
        for path in (done / "stages" / "general" / "metrics.jsonl", done / "metrics.jsonl")
    ]
    assert len(steps) == sum(lengths)
    assert {one["steps"] for one in events if one["event"] == "training"} == {sum(lengths)}


def test_the_second_stage_begins_with_the_adapter_of_the_first(
    done: Path, staged: list[str], project: Project, commands: Commands
) -> None:
    alone = commands.run(*project.words, "train.learning_rate=5e-3", "run_dir=alone", cwd=project.folder)
    assert alone.code == 0, alone.stderr
    first = [one["loss"] for one in curve(project.folder / "alone" / "metrics.jsonl") if "loss" in one]
    staged_first = [one["loss"] for one in curve(done / "metrics.jsonl") if "loss" in one]
    assert first[0] != staged_first[0]


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("first", r"os\.rename .*stages/general/checkpoints/step"),
        ("second", r"os\.rename .*cut-second/checkpoints/step"),
        ("after", r"open .*predictions\.adapter"),
    ],
)
def test_a_killed_run_ends_as_the_unbroken_one(
    name: str, place: str, done: Path, staged: list[str], project: Project, commands: Commands
) -> None:
    run = f"cut-{name}"
    at = {"path": place, "nth": 1, "do": "kill"}
    assert commands.run(*staged, f"run_dir={run}", cwd=project.folder, at=at).code == -9
    again = commands.run("train", "--resume", run, cwd=project.folder)
    assert again.code == 0, again.stderr
    for file in ("metrics.jsonl", "stages/general/metrics.jsonl", "bundle/adapter_model.safetensors"):
        assert (project.folder / run / file).read_bytes() == (done / file).read_bytes(), file


def test_a_mix_is_drawn_and_its_losses_are_told_by_source(project: Project, commands: Commands) -> None:
    other = rows(project.folder / "other.jsonl", [f"Verb {n} hums." for n in range(10)], "Q(b)")
    words = [word for word in project.words if not word.startswith("data.train=")]
    mix = f"data.mix=[{{path: {project.folder / 'train.jsonl'}, domain: animals}}, {{path: {other}, weight: 30}}]"
    done = commands.run(*words, mix, "run_dir=mixed", cwd=project.folder)
    assert done.code == 0, done.stderr
    losses = [one["losses"] for one in curve(project.folder / "mixed" / "metrics.jsonl") if "losses" in one]
    assert losses
    assert {name for one in losses for name in one} == {"animals", "other"}
    assert "mix, of an epoch: animals 50%" in (project.folder / "mixed" / "report.md").read_text()


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ({"General": {}}, "stages.General: a stage's name has lower-case letters"),
        ({"general": {"modle": 1}}, "unknown key 'stages.general.modle'; known: train, data"),
        (
            {"general": {"train": {"epoch": 1}}},
            r"unknown key 'stages.general.train.epoch'; did you mean .*epochs",
        ),
        ({"general": {"train": "quik"}}, "no train preset 'quik'"),
        (["a", "a"], "stages names one twice"),
        ({"name": ["general"], "genral": {}}, "stages.genral is none of the stages general"),
        ("general", "stages must hold names"),
    ],
)
def test_what_is_no_stage_is_one_line(stages: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as raised:
        build_run_config({"task": "nl2fol", "stages": stages})
    assert "\n" not in str(raised.value)


def test_a_stage_is_what_the_run_is_but_for_what_it_says() -> None:
    words = "task=nl2fol train.epochs=3 data.max_length=300 stages=[b,a] stages.a.train.epochs=2"
    config = load_run_config([*words.split(), "stages.b.data.max_length=200"])
    assert list(config.stages) == ["b", "a"]
    assert (config.stages["b"].train.epochs, config.stages["a"].train.epochs) == (3, 2)
    assert (config.stages["b"].data.max_length, config.stages["a"].data.max_length) == (200, 300)
    assert (config.train, config.data) == (config.stages["a"].train, config.stages["a"].data)
    assert build_run_config(to_values(config)) == config


def test_other_rows_are_measured_before_the_last_stage_and_after_it(
    staged: list[str], project: Project, commands: Commands
) -> None:
    general = rows(project.folder / "elsewhere.jsonl", [f"Thing {n} sings." for n in range(6)], "R(c)")
    done = commands.run(
        *staged, f"eval.general={general}", "eval.baseline=false", "run_dir=general", cwd=project.folder
    )
    assert done.code == 0, done.stderr
    folder = project.folder / "general"
    report = (folder / "report.md").read_text()
    assert "## On other rows, before and after training" in report
    assert "general rows, before (n = 6)" in report
    before, after = (
        [
            json.loads(line)["text"]
            for line in (folder / f"predictions.general-{when}.jsonl").read_text().splitlines()
        ]
        for when in ("before", "after")
    )
    assert len(before) == len(after) == 6
    # of a run without stages it is the base, whose answers another stage's adapter does not give
    plain = commands.run(
        *project.words, f"eval.general={general}", "eval.baseline=false", "run_dir=plain", cwd=project.folder
    )
    assert plain.code == 0, plain.stderr
    lines = (project.folder / "plain" / "predictions.general-before.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in lines] != before


def test_a_head_over_labels_has_no_before_without_stages(project: Project, tmp_path: Path) -> None:
    from appkit.runs.prepare import prepare

    texts = [{"text": f"{word} {n}", "label": word} for n in range(20) for word in ("ham", "spam")]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in texts))
    values = {
        "task": "classification",
        "model": {"name": str(project.folder / "base"), "dtype": "float32"},
        "data": {"train": str(file)},
        "eval": {"general": str(file)},
    }
    with pytest.raises(ConfigError, match="which has no head over labels; train in two stages"):
        prepare(build_run_config(values))
    stages = {"general": {"data": {"train": str(file)}}, "domain": {"data": {"train": str(file)}}}
    prepared = prepare(build_run_config(values | {"stages": stages}))
    assert len(prepared.general) == 40
    assert not {one.value.text for one in prepared.earlier[0].records} & {
        one.value.text for one in prepared.test
    }
