"""Every form of a repository gives the same rows, and what is none, or asks for none, is said in a line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from appkit_tasks.codechange.git import DIFF, Repository, open_repository
from appkit_tasks.codechange.tests.builders import (
    History,
    forget_settings,
    git,
    mine,
    rows_of,
    run_command,
    shelf,
    snapshot,
    varied,
)


@pytest.fixture(autouse=True)
def without_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    forget_settings(monkeypatch, tmp_path)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return varied().write(tmp_path / "shelf")


def texts(folder: Path, **options: Any) -> list[tuple[str, str]]:
    return [(row["message"], row["diff"]) for row in rows_of(mine(folder, **options))]


def test_every_form_of_a_repository_gives_the_same_rows(repo: Path, tmp_path: Path) -> None:
    expected = texts(repo)
    git(tmp_path, "clone", "-q", "--bare", str(repo), "bare.git")
    assert texts(tmp_path / "bare.git") == expected
    assert {row["project"] for row in rows_of(mine(tmp_path / "bare.git"))} == {"bare"}
    git(repo, "worktree", "add", "-q", "--detach", str(tmp_path / "tree"))
    assert rows_of(mine(tmp_path / "tree")) == rows_of(mine(repo))
    assert rows_of(mine(repo / "src")) == rows_of(mine(repo))
    git(repo, "checkout", "-q", "--detach")
    assert texts(repo) == expected
    git(tmp_path, "clone", "-q", "--shared", str(repo), "borrowing")
    assert texts(tmp_path / "borrowing") == expected
    git(repo, "gc", "-q")
    git(repo, "commit-graph", "write", "--reachable")
    assert texts(repo) == expected
    (tmp_path / "link").symlink_to(repo)
    assert texts(tmp_path / "link") == expected


def test_a_submodule_is_a_repository_of_its_own(repo: Path, tmp_path: Path) -> None:
    above = History()
    above.commit("Add the readme of all", {"README.md": "All\n"})
    above.write(tmp_path / "above")
    git(tmp_path / "above", "-c", "protocol.file.allow=always", "submodule", "-q", "add", str(repo), "jars")
    assert texts(tmp_path / "above" / "jars") == texts(repo)
    assert {row["project"] for row in rows_of(mine(tmp_path / "above" / "jars"))} == {"jars"}
    git(tmp_path / "above", "commit", "-q", "-m", "Add the jars as a submodule")
    counts = mine(tmp_path / "above").counts
    assert counts["commits read"] == 2
    (row,) = [row for row in rows_of(mine(tmp_path / "above")) if "submodule" in row["message"]]
    assert "Subproject" not in row["diff"]  # .gitmodules alone


def test_sha256(tmp_path: Path) -> None:
    folder = shelf(History(), 4).write(tmp_path / "long", "--object-format=sha256")
    rows = rows_of(mine(folder))
    assert [len(row["commit"]) for row in rows] == [64] * 4
    git(folder, "revert", "--no-edit", "HEAD")
    assert mine(folder).counts["left out: reverted later"] == 1


def test_a_shallow_clone_counts_its_first_commit(repo: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", "--depth=4", f"file://{repo}", "shallow")
    built = mine(tmp_path / "shallow")
    assert built.counts["commits read"] == 4
    assert built.counts["left out: the first commit of a shallow clone"] == 1
    assert texts(tmp_path / "shallow") == texts(repo)[-3:]
    assert any("git fetch --unshallow" in note for note in built.notes)
    assert not any("shallow" in note for note in mine(repo).notes)


def test_what_is_staged_is_that_of_a_hook(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repo / "src" / "part_0.py").write_text("staged = True\n")
    git(repo, "add", "src/part_0.py")
    assert b"+staged = True" in open_repository(repo).run("diff", "--staged", *DIFF)
    git(repo, "read-tree", f"--index-output={tmp_path / 'index'}", "HEAD")
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))  # git commit PATHS has one of its own
    assert open_repository(repo).run("diff", "--staged", *DIFF) == b""


# What is refused


def refuse(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, out: Path, *words: str
) -> str:
    """Runs the command; returns the one line that it complains, having written nothing."""
    code, printed, complaint = run_command(capsys, monkeypatch, out, *words)
    assert (code, printed) == (2, "")
    assert not out.exists()
    (line,) = [line for line in complaint.strip().split("\n") if not line.startswith("reading commits: ")]
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["repo={t}/none"], "no folder '{t}/none'"),
        (["repo={t}/file"], "no folder '{t}/file'"),
        (["repo={t}/empty-folder"], "is no git repository"),
        (["repo={t}/unborn"], "has no commit yet"),
        (["repo="], "repo="),
        ([], "repo=PATH"),
        (["repo={r}", "head=nosuch"], "has no commit 'nosuch'"),
        (["repo={r}", "head=--output=x"], "has no commit '--output=x'"),
        (["repo={r}", "head=HEAD^{{tree}}"], "has no commit"),
        (["repo={r}", "head=HEAD~99"], "has no commit"),
        (["repo={r}", "head=a\nb"], "has no commit"),
        (["repo={r}", "head="], "head="),
        (["repo={r}", "since=yesterday-ish"], "since=: is a day such as 2024-01-31, got 'yesterday-ish'"),
        (["repo={r}", "since=2024-02-31"], "since=: is a day"),
        (["repo={r}", "until=--output=x"], "until=: is a day"),
        (["repo={r}", "since=2100-01-01"], "no commit within paths=, since= and until="),
        (["repo={r}", "until=1960-01-01"], "no commit within paths=, since= and until="),
        (["repo={r}", "paths=no/such/folder"], "no commit within paths=, since= and until="),
        (["repo={r}", "paths=--output=x"], "no commit within paths=, since= and until="),
        (["repo={r}", "paths=../.."], "no commit within paths=, since= and until="),
        (["repo={r}", "languages=klingon"], "knows no language 'klingon'"),
        (["repo={r}", "languages=haskell"], "no row is left: 13 commits read; 13 left out: only files of"),
        (["repo={r}", "problem=poetry"], "problem="),
        (["repo={r}", "max_lines=0"], "max_lines="),
        (["repo={r}", "nosuch=1"], "unknown key 'nosuch'; known: apart, "),
    ],
)
def test_bad_input_is_one_line(
    words: list[str],
    line: str,
    repo: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "empty-folder").mkdir()
    (tmp_path / "unborn").mkdir()
    git(tmp_path / "unborn", "init", "-q")
    filled = [word.format(t=tmp_path, r=repo) for word in words]
    before = snapshot(repo)
    assert line.format(t=tmp_path, r=repo) in refuse(capsys, monkeypatch, tmp_path / "out", *filled)
    assert snapshot(repo) == before


def test_a_folder_of_another_user_is_refused_until_it_is_trusted(
    repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        for path in [repo, *repo.rglob("*")]:
            os.chown(path, 12345, 12345, follow_symlinks=False)
    except PermissionError:
        pytest.skip("only root can give a folder to another user")
    line = refuse(capsys, monkeypatch, tmp_path / "out", f"repo={repo}")
    assert (
        "belongs to another user, whose settings git would follow; to trust it: git config --global --add "
        in line
    )
    (tmp_path / "gitconfig").write_text(f"[safe]\n    directory = {repo}\n")
    assert rows_of(mine(repo))


def test_settings_that_git_cannot_read_are_named(
    repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with (repo / ".git" / "config").open("a") as settings:
        settings.write("[broken\n")
    assert "bad config line" in refuse(capsys, monkeypatch, tmp_path / "out", f"repo={repo}")


def test_a_lost_object_is_named(
    repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sha = git(repo, "rev-parse", "HEAD~4:src/part_1.py")
    for pack in (repo / ".git" / "objects" / "pack").glob("*.pack"):
        moved = pack.rename(tmp_path / pack.name)
        pack.with_suffix(".idx").unlink()
        git(repo, "unpack-objects", "-q", stdin=moved.read_bytes())
    (repo / ".git" / "objects" / sha[:2] / sha[2:]).unlink()
    line = refuse(capsys, monkeypatch, tmp_path / "out", f"repo={repo}")
    assert f"{repo}: git log: unable to read" in line


def test_both_ends_of_a_range(repo: Path) -> None:
    git(repo, "checkout", "-q", "-b", "side", "HEAD~2")
    git(repo, "commit", "-q", "--allow-empty", "-m", "Aside of all the others")
    repository = Repository(repo)
    names = {name: git(repo, "rev-parse", name) for name in ("main", "side", "main~2")}
    assert repository.range("main..side") == (names["main"], names["side"])
    assert repository.range("main...side") == (names["main~2"], names["side"])
    assert repository.range("main..") == (names["main"], names["side"])
    assert repository.range("..main") == (names["side"], names["main"])
    assert repository.range("main") == (names["main"], names["side"])
    git(repo, "checkout", "-q", "--orphan", "alone")
    git(repo, "commit", "-q", "--allow-empty", "-m", "A beginning of its own")
    with pytest.raises(ValueError, match=r"'main\.\.\.alone': the two have no commit in common"):
        repository.range("main...alone")
    with pytest.raises(ValueError, match="has no commit '--all'"):
        repository.range("--all..main")


def test_files_are_read_by_hash(repo: Path) -> None:
    repository = Repository(repo)
    sha = git(repo, "rev-parse", "HEAD:src/gate.py")
    tree = git(repo, "rev-parse", "HEAD:src")
    content = (repo / "src" / "gate.py").read_bytes()
    with repository.blobs() as blobs:
        assert blobs.read(sha, len(content)) == content
        assert blobs.read(sha, len(content) - 1) is None
        assert blobs.read(tree, 10_000) is None
        assert blobs.read("0" * 40, 10_000) is None
        assert [blobs.read(sha, 10_000) for _ in range(3)] == [content] * 3


def test_a_command_cut_short_is_ended(repo: Path) -> None:
    repository = Repository(repo)
    with repository.stream("log", "-p", "HEAD") as stream:
        assert stream.read(6) == b"commit"
    with pytest.raises(ValueError, match="git log: "), repository.stream("log", "nosuch") as stream:
        assert stream.read() == b""
    with pytest.raises(RuntimeError), repository.stream("log", "-p", "HEAD"):
        raise RuntimeError
