"""Nothing of a repository runs, none of its settings changes a byte, and what is no repository is said in a line."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from appkit_tasks.codechange.git import DIFF, Repository, open_repository
from appkit_tasks.codechange.tests.builders import (
    ENVIRONMENT,
    History,
    git,
    lines,
    mine,
    rows_of,
    run_command,
    shelf,
    snapshot,
)

GATED = 'gated = 1\n\n\ndef weigh(jar):\n    """Return the weight of a jar, in grams."""\n    return jar.weight * {0}\n'


@pytest.fixture(autouse=True)
def without_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The user has no settings; what a test plants is all there is."""
    for key in [key for key in os.environ if key.startswith("GIT_")]:
        monkeypatch.delenv(key)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository with changes of many forms: renames, blank lines, moved blocks, several files."""
    history = shelf(History(), 6)
    history.commit("Add a long table of values", {"src/table.py": lines(60), "docs/notes.md": "One\n\nTwo\n"})
    history.commit(
        "Change two places of the table",
        {
            "src/table.py": lines(60).replace("value_3 = 3", "value_3 = 4").replace("_12 = 12", "_12 = 13"),
            "docs/notes.md": "One\n\nTwo and a half\n",
            "a/first.py": "x = 1\n",
        },
    )
    history.rename("Move the table to its own folder", "src/table.py", "tables/table.py", {"b.c": "int a;\n"})
    history.commit("Copy the table for the tests", {"tables/copy.py": lines(60), "b.c": "int a;\n\nint b;\n"})
    old, new = GATED.format(1), GATED.format(2).replace("in grams", "in pounds")
    history.commit("Add the gate of the jars", {"src/gate.py": old})
    history.commit("Weigh the jars in pounds", {"src/gate.py": new})
    history.commit("Wräp the jars in päper", {"größe.py": "x = 1\n"})
    return history.write(tmp_path / "shelf")


def plant(folder: Path, file: Path, then: str = "cat") -> str:
    """Writes a program that creates a file when it runs, and passes on what it is given."""
    program = folder / f"program-{file.name}"
    program.write_text(f'#!/bin/sh\ntouch "{file}"\n{then}\n')
    program.chmod(0o755)
    return str(program)


HOOKS = ("post-checkout", "post-index-change", "reference-transaction", "pre-auto-gc", "fsmonitor-watchman")
ATTRIBUTES = "* diff=evil filter=evil merge=evil\n*.py diff=evil text eol=crlf working-tree-encoding=UTF-16\n"


def plant_all(repo: Path, trap: Path) -> None:
    """Plants every program that git may be told to run, in the repository and in its attributes."""
    for hook in HOOKS:
        path = repo / ".git" / "hooks" / hook
        path.parent.mkdir(exist_ok=True)
        os.replace(plant(trap, trap / f"ran-hook-{hook}"), path)
    keys = [
        *(
            "diff.external",
            "diff.evil.command",
            "diff.evil.textconv",
            "filter.evil.clean",
            "filter.evil.smudge",
        ),
        *(
            "filter.evil.process",
            "merge.evil.driver",
            "core.fsmonitor",
            "core.pager",
            "pager.log",
            "pager.diff",
        ),
        *(
            "gpg.program",
            "gpg.ssh.program",
            "core.sshCommand",
            "core.askPass",
            "core.editor",
            "core.gitProxy",
        ),
        *(
            "credential.helper",
            "core.alternateRefsCommand",
            "interactive.diffFilter",
            "uploadpack.packObjectsHook",
        ),
    ]
    for key in keys:
        git(repo, "config", key, plant(trap, trap / f"ran-{key}"))
    for alias in ("log", "diff", "rev-parse", "cat-file", "rev-list", "ls-tree"):
        git(repo, "config", f"alias.{alias}", "!" + plant(trap, trap / f"ran-alias-{alias}"))
    git(repo, "config", "core.hooksPath", str(repo / ".git" / "hooks"))
    git(repo, "config", "log.showSignature", "true")
    git(repo, "config", "pager.rev-list", "true")
    (repo / ".gitattributes").write_text(ATTRIBUTES)
    (repo / ".git" / "info").mkdir(exist_ok=True)
    (repo / ".git" / "info" / "attributes").write_text(ATTRIBUTES)


def sign_head(repo: Path) -> None:
    """Gives the newest commit a signature, which git log --show-signature would check by a program."""
    content = git(repo, "cat-file", "commit", "HEAD").encode() + b"\n"
    header, _, message = content.partition(b"\n\n")
    signature = b"\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n iQEz\n -----END PGP SIGNATURE-----"
    made = git(
        repo, "hash-object", "-t", "commit", "-w", "--stdin", stdin=header + signature + b"\n\n" + message
    )
    git(repo, "update-ref", "refs/heads/main", made)


def test_no_program_that_is_planted_runs(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sign_head(repo)
    expected = {
        problem: rows_of(mine(repo, problem=problem)) for problem in ("commit_message", "comment_update")
    }
    trap = tmp_path / "trap"
    trap.mkdir()
    plant_all(repo, trap)
    (tmp_path / "gitconfig").write_bytes((repo / ".git" / "config").read_bytes())  # the user has them too
    for variable in (
        "GIT_EXTERNAL_DIFF",
        "GIT_PAGER",
        "PAGER",
        "GIT_SSH_COMMAND",
        "GIT_ASKPASS",
        "GIT_EDITOR",
    ):
        monkeypatch.setenv(variable, plant(trap, trap / f"ran-{variable}"))
    for problem, rows in expected.items():
        assert rows_of(mine(repo, problem=problem)) == rows
    repository = open_repository(repo)
    base, head = repository.range("HEAD~3..HEAD")
    assert b"weigh" in repository.diff(base, head)
    repository.run("diff", "--staged", *DIFF)
    assert not list(trap.glob("ran-*"))


def test_the_traps_are_real(repo: Path, tmp_path: Path) -> None:
    """Plain git falls into them: a trap that catches nobody shows nothing."""
    sign_head(repo)
    trap = tmp_path / "trap"
    trap.mkdir()
    plant_all(repo, trap)
    environment = {key: value for key, value in ENVIRONMENT.items() if key != "PAGER"}
    for words in (["log", "-p", "--ext-diff"], ["diff", "HEAD~1", "HEAD"], ["log", "-1", "-p"], ["status"]):
        subprocess.run(
            ["git", "-C", str(repo), *words], env=environment, capture_output=True, check=False, timeout=60
        )
    ran = {path.name for path in trap.glob("ran-*")}
    assert {
        "ran-diff.evil.command",
        "ran-gpg.program",
        "ran-core.fsmonitor",
        "ran-filter.evil.process",
    } <= ran


@pytest.mark.parametrize("scheme", ["ext", "ssh", "file"])
def test_a_partial_clone_fetches_nothing(scheme: str, repo: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git(repo, "config", "uploadpack.allowFilter", "true")
    git(tmp_path, "clone", "-q", "--no-checkout", "--filter=blob:none", f"file://{repo}", str(clone))
    trap = tmp_path / "trap"
    trap.mkdir()
    program = plant(trap, trap / "ran-transport", "exit 1")
    urls = {"ext": f"ext::{program}", "ssh": "ssh://host.invalid/x", "file": f"file://{repo}"}
    git(clone, "config", "remote.origin.url", urls[scheme])
    git(clone, "config", "remote.origin.uploadpack", program)
    git(clone, "config", "core.sshCommand", program)
    git(clone, "config", f"protocol.{scheme}.allow", "always")
    with pytest.raises(ValueError, match=r"git log: .*the clone lacks objects: make one that is not partial"):
        mine(clone)
    assert not list(trap.glob("ran-*"))
    plain = ["git", "-C", str(clone), "-c", f"protocol.{scheme}.allow=always", "log", "-p"]
    subprocess.run(plain, env=ENVIRONMENT, capture_output=True, check=False, timeout=60)
    assert list(trap.glob("ran-*"))  # plain git falls into it


SETTINGS = """\
[diff]
    noprefix = true
    mnemonicPrefix = true
    orderFile = {order}
    relative = true
    context = 9
    interHunkContext = 50
    algorithm = minimal
    indentHeuristic = false
    renames = copies
    renameLimit = 1
    suppressBlankEmpty = true
    submodule = log
    wordRegex = .
    colorMoved = zebra
    wsErrorHighlight = all
    ignoreSubmodules = none
    statNameWidth = 3
[diff "odd"]
    xfuncname = "^value_.*$"
    binary = true
    algorithm = patience
[log]
    date = relative
    diffMerges = first-parent
    follow = true
    showRoot = false
    mailmap = true
    abbrevCommit = true
    decorate = full
[mailmap]
    file = {mailmap}
[notes]
    displayRef = refs/notes/*
[i18n]
    logOutputEncoding = ISO-8859-1
    commitEncoding = ISO-8859-1
[color]
    ui = always
    diff = always
[color "diff"]
    meta = red
[core]
    quotePath = false
    abbrev = 4
    bigFileThreshold = 10
    attributesFile = {attributes}
    whitespace = tab-in-indent
    ignoreCase = true
    precomposeUnicode = true
    autocrlf = true
    useReplaceRefs = true
[format]
    pretty = oneline
[grep]
    patternType = perl
    extendedRegexp = true
[column]
    ui = always
[user]
    useConfigOnly = true
[log "x"]
    y = z
"""


def write_settings(repo: Path, tmp_path: Path, place: str) -> None:
    """Writes settings that change what git prints: the user's, the repository's, attributes, notes, a mailmap."""
    (tmp_path / "order").write_text("*.md\n*.c\n*.py\n")
    (tmp_path / "mailmap").write_text("Other Person <other@else.example> <ann@work.example>\n")
    (tmp_path / "attributes").write_text("*.py diff=odd\n*.md -diff\n")
    names = {name: tmp_path / name for name in ("order", "mailmap", "attributes")}
    file = tmp_path / "gitconfig" if place == "user" else repo / ".git" / "config"
    with file.open("a") as settings:
        settings.write(SETTINGS.format(**names))
    if place == "repository":
        (repo / ".gitattributes").write_text("*.py diff=odd\n*.md -diff\n")
        (repo / ".git" / "info" / "attributes").write_text("*.c -diff\n")
        (repo / ".mailmap").write_text("Other Person <other@else.example> <ann@work.example>\n")
        git(repo, "notes", "add", "-m", "a note for the newest commit")
        git(repo, "replace", "HEAD~1", "HEAD~2")


@pytest.mark.parametrize("place", ["user", "repository"])
@pytest.mark.parametrize("problem", ["commit_message", "comment_update"])
def test_no_setting_changes_a_byte(place: str, problem: str, repo: Path, tmp_path: Path) -> None:
    git(repo, "revert", "--no-edit", "HEAD~7")
    expected = mine(repo, problem=problem)
    assert rows_of(expected)
    plain = git(repo, "log", "-p", "--no-notes")
    write_settings(repo, tmp_path, place)
    if place == "repository":
        assert git(repo, "log", "-p", "--no-notes") != plain
    assert mine(repo, problem=problem) == expected


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("GIT_DIFF_OPTS", "-U0"),
        ("GIT_DIR", "{other}/.git"),
        ("GIT_WORK_TREE", "{other}"),
        ("GIT_OBJECT_DIRECTORY", "{other}/.git/objects"),
        ("GIT_NAMESPACE", "x"),
        ("GIT_LITERAL_PATHSPECS", "1"),
        ("GIT_TRACE", "1"),
        ("GIT_TRACE2", "1"),
        ("GIT_NOTES_DISPLAY_REF", "refs/notes/*"),
        ("GIT_ATTR_SOURCE", "HEAD"),
        ("GIT_CONFIG_PARAMETERS", "'diff.context'='9'"),
        ("LC_ALL", "de_DE.UTF-8"),
        ("LANGUAGE", "de"),
        ("TZ", "Asia/Tokyo"),
        ("COLUMNS", "20"),
    ],
)
def test_no_variable_changes_a_byte(
    variable: str, value: str, repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a hook of another repository, whose variables a command there has."""
    expected = mine(repo, paths=("src",))
    other = shelf(History(), 2).write(tmp_path / "other")
    monkeypatch.setenv(variable, value.format(other=other))
    assert mine(repo, paths=("src",)) == expected


def test_nothing_is_written_to_the_repository(repo: Path, tmp_path: Path) -> None:
    (repo / "src" / "part_0.py").write_text("changed = True\n")
    (repo / "new.py").write_text("new = True\n")
    before, status = snapshot(repo), git(repo, "status", "--porcelain")
    before = snapshot(repo)  # git status itself may refresh the index
    for problem in ("commit_message", "comment_update"):
        assert rows_of(mine(repo, problem=problem))
    open_repository(repo).run("diff", "--staged", *DIFF)
    assert snapshot(repo) == before
    assert git(repo, "status", "--porcelain") == status


def test_a_read_only_repository_works_and_leaves_nothing_behind(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    for path in sorted(repo.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    assert rows_of(mine(repo, problem="comment_update"))
    assert list(temporary.iterdir()) == []


# Forms of repositories


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
        (["repo={r}", "nosuch=1"], "nosuch="),
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
