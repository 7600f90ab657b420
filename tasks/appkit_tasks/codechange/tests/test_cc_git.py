"""Nothing of a repository runs, nothing is written to it, and none of its settings changes a byte."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
from appkit_tasks.codechange.git import DIFF, open_repository
from appkit_tasks.codechange.tests.builders import (
    ENVIRONMENT,
    History,
    forget_settings,
    git,
    mine,
    rows_of,
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
