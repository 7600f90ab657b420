"""Rows are in the order of time: no side knows what comes later, whatever the clocks said."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from pathlib import Path

import pytest
from appkit_tasks.codechange.config import BuildOptions
from appkit_tasks.codechange.git import open_repository
from appkit_tasks.codechange.history import read_commits
from appkit_tasks.codechange.mining import MinedRow, split_by_time
from appkit_tasks.codechange.tests.builders import (
    ANN,
    BEGIN,
    BEN,
    History,
    add_up,
    git,
    left_out,
    mine,
    read_files,
    rows_of,
    run_command,
    shelf,
    validate,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from appkit.task import Built


def assert_in_order(built: Built) -> None:
    """Checks that no row is newer than one of a later split, and no commit is on two sides."""
    parts = [built.splits[name] for name in ("train", "dev", "test")]
    for place, part in enumerate(parts):
        for later in parts[place + 1 :]:
            newest = max((row["date"] for row in part), default="")
            assert all(newest <= row["date"] for row in later)
            assert not {row["commit"] for row in part} & {row["commit"] for row in later}


def list_ancestors(folder: Path) -> dict[str, set[str]]:
    ancestors: dict[str, set[str]] = {}
    for line in git(folder, "log", "--reverse", "--topo-order", "--format=%H %P", "--all").split("\n"):
        sha, *parents = line.split()
        ancestors[sha] = set(parents).union(*(ancestors[parent] for parent in parents))
    return ancestors


WILD = [0, 1, 4_102_444_800, BEGIN, BEGIN - 10**8, 253_402_300_799, 10**12, 10**18, BEGIN + 5, 86_399]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(WILD), st.integers(0, 3)), min_size=4, max_size=14))
def test_ancestors_come_first_whatever_the_dates(
    tmp_path_factory: pytest.TempPathFactory, commits: list[tuple[int, int]]
) -> None:
    history = History()
    for number, (second, back) in enumerate(commits, 1):
        parent = max(1, number - 1 - back)
        parents = [] if number == 1 else [number - 1, parent] if back and parent != number - 1 else [parent]
        branch = "main" if back < 2 else f"b{number}"
        history.commit(
            f"Write file number {number}",
            {f"f{number}.py": f"f = {number}\n"},
            date=second,
            parents=parents,
            branch=branch,
        )
    history.commit("Bring all of it together", {}, parents=[history.count, max(1, history.count - 2)])
    folder = history.write(tmp_path_factory.mktemp("wild") / "shelf")
    built = mine(folder, dev_share=0.2, test_share=0.3)
    add_up(built)
    assert_in_order(built)
    order = [row["commit"] for row in rows_of(built)]
    ancestors = list_ancestors(folder)
    for place, sha in enumerate(order):
        assert not ancestors[sha] & set(order[place:])
    assert all(row["date"] <= "9999-12-31T23:59:59Z" for row in rows_of(built))


@pytest.mark.parametrize(("early", "late"), [("trunk", "side"), ("side", "trunk")])
def test_dates_of_a_branch_do_not_move_those_of_another(early: str, late: str, tmp_path: Path) -> None:
    """Git lists one branch whole before the other, whichever is the older; each keeps its own dates."""
    begins = {early: BEGIN + 10, late: BEGIN + 900}
    history = History()
    first = history.commit("Begin the shelf of jars", {"a.py": "a = 1\n"}, date=BEGIN)
    ends = []
    for name in ("side", "trunk"):
        last = first
        for number in range(3):
            message, date = f"Work on {name} {number} of it", begins[name] + number
            branch = "main" if name == "trunk" else name
            files = {f"{name}.py": f"a = {number}\n"}
            last = history.commit(message, files, date=date, parents=[last], branch=branch)
        ends.append(last)
    history.commit("Merge branch 'side'", {}, parents=ends[::-1], date=BEGIN + 1000)
    rows = rows_of(mine(history.write(tmp_path / "shelf")))
    assert [row["message"].split()[2] for row in rows] == ["shelf", *[early] * 3, *[late] * 3]
    assert rows[3]["date"] < rows[4]["date"]


def test_dates_that_git_cannot_read(tmp_path: Path) -> None:
    folder = shelf(History(), 3).write(tmp_path / "shelf")
    tree = git(folder, "rev-parse", "HEAD^{tree}")
    for number, when in enumerate((b"-5 +0000", b"soon", b"9" * 30 + b" +0000", b"")):
        (folder / "src" / "part_0.py").write_text(f"a = {number}\n")
        git(folder, "add", "-A")
        tree, parent = git(folder, "write-tree"), git(folder, "rev-parse", "HEAD")
        content = f"tree {tree}\nparent {parent}\nauthor Ann <a@b> 1 +0000\ncommitter Ann <a@b> ".encode()
        made = git(
            folder,
            "hash-object",
            "-t",
            "commit",
            "-w",
            "--stdin",
            "--literally",
            stdin=content + when + b"\n\nWrite at odd times\n",
        )
        git(folder, "update-ref", "refs/heads/main", made)
    rows = rows_of(mine(folder))
    assert [row["date"][:4] for row in rows] == ["2023"] * 5 + ["9999"] * 2


def test_the_splits_are_by_time_and_repeatable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shelf(History(), 40).write(tmp_path / "shelf")
    digests = []
    for out in (tmp_path / "one", tmp_path / "two"):
        code, printed, _ = run_command(capsys, monkeypatch, out, f"repo={folder}")
        assert code == 0
        assert "40  commits read" in printed
        digests.append(
            [
                hashlib.sha256((out / f"{name}.jsonl").read_bytes()).digest()
                for name in ("train", "dev", "test")
            ]
        )
    assert digests[0] == digests[1]
    assert (tmp_path / "one" / "card.yaml").read_text().replace("one", "two") == (
        tmp_path / "two" / "card.yaml"
    ).read_text()
    assert len(validate(read_files(tmp_path / "one"))) == 40
    built = mine(folder)
    assert [len(built.splits[name]) for name in ("train", "dev", "test")] == [32, 4, 4]
    assert_in_order(built)


def test_what_is_kept_apart(tmp_path: Path) -> None:
    history = shelf(History(), 16)
    history.commit("Write a file of one's own", {"new.py": "new = 1\n"}, author=BEN)
    history.commit("Change an old file again", {"src/part_0.py": "old = 1\n"}, author=BEN)
    history.commit("Change the new file again", {"new.py": "new = 2\n"}, author=ANN)
    history.rename(
        "Move an old file away",
        "src/part_1.py",
        "moved.py",
        {"moved.py": "def weigh(jar):\n    return jar.weight * 13.5\n"},
    )
    folder = history.write(tmp_path / "shelf")
    shares = {"dev_share": 0, "test_share": 0.2}
    plain = mine(folder, **shares)
    assert [row["message"].split()[1] for row in plain.splits["test"]] == ["a", "an", "the", "an"]
    by_author = mine(folder, apart="author", **shares)
    assert [row["message"] for row in by_author.splits["test"]] == [
        "Write a file of one's own",
        "Change an old file again",
    ]
    assert by_author.counts["left out of test: author known from training"] == 2
    by_file = mine(folder, apart="file", **shares)
    assert [row["message"] for row in by_file.splits["test"]] == [
        "Write a file of one's own",
        "Change the new file again",
    ]
    assert by_file.counts["left out of test: file known from training"] == 2
    assert by_file.splits["train"] == plain.splits["train"]
    for built in (plain, by_author, by_file):
        add_up_apart(built)


def add_up_apart(built: Built) -> None:
    known = sum(count for what, count in built.counts.items() if " known from training" in what)
    assert built.counts["rows"] == len(rows_of(built)) + known
    assert built.counts["commits read"] == built.counts["rows"] + sum(left_out(built).values())


COMMITS = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 4)), max_size=20)


@given(COMMITS, st.floats(0, 0.49), st.floats(0, 0.49))
def test_a_commit_stays_whole(commits: list[tuple[int, int]], dev: float, test: float) -> None:
    rows = [
        MinedRow({"commit": str(place), "date": f"2024-01-0{day + 1}", "n": n}, ANN, ("a.py",))
        for place, (day, count) in enumerate(commits)
        for n in range(count)
    ]
    splits, _ = split_by_time(rows, BuildOptions(dev_share=dev, test_share=test))
    assert_in_order(Built(splits, {}, {}, []))
    assert sum(map(len, splits.values())) == len(rows)


def test_commits_are_streamed_in_the_order_of_the_history(tmp_path: Path) -> None:
    repository = open_repository(shelf(History(), 5).write(tmp_path / "shelf"))
    commits = list(read_commits(repository, repository.commit("HEAD")))
    assert [commit.subject for commit in commits] == [f"Weigh jars by factor {number}" for number in range(5)]
    assert all(one.sha in other.parents for one, other in pairwise(commits))
    assert all(commit.diff and commit.diff.endswith("\n") for commit in commits)
    assert {commit.author for commit in commits} == {ANN}
