"""The code-change pack, whole: rows of a repository, training, bundle, certificate, gateway, and its commands."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from appkit_tasks.codechange.remarks import NO_REMARK, parse_remarks
from forked import Commands
from running import in_thread
from tiny import save_tiny

import appkit
from appkit.client import Client
from appkit.serving.certify.certify import certify

SHIPPED = files("appkit_data").joinpath("changes")
BEFORE = '''def weigh(jars):
    """Return the weight of the jars in grams."""
    return sum(jar.weight for jar in jars)
'''
AFTER = '''def weigh(jars):
    """Return the weight of the jars in grams."""
    return sum(jar.weight for jar in jars if jar.full)
'''


def some(side: str, count: int, name: str = "changes") -> list[dict[str, Any]]:
    lines = SHIPPED.joinpath(f"{name}.{side}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = sorted(map(json.loads, lines), key=lambda row: len(json.dumps(row)))
    return rows[:count]


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org", "-c", "commit.gpgSign=false")
    done = subprocess.run(
        ["git", "-C", str(folder), *who, *words], capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of twelve commits; in the last one a function's code changes and its comment does not."""
    folder = tmp_path_factory.mktemp("repository")
    git(folder, "init", "-q", "-b", "main")
    for number in range(11):
        (folder / f"part{number}.py").write_text(f"def part{number}(x):\n    return x + {number}\n")
        git(folder, "add", ".")
        git(folder, "commit", "-q", "-m", f"Add part {number} of the shelf")
    (folder / "weigh.py").write_text(BEFORE)
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "Weigh the jars on a shelf")
    (folder / "weigh.py").write_text(AFTER)
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "Leave empty jars out of the weight")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("codechange")
    save_tiny(folder / "base", scale=8.0)
    return folder


def words(folder: Path, problem: str, *more: str) -> list[str]:
    """Options of a run of seconds on shipped rows."""
    name = "comments" if problem == "comment_update" else "changes"
    parts = {
        "train": some("train", 16, name),
        "dev": some("train", 19, name)[-3:],
        "test": some("test", 6, name),
    }
    return [
        "task=codechange",
        f"task.problem={problem}",
        "task.diff_chars=600",
        f"model={folder / 'base'}",
        "model.dtype=float32",
        "method.rank=2",
        "threads=1",
        "train.trackers=[]",
        "train.batch_rows=8",
        "train.max_tokens=null",
        *(f"data.{side}={write(folder / f'{problem}.{side}.jsonl', rows)}" for side, rows in parts.items()),
        "decoding.max_new_tokens=8",
        "eval.resamples=100",
        "eval.few_shot=1",
        "eval.quant_rows=0",
        *more,
    ]


@pytest.fixture(scope="module")
def message(folder: Path, commands: Commands) -> Path:
    """A run whose rows show an example, with the loss over the prompts too."""
    options = words(folder, "commit_message", "task.examples=1", "train.loss_on=all", "run_dir=message")
    done = commands.run("train", *options, cwd=folder)
    assert done.code == 0, done.stderr
    assert "message is read" not in done.stderr
    return folder / "message"


@pytest.fixture(scope="module")
def review(folder: Path, commands: Commands) -> Path:
    options = words(folder, "review", "eval.baseline=false", "run_dir=review")
    done = commands.run("train", *options, cwd=folder)
    assert done.code == 0, done.stderr
    return folder / "review"


@pytest.fixture(scope="module")
def update(folder: Path, commands: Commands) -> Path:
    options = words(folder, "comment_update", "eval.baseline=false", "run_dir=update")
    done = commands.run("train", *options, cwd=folder)
    assert done.code == 0, done.stderr
    return folder / "update"


def test_each_problem_has_its_metrics_and_groups(message: Path, review: Path, update: Path) -> None:
    reports = {run: (run / "report.md").read_text(encoding="utf-8") for run in (message, review, update)}
    for shown in (
        "| B-Norm",
        "| CrystalBLEU",
        "adapter, without examples",
        "## By change of",
        "percentile bootstrap over rows",  # each is of a commit of its own
    ):
        assert shown in reports[message], shown
    for shown in ("| location ", "| false alarms (lower is better)", "| missed", "| vague"):
        assert shown in reports[review], shown
    assert "B-Norm" not in reports[review]
    for shown in (
        "| GLEU",
        "| relative edit distance (lower is better)",
        "## Beside comments left as they were",
    ):
        assert shown in reports[update], shown
    _, audit = (message / "audit.md").read_text(encoding="utf-8").split("\n## ", 1)
    assert "Example:" in audit  # the prompt shows one, and it is learned: loss_on=all
    assert audit.index("⟦") < audit.index("Example:") < audit.index("⟧")
    public = (message / "bundle" / "report.md").read_text(encoding="utf-8")
    assert not any(row["diff"].splitlines()[-1] in public for row in some("test", 6))


def test_bundles_are_certified(message: Path, review: Path, update: Path) -> None:
    for run in (message, review, update):
        assert certify(run / "bundle", engine="transformers").passed


def test_a_review_is_read_as_remarks(review: Path) -> None:
    specialist = appkit.load(review / "bundle")
    (answer,) = specialist.predict([{"diff": some("test", 1)[0]["diff"]}])
    assert answer.parsed.error is None or not answer.text.strip()
    assert isinstance(answer.parsed.value, (tuple, type(None)))


def test_rows_of_a_repository_are_built_checked_and_not_built_twice(
    repository: Path, commands: Commands, tmp_path: Path
) -> None:
    words = ("data", "build", "codechange", f"repo={repository}", "-o", "rows")
    done = commands.run(*words, cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert "13  commits read" in done.stdout
    lines = [
        json.loads(line)
        for side in ("train", "dev", "test")
        for line in (tmp_path / "rows" / f"{side}.jsonl").open()
    ]
    assert [line["message"] for line in lines][-1] == "Leave empty jars out of the weight"
    assert len(lines) == 13
    checked = commands.run("data", "check", "task=codechange", "data.train=rows/train.jsonl", cwd=tmp_path)
    assert "answer is read from column 'message'" in checked.stdout
    again = commands.run(*words, cwd=tmp_path)
    assert again.code == 2
    assert "is there already" in again.stderr


def test_commands_of_daily_use(
    message: Path, review: Path, update: Path, repository: Path, commands: Commands, tmp_path: Path
) -> None:
    diff = git(repository, "diff", "HEAD~1")
    (tmp_path / "a.diff").write_text(diff)
    said = commands.run("commit-message", "a.diff", "--bundle", str(message), cwd=tmp_path)
    assert said.code in (0, 2), said.stderr  # a tiny base may write nothing that is a message
    assert said.stdout.strip() or "wrote no message" in said.stderr
    place = ("--repo", str(repository))
    found = commands.run(
        "review", "HEAD~1..HEAD", *place, "--format", "sarif", "--bundle", str(review), cwd=tmp_path
    )
    assert found.code == 0, found.stderr
    assert json.loads(found.stdout)["version"] == "2.1.0"
    assert "hunks reviewed: 1" in found.stderr
    patch = commands.run("update-comments", "HEAD~1..HEAD", *place, "--bundle", str(update), cwd=tmp_path)
    assert patch.code == 0, patch.stderr
    assert "1 comments of changed functions are asked about" in patch.stderr
    assert git(repository, "status", "--porcelain") == ""


def test_the_wrong_bundle_is_one_line(message: Path, repository: Path, commands: Commands) -> None:
    done = commands.run("review", "HEAD~1..HEAD", "--bundle", str(message), cwd=repository)
    assert done.code == 2
    assert done.stderr.splitlines()[-1].startswith(
        "error: the bundle was trained for task.problem=commit_message"
    )


def test_through_a_gateway_a_review_is_that_of_the_bundle(
    review: Path, repository: Path, commands: Commands, tmp_path: Path
) -> None:
    place = tmp_path / "codechange"
    shutil.copytree(review / "bundle", place)
    words = ("review", "HEAD~1..HEAD", "--format", "json", "--min-confidence", "0")
    ours = commands.run(*words, "--bundle", str(place), cwd=repository)
    with in_thread(str(place), "serve.certified=false", engine="transformers") as url:
        theirs = commands.run(*words, "--gateway", url, cwd=repository)
        with Client(url) as client:
            about = client.describe("codechange")
    assert ours.code == theirs.code == 0, ours.stderr + theirs.stderr
    assert [one["text"] for one in json.loads(ours.stdout)] == [
        one["text"] for one in json.loads(theirs.stdout)
    ]
    assert about["options"]["problem"] == "review"


def test_options_that_do_not_fit_are_one_line(commands: Commands, tmp_path: Path) -> None:
    for given, said in (
        (("train", "task=codechange", "task.problem=essay", "--dry-run"), "task.problem"),
        (("train", "task=codechange", "task.examples=3", "--dry-run"), "task.examples"),
        (
            ("train", "task=classification", "train.loss_on=all", "--dry-run"),
            "train.loss_on=all has no effect",
        ),
        (("data", "build", "nl2fol"), "task 'nl2fol' builds no rows"),
        (("data", "build", "codechange"), "no repository is named"),
        (("data", "build", "codechange", "repo=."), "is no git repository"),
        (("data", "build", "codechange", "repo"), "'repo' is no key=value"),
    ):
        done = commands.run(*given, cwd=tmp_path)
        assert done.code == 2, given
        assert said in done.stderr.splitlines()[-1], done.stderr
        assert not list(tmp_path.iterdir())


@pytest.mark.real
def test_the_real_base_learns_to_review_in_the_packs_form(commands: Commands, tmp_path: Path) -> None:
    words = [
        "task=codechange",
        "task.problem=review",
        "task.diff_chars=600",
        "train.max_rows=48",
        "train.trackers=[]",
        "eval.rows=12",
        "eval.few_shot=1",
        "eval.quant_rows=0",
        "eval.resamples=100",
        "run_dir=run",
    ]
    done = commands.run("train", *words, cwd=tmp_path)
    assert done.code == 0, done.stderr
    bundle = tmp_path / "run" / "bundle"
    assert certify(bundle, engine="transformers").passed
    lines = (tmp_path / "run" / "predictions.adapter.jsonl").read_text(encoding="utf-8").splitlines()
    answers = [json.loads(line)["text"] for line in lines]
    assert len(answers) == 12
    placed = [remark.line for answer in answers for remark in parse_remarks(answer)]
    # a base without training names no line in this form
    assert all(answer == NO_REMARK or None not in placed for answer in answers)
