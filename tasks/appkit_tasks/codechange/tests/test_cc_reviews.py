"""Rows for reviews are exported remarks on their hunks, and each remark that is left out is counted."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest
from appkit_tasks.codechange.config import BuildOptions
from appkit_tasks.codechange.mining import build
from appkit_tasks.codechange.remarks import NO_REMARK
from appkit_tasks.codechange.tests.builders import read_files, run_command
from appkit_tasks.codechange.tests.samples import (
    github,
    left_out,
    make,
    make_clone,
    rows_of,
    save,
)
from appkit_tasks.codechange.tests.stubs import commit


@pytest.fixture
def clone(tmp_path: Path) -> tuple[Path, str, str]:
    return make_clone(tmp_path / "clone")


EXCLUDED = {
    "replies, and notes of the host": {"in_reply_to_id": 7},
    "written by bots": {"user": {"login": "linter", "type": "Bot"}},
    "generated or vendored files": {"path": "yarn.lock"},
    "files of other languages": {"path": "a.go"},
    "before since, or after until": {"created_at": "2023-12-31T23:59:59Z"},
    "only a proposed edit, or code": {"body": "```suggestion\nb = 4\n```"},
    "empty": {"body": " <!-- nothing --> \n"},
    "says nothing of the code, or fewer than 3 words": {"body": "LGTM! :tada:"},
    "longer than 20,000 characters": {"body": "long word " * 2001},
    "no hunk is known (an old side, an outdated line, or a commit that repo= lacks)": {"diff_hunk": ""},
    "about no file": {"path": None},
    "the same remark on the same hunk": {},
}


def test_each_that_is_left_out_is_counted_once(tmp_path: Path) -> None:
    comments = [github(), *(github(**more) for more in EXCLUDED.values())]
    built = make(tmp_path, comments, languages="python", since="2024-01-01")
    assert len(rows_of(built)) == 1
    assert left_out(built) == dict.fromkeys(EXCLUDED, 1)
    assert next(iter(built.counts.items())) == ("remarks read", len(comments))


@pytest.mark.parametrize("line", [7, 10, 13])
def test_a_remark_is_matched_to_its_hunk_in_the_repository(
    tmp_path: Path, clone: tuple[Path, str, str], line: int
) -> None:
    """The host's hunk ends at the line; the repository's goes on, and the line may be anywhere in it."""
    folder, _, head = clone
    remark = github(original_commit_id=head, original_line=line, original_start_line=7, diff_hunk="")
    built = make(tmp_path, [remark], repo=str(folder), silent=0)
    (row,) = rows_of(built)
    assert row["diff"].startswith("@@ -7,7 +7,7 @@")
    assert row["diff"].endswith(" x13 = 13\n")
    assert (row["line"], row["end_line"]) == ((7, line) if line > 7 else (7, None))
    assert built.facts["origin"] == f"clone at {head}"


def test_silent_hunks_are_of_the_same_commits(tmp_path: Path, clone: tuple[Path, str, str]) -> None:
    folder, _, head = clone
    commit(folder, {"lib/box.py": "B = 3\n"}, "Nobody looked at it")
    comments = [
        github(original_commit_id=head, original_line=10, body=f"Remark number {n}") for n in range(4)
    ]
    built = make(tmp_path, comments, repo=str(folder))
    silent = [row for row in rows_of(built) if row["review"] == NO_REMARK]
    assert built.counts["rows without, from the same commits"] == 2
    assert sorted((row["file"], row["commit"], row["line"]) for row in silent) == [
        ("lib/box.py", head, None),
        ("lib/shelf.py", head, None),
    ]
    assert all("x10" not in row["diff"] for row in silent)
    assert not built.notes
    (note,) = make(tmp_path, comments[:1], repo=str(folder), silent=0.25).notes
    assert "or silent= is too low for so few rows" in note
    assert "repo=PATH" not in note
    assert len(rows_of(make(tmp_path, comments, repo=str(folder), silent=10))) == 6  # there are no more
    assert len(rows_of(make(tmp_path, comments, repo=str(folder), silent=0))) == 4
    assert len(rows_of(make(tmp_path, comments, repo=str(folder), silent=0.25, languages="python"))) == 5


@pytest.mark.parametrize(
    "more",
    [
        {"body": "LGTM"},
        {"body": "```suggestion\nx40 = 4\n```"},
        {"in_reply_to_id": 1},
        {"user": {"login": "x[bot]", "type": "Bot"}},
        {"side": "LEFT"},
        {"original_line": None, "line": None},
    ],
)
def test_a_hunk_is_not_silent_where_a_remark_was_left_out(
    tmp_path: Path, clone: tuple[Path, str, str], more: dict[str, Any]
) -> None:
    folder, _, head = clone
    comments = [
        github(original_commit_id=head, original_line=10),
        github(**{"original_commit_id": head, "original_line": 40, "diff_hunk": ""} | more),
    ]
    rows = rows_of(make(tmp_path, comments, repo=str(folder), silent=10))
    assert [row["file"] for row in rows if row["review"] == NO_REMARK] == ["lib/box.py"]


def test_what_the_repository_lacks_is_taken_from_the_host(
    tmp_path: Path, clone: tuple[Path, str, str]
) -> None:
    odd = ["9" * 40, "", None, 7, "HEAD", "--output=x", "main", "\x00", "9" * 5000]
    comments = [
        github(original_commit_id=name, commit_id=None, body=f"Remark number {n}")
        for n, name in enumerate(odd)
    ]
    rows = rows_of(make(tmp_path, comments, repo=str(clone[0])))
    assert len(rows) == len(odd)
    assert {row["line"] for row in rows} == {10}


def test_a_commit_stays_in_one_split(tmp_path: Path) -> None:
    """Remarks of a commit come over weeks; those of one hunk without a commit stay together too."""
    comments = [
        github(
            original_commit_id=f"{place % 12:040x}" if place % 12 else None,
            commit_id=None,
            created_at=f"2024-{1 + place // 28:02}-{1 + place % 28:02}T00:00:00Z",
            body=f"Remark number {place}",
            user={"login": f"user{place % 5}"},
        )
        for place in range(120)
    ]
    random.Random(3).shuffle(comments)
    for apart in ("none", "author", "file"):
        built = make(tmp_path, comments, apart=apart)
        rows_of(built)
        groups = [{row["commit"] for row in part} for part in built.splits.values()]
        assert not any(one & other for one, other in itertools.combinations(groups, 2))
        if apart == "none":
            assert [len(part) for part in built.splits.values()] == [80, 20, 20]


def test_silent_rows_are_no_author_s(tmp_path: Path, clone: tuple[Path, str, str]) -> None:
    folder, _, _ = clone
    comments = []
    for place in range(12):
        head = commit(folder, {"lib/shelf.py": f"y = {place}\n", "lib/box.py": f"B = 'b{place}'\n"})
        comments.append(
            github(
                original_commit_id=head,
                original_line=1,
                body=f"Remark number {place}",
                created_at=f"2024-01-{place + 1:02}T00:00:00Z",
                user={"login": f"user{place}"},
            )
        )
    built = make(
        tmp_path, comments, repo=str(folder), silent=1, apart="author", test_share=0.2, dev_share=0.2
    )
    assert len(rows_of(built)) == 24
    for part in built.splits.values():
        assert sum(row["review"] == NO_REMARK for row in part) * 2 == len(part) > 0


def test_a_remark_without_a_date_comes_first(tmp_path: Path) -> None:
    built = make(
        tmp_path, [github(created_at=None, body="No date at all."), github(original_commit_id="a" * 40)]
    )
    assert [row["date"] for row in rows_of(built)] == ["", "2024-03-01T10:00:00Z"]


def test_secrets_are_masked(tmp_path: Path) -> None:
    token = "ghp_" + "a1B2" * 9
    comment = github(
        body=f"Do not commit {token} here.", diff_hunk=f"@@ -1 +1 @@\n-a\n+k = '{token}'", original_line=1
    )
    built = make(tmp_path, [comment])
    (row,) = rows_of(built)
    assert token not in json.dumps(row)
    assert row["masked"] == 2
    assert built.notes[0] == "2 secrets are masked"


def test_the_command_line_writes_rows_that_training_reads(
    tmp_path: Path,
    clone: tuple[Path, str, str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, _, head = clone
    words = [
        "problem=review",
        f"comments={save(tmp_path, [github(original_commit_id=head), github(body='Nice')])}",
    ]
    code, out, err = run_command(capsys, monkeypatch, tmp_path / "out", *words, f"repo={folder}")
    assert code == 0, err
    for line in (
        "2  remarks read",
        "1  left out: says nothing of the code, or fewer than 3 words",
        "1  rows with a remark",
    ):
        assert f"        {line}\n" in out
    assert len(read_files(tmp_path / "out")) == 1
    card = (tmp_path / "out" / "card.yaml").read_text()
    assert f"origin: clone at {head}" in card
    assert str(tmp_path) not in card
    for text, reason in (
        ("{", "cannot be read"),
        ("[]", "holds no remarks"),
        ([github(body="Nice")], "no row is left"),
    ):
        save(tmp_path, text)
        code, out, err = run_command(capsys, monkeypatch, tmp_path / "other", *words)
        assert (code, out) == (2, "")
        assert err.splitlines()[-1].startswith("error: ")
        assert reason in err.splitlines()[-1]
        assert not (tmp_path / "other").exists()


def test_refuses_options_that_do_not_fit(tmp_path: Path) -> None:
    for word, value in (("comments", "c.json"), ("silent", 1)):  # else the rows would be of commits
        with pytest.raises(ValueError, match=f"{word}= belongs to problem=review; add that, or leave it out"):
            build(BuildOptions(repo=str(tmp_path), **{word: value}))
    with pytest.raises(ValueError, match="comments=FILE, the JSON of GitHub, GitLab or Gerrit"):
        build(BuildOptions(problem="review"))
    with pytest.raises(ValueError, match=r"no file '.*absent'; export the remarks"):
        build(BuildOptions(problem="review", comments=str(tmp_path / "absent")))
    with pytest.raises(ValueError, match="no git repository"):
        make(tmp_path, [github()], repo=str(tmp_path))
    for word, value in (("paths", "lib"), ("max_lines", 5), ("max_files", 1), ("min_words", 2)):
        with pytest.raises(ValueError, match=f"{word}= has no effect on reviews; leave it out"):
            make(tmp_path, [github()], **{word: value})
