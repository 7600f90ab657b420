"""A run that is killed, interrupted, starved of disk or disturbed ends as the unbroken one, bit for bit."""

import itertools
import json
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from forked import NO_MOUNT, Commands, Done

from appkit.bundles.manifest import PAYLOAD, read_manifest
from conftest import Project

STARTED = r"os.rename .*predictions\.base"
"""the file operation before training begins"""
NUMBERS = itertools.count()


class Run:
    """A run directory below the project's, and the commands that start it and go on with it."""

    def __init__(self, project: Project, commands: Commands, name: str) -> None:
        self.path, self.project, self.commands = project.folder / name, project, commands

    def start(self, *more: str, **disturbance: Any) -> Done:
        words = (*self.project.words, f"run_dir={self.path.name}", *more)
        return self.commands.run(*words, cwd=self.project.folder, **disturbance)

    def resume(self, **disturbance: Any) -> Done:
        return self.commands.run("train", "--resume", self.path.name, cwd=self.project.folder, **disturbance)

    @property
    def phase(self) -> str:
        state = self.path / "run.json"
        return json.loads(state.read_text())["phase"] if state.exists() else ""

    def attempt(self, **disturbance: Any) -> Done:
        """Start it, or go on if there is something to go on with."""
        return self.resume(**disturbance) if self.phase else self.start(**disturbance)

    def finish(self) -> None:
        done = self.attempt()
        assert done.code == 0, done.stderr

    @property
    def checkpoints(self) -> list[str]:
        return sorted(path.name for path in (self.path / "checkpoints").glob("step-*"))


@pytest.fixture
def run(project: Project, commands: Commands, trained: Path) -> Run:
    return Run(project, commands, f"run-{next(NUMBERS)}")


@pytest.fixture
def new(project: Project, commands: Commands, trained: Path) -> Callable[[str], Run]:
    return lambda name: Run(project, commands, name)


def assert_same(run: Run | Path, unbroken: Path) -> None:
    """Weights and curve byte for byte, all that was answered with the weights, and so the bundle's name."""
    path = run if isinstance(run, Path) else run.path
    payload = [f"bundle/{name}" for name in PAYLOAD]
    for name in ("metrics.jsonl", *payload, "predictions.adapter.jsonl"):
        assert (path / name).read_bytes() == (unbroken / name).read_bytes(), name
    assert json.loads((path / "run.json").read_text())["phase"] == "done"
    shas = [read_manifest(folder / "bundle")["sha"] for folder in (path, unbroken)]
    assert shas[0] == shas[1]


def killed_at(path: str, nth: int = 1, do: str = "kill", **more: Any) -> dict[str, Any]:
    return {"at": {"path": path, "nth": nth, "do": do, **more}}


def curve(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_the_unbroken_run_has_what_could_go_wrong(trained: Path, project: Project) -> None:
    """Dropout, several micro-batches a step, evaluations, a best step before the last: else the rest proves less."""
    entries = curve(trained)
    assert [entry["step"] for entry in entries if "loss" in entry] == list(range(1, 16))
    measured = {entry["step"]: entry["eval_strict"] for entry in entries if "eval_strict" in entry}
    # step 8 stands on an edge: processors that round otherwise know three of four rows there already
    assert list(measured) == [4, 8, 12, 15]
    assert (measured[4], measured[12], measured[15]) == (0.0, 1.0, 1.0)
    assert measured[8] < 1
    assert "the weights of step 12 are kept" in (trained / "report.md").read_text()
    assert "method.dropout=0.1" in project.words


def test_the_same_run_twice_is_the_same(run: Run, trained: Path) -> None:
    assert run.start().code == 0
    assert_same(run, trained)


def test_a_base_that_lies_elsewhere_makes_the_same_bundle(
    project: Project, commands: Commands, trained: Path
) -> None:
    """Its payload tells no directory of the machine."""
    elsewhere = project.folder / "elsewhere" / "base"
    shutil.copytree(project.folder / "base", elsewhere)
    words = [f"model={elsewhere}" if word.startswith("model=") else word for word in project.words]
    done = commands.run(*words, "run_dir=moved", cwd=project.folder)
    assert done.code == 0, done.stderr
    assert_same(project.folder / "moved", trained)
    for name in PAYLOAD:
        assert str(project.folder).encode() not in (trained / "bundle" / name).read_bytes(), name


def test_another_seed_is_another_run(run: Run, trained: Path) -> None:
    """The comparison can fail."""
    assert run.start("seed=1").code == 0
    with pytest.raises(AssertionError, match="metrics"):
        assert_same(run, trained)


def test_killed_at_random_instants(new: Callable[[str], Run], trained: Path) -> None:
    """kill -9 twenty times: after a random time, or at a random file operation in the run's directory."""
    draw, kills, number = random.Random(0), 0, 0
    while kills < 20:
        run = new(f"random-{number}")
        number += 1
        while run.phase != "done":
            disturbance = {"after": draw.uniform(0, 2.5)}
            if draw.random() < 0.5:
                disturbance = killed_at(f"{run.path.name}/", draw.randrange(1, 150))
            # once there were enough, the last run is left in peace
            done = run.attempt(**(disturbance if kills < 20 else {}))
            kills += done.code == -signal.SIGKILL
            assert done.code in (0, -signal.SIGKILL), (disturbance, done.stderr)
        assert_same(run, trained)


def test_killed_at_every_kind_of_instant(run: Run, trained: Path) -> None:
    """One run, killed before, in and after each thing that it writes."""
    optimizer = (trained / "checkpoints" / "step-000015" / "optimizer.pt").stat().st_size
    weights = (trained / "checkpoints" / "step-000015" / "trainable.safetensors").stat().st_size
    assert weights < 30_000 < optimizer
    disturbances: list[dict[str, Any]] = [
        killed_at(r"os.rename .*run\.json"),
        killed_at(STARTED),
        {"file_bytes": weights // 2},  # in the middle of the weights, written in Rust
        {"file_bytes": optimizer // 2},  # in the middle of the optimizer's state, written in C++
        killed_at(r"open .*/\.step-.*manifest\.json"),
        killed_at(r"os.rename .*step-"),  # whole, not yet under its name
        killed_at(r"open .*/checkpoints$"),  # under its name
        killed_at(r"open .*metrics\.jsonl a", 3),
        killed_at(r"shutil.rmtree .*/step-"),  # before old ones go
        killed_at(r"os.remove optimizer\.pt"),  # half an old one is gone
        killed_at(r"os.rename .*metrics\.jsonl"),  # the curve is about to be cut back
        killed_at(r"open .*predictions\.adapter"),
        killed_at(r"os.rename .*bundle"),
        killed_at(r"os.rename .*run\.json", 2),  # done, but for saying so
    ]
    for disturbance in disturbances:
        done = run.attempt(**disturbance)
        died = -signal.SIGXFSZ if "file_bytes" in disturbance else -signal.SIGKILL
        assert done.code == died, (disturbance, done.code, done.stderr)
    run.finish()
    assert_same(run, trained)
    left = [path.name for path in run.path.rglob(".*") if path.name != ".lock"]
    assert [name for name in left if name.startswith(".step-")] == []


@pytest.fixture(scope="module")
def killed(project: Project, commands: Commands, trained: Path) -> Path:
    """A run that died behind step 8, with whole checkpoints of steps 6 and 8, and the best one where that is step 4."""
    run = Run(project, commands, "killed")
    assert run.start(**killed_at(r"open .*metrics\.jsonl a", 11)).code == -signal.SIGKILL
    assert run.checkpoints[-2:] == ["step-000006", "step-000008"]
    return run.path


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "damage", "reason"),
    [
        ("trainable.safetensors", _cut, "trainable.safetensors has"),
        ("optimizer.pt", _flip, "optimizer.pt is not what was written"),
        ("rng_state.pth", Path.unlink, "rng_state.pth is missing"),
        ("manifest.json", _cut, "its manifest.json cannot be read"),
    ],
)
def test_a_damaged_checkpoint_is_passed_over(
    name: str, damage: Callable[[Path], None], reason: str, run: Run, killed: Path, trained: Path
) -> None:
    shutil.copytree(killed, run.path)
    damage(run.path / "checkpoints" / "step-000008" / name)
    done = run.resume()
    assert done.code == 0, done.stderr
    assert_same(run, trained)
    note = f"checkpoint step-000008 is damaged and was passed over: {reason}"
    assert f"- {note}" in (run.path / "report.md").read_text()
    said = done.stderr.splitlines()
    (told,) = [number for number, line in enumerate(said) if line.startswith(note)]
    assert said[told + 1] == "training: going on from step 6 of 15"


def test_with_all_checkpoints_damaged_it_starts_over(run: Run, killed: Path, trained: Path) -> None:
    shutil.copytree(killed, run.path)
    for path in (run.path / "checkpoints").glob("*/manifest.json"):
        _cut(path)
    done = run.resume()
    assert done.code == 0, done.stderr
    assert "training: from the start, 15 steps" in done.stderr.splitlines()
    assert_same(run, trained)
    damaged = Run(run.project, run.commands, killed.name).checkpoints
    assert (run.path / "report.md").read_text().count("is damaged and was passed over") == len(damaged)


# --- ctrl-C ----------------------------------------------------------------------------------------------


def last_line(done: Done) -> str:
    assert "Traceback" not in done.stderr, done.stderr
    return done.stderr.splitlines()[-1]


def test_ctrl_c_saves_and_says_how_to_go_on(run: Run, trained: Path) -> None:
    done = run.start(
        **killed_at(r"open .*metrics\.jsonl a", 6, "interrupt")
    )  # step 5: the evaluation is the fifth
    assert done.code == 130
    assert (
        last_line(done)
        == f"stopped after step 6 of 15, all saved; go on with: appkit train --resume {run.path.name}"
    )
    assert run.checkpoints[-1] == "step-000006"
    assert json.loads((run.path / "run.json").read_text())["phase"] == "interrupted"
    run.finish()
    assert_same(run, trained)


@pytest.mark.parametrize("where", [r"open .*audit\.md", STARTED, r"open .*predictions\.adapter"])
def test_ctrl_c_outside_of_training_says_so_too(where: str, run: Run, trained: Path) -> None:
    done = run.start(**killed_at(where, 1, "interrupt"))
    assert done.code == 130
    assert f"appkit train --resume {run.path.name}" in last_line(done)
    run.finish()
    assert_same(run, trained)


def test_ctrl_c_while_the_data_is_read_says_so(run: Run, killed: Path, trained: Path) -> None:
    reading = killed_at(r"open .*/train\.jsonl", 1, "interrupt")
    done = run.start(**reading)
    line = "stopped while reading the data; nothing was written, start it again\n"
    assert (done.code, done.stdout, done.stderr) == (130, "", line)
    assert not run.path.exists()
    shutil.copytree(killed, run.path)
    done = run.resume(**reading)
    assert (done.code, done.stderr.count("\n")) == (130, 1)
    assert last_line(done).endswith(f"go on with: appkit train --resume {run.path.name}")
    words = [word for word in run.project.words if word.startswith(("task", "model", "data"))]
    done = run.commands.run("data", "check", *words, cwd=run.project.folder, **reading)
    assert (done.code, done.stdout, done.stderr) == (130, "", "stopped\n")


def test_ctrl_c_in_the_last_step_changes_no_weights(run: Run, trained: Path) -> None:
    run.start(**killed_at(r"open .*metrics\.jsonl a", 18, "interrupt"))
    if not (run.path / "bundle").exists():
        run.finish()
    assert_same(run, trained)


# --- early stopping --------------------------------------------------------------------------------------

PATIENT = ("train.eval_steps=2", "train.patience=2")


def test_a_run_that_stopped_early_stays_stopped(new: Callable[[str], Run]) -> None:
    unbroken, broken = new("patient"), new("patient-broken")
    assert unbroken.start(*PATIENT).code == 0
    steps = curve(unbroken.path)[-1]["step"]
    assert steps < 15
    assert broken.start(*PATIENT, **killed_at(r"open .*predictions\.adapter")).code == -signal.SIGKILL
    assert broken.resume().code == 0
    assert curve(broken.path)[-1]["step"] == steps
    assert_same(broken, unbroken.path)


# --- disks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "leave"),
    [
        (r"os.rename .*step-000003", 0),  # the next line of the curve, or the next weights
        (r"os.rename .*step-000003", 40_000),  # the weights have room, the optimizer's state has not
        (r"open .*predictions\.adapter", 0),
        (r"open .*report\.md", 0),
    ],
)
def test_a_full_disk_is_one_line_and_costs_nothing(path: str, leave: int, run: Run, trained: Path) -> None:
    mount = run.path.with_name(f"{run.path.name}-disk")
    mount.mkdir()
    done = run.start(
        f"run_dir={mount.name}/run",
        disk={"path": str(mount), "bytes": 60_000_000, "copy": str(run.path)},
        **killed_at(path, 1, "fill", leave=leave, folder=str(mount)),
    )
    if done.code == NO_MOUNT:
        pytest.skip("no file system can be mounted here")
    assert done.code == 2, done.stderr
    line = last_line(done)
    assert line.startswith(("error: no space for ", "error: cannot write"))
    assert "cache" not in line  # which is on another disk
    run.path = run.path / "run"
    newest = {"step-000003"} if "step" in path else {"step-000012", "step-000015"}
    assert newest <= set(run.checkpoints)
    assert [p.name for p in (run.path / "checkpoints").glob(".*")] == []
    resumed = run.commands.run("train", "--resume", str(run.path), cwd=run.project.folder)
    assert resumed.code == 0, resumed.stderr
    assert_same(run, trained)


# --- company ---------------------------------------------------------------------------------------------


def test_of_two_in_one_directory_the_second_is_told(run: Run, trained: Path) -> None:
    first = run.start(**killed_at(r"open .*metrics\.jsonl a", 3, "stop"))
    assert first.code == -signal.SIGSTOP
    again, another = run.resume(), run.start()
    assert run.commands.go_on(first.pid).code == 0
    assert (again.code, another.code) == (2, 2)
    assert again.stderr.count("\n") == 1  # at once: not a word about the data, which may take minutes to read
    assert last_line(again) == (
        f"error: {run.path.name} is in use by process {first.pid}; wait for it, or give another run_dir="
    )
    assert f"appkit train --resume {run.path.name}" in last_line(another)
    assert_same(run, trained)


def test_other_rows_are_refused_until_the_old_ones_are_back(run: Run, killed: Path, trained: Path) -> None:
    shutil.copytree(killed, run.path)
    rows = run.project.folder / "train.jsonl"
    text = rows.read_text()
    try:
        rows.write_text(text.replace("Wombats yodel", "Wombats hum"))
        done = run.resume()
        rows.unlink()
        gone = run.resume()
    finally:
        rows.write_text(text)
    assert (done.code, gone.code) == (2, 2)
    assert last_line(done).startswith(f"error: the train rows changed since {run.path.name} was started")
    assert last_line(gone).startswith("error: no file")
    run.finish()
    assert_same(run, trained)


def test_another_base_under_the_same_name_is_refused(run: Run, killed: Path, trained: Path) -> None:
    from tiny import save_tiny

    shutil.copytree(killed, run.path)
    base = run.project.folder / "base"
    aside = base.rename(base.with_name("base-aside"))
    try:
        save_tiny(base, seed=1, scale=8.0)
        done = run.resume()
    finally:
        shutil.rmtree(base)
        aside.rename(base)
    assert done.code == 2
    assert "base" in last_line(done)


def test_a_finished_run_is_left_as_it_is(run: Run, trained: Path) -> None:
    """A bundle is immutable: asking once more must not write another one over it."""
    shutil.copytree(trained, run.path)
    run.resume()
    for name in ("bundle/appkit.json", "report.md"):
        assert (run.path / name).read_bytes() == (trained / name).read_bytes(), name
