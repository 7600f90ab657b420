"""Rows for reviews are made of what GitHub, GitLab and Gerrit export, and each remark that is left out is counted."""

from __future__ import annotations

import itertools
import json
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from appkit_tasks.codechange import TASK
from appkit_tasks.codechange.exports import clean_remark, read_export
from appkit_tasks.codechange.mining import BuildOptions, build
from appkit_tasks.codechange.remarks import NO_REMARK
from appkit_tasks.codechange.tests.stubs import commit, git, make_repository

from appkit.task import Built

HUNK = "@@ -8,4 +8,5 @@ def weigh(jars):\n a = 1\n-b = 2\n+b = 3\n+c = 4"
"""as GitHub keeps it: up to the line remarked on, 10"""


def github(**more: Any) -> dict[str, Any]:
    """Returns a review comment as `GET /repos/{owner}/{repo}/pulls/comments` has it."""
    return {
        "url": "https://api.github.com/repos/ada/shelf/pulls/comments/1",
        "pull_request_review_id": 42,
        "id": 1,
        "node_id": "MDI0Ol",
        "diff_hunk": HUNK,
        "path": "lib/shelf.py",
        "commit_id": "6dcb09b5b57875f334f61aebed695e2e4193db5e",
        "original_commit_id": "9c48853fa3dc5c1c3d6f1f1cd1f2743e72652840",
        "user": {"login": "ada", "id": 1, "type": "User", "site_admin": False},
        "body": "This loses the last jar.",
        "created_at": "2024-03-01T10:00:00Z",
        "updated_at": "2024-03-01T10:00:00Z",
        "author_association": "MEMBER",
        "reactions": {"total_count": 0},
        "start_line": None,
        "original_start_line": None,
        "start_side": None,
        "line": 10,
        "original_line": 10,
        "side": "RIGHT",
        "original_position": 4,
        "position": 4,
        "subject_type": "line",
    } | more


def gitlab(*notes: dict[str, Any]) -> dict[str, Any]:
    """Returns a discussion as `GET /projects/:id/merge_requests/:iid/discussions` has it."""
    return {"id": "6a9c1750b37d513a43987b574953fceb50b03ce7", "individual_note": False, "notes": list(notes)}


def note(base: str, head: str, line: int | None, **more: Any) -> dict[str, Any]:
    position = {
        "base_sha": base,
        "start_sha": base,
        "head_sha": head,
        "old_path": "lib/shelf.py",
        "new_path": "lib/shelf.py",
        "position_type": "text",
        "old_line": None,
        "new_line": line,
        "line_range": None,
    }
    return {
        "id": 1128,
        "type": "DiffNote",
        "body": "This loses the last jar.",
        "author": {"id": 1, "name": "Ada", "username": "ada", "state": "active"},
        "created_at": "2024-03-01T10:00:00.000Z",
        "system": False,
        "noteable_type": "MergeRequest",
        "position": position,
        "resolvable": True,
    } | more


def gerrit(**more: Any) -> dict[str, Any]:
    """Returns a CommentInfo."""
    return {
        "patch_set": 1,
        "id": "TvcXrmjM",
        "line": 10,
        "message": "This loses the last jar.",
        "updated": "2024-03-01 10:00:00.000000000",
        "author": {"_account_id": 1000096, "name": "Ada", "email": "ada@example.org"},
        "unresolved": True,
    } | more


def save(folder: Path, text: Any) -> Path:
    path = folder / "comments.json"
    path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    return path


def make(folder: Path, text: Any, **words: Any) -> Built:
    return build(BuildOptions(problem="review", comments=str(save(folder, text)), **words))


def attempt(folder: Path, text: Any, **words: Any) -> Built | str:
    """Returns what is made, or why nothing is."""
    try:
        return make(folder, text, **words)
    except ValueError as error:
        return str(error)


def rows_of(built: Built) -> list[dict[str, Any]]:
    """Returns the rows of all splits; each fits the pack's schema, and the counts add up."""
    rows: list[dict[str, Any]] = [dict(row) for part in built.splits.values() for row in part]
    for row in rows:
        TASK.row.model_validate({**row, "answer": row["review"]})
    counts = dict(built.counts)
    left_out = sum(count for what, count in counts.items() if what.startswith("left out: "))
    assert counts["remarks read"] == left_out + counts["rows with a remark"]
    apart = sum(count for what, count in counts.items() if what.startswith("left out of "))
    assert counts["rows with a remark"] + counts["rows without, from the same commits"] == len(rows) + apart
    assert [counts[f"of them {name}"] for name in built.splits] == [
        len(part) for part in built.splits.values()
    ]
    return rows


def left_out(built: Built) -> dict[str, int]:
    return {
        what.removeprefix("left out: "): n
        for what, n in built.counts.items()
        if what.startswith("left out: ")
    }


def test_a_comment_of_github_is_a_row(tmp_path: Path) -> None:
    built = make(tmp_path, [github()])
    (row,) = rows_of(built)
    assert row == {
        "commit": "9c48853fa3dc5c1c3d6f1f1cd1f2743e72652840",
        "date": "2024-03-01T10:00:00Z",
        "file": "lib/shelf.py",
        "language": "python",
        "diff": "@@ -8,2 +8,3 @@ def weigh(jars):\n a = 1\n-b = 2\n+b = 3\n+c = 4\n",
        "masked": 0,
        "review": "This loses the last jar.",
        "line": 10,
        "end_line": None,
    }
    assert "repo=PATH, a clone with the commits, adds changes that nobody remarked on" in built.notes[0]


@pytest.mark.parametrize(
    ("more", "line", "end"),
    [
        ({"start_line": 8, "original_start_line": 8}, 8, 10),
        ({"start_line": 2, "original_start_line": 2}, 10, None),
        ({"line": None, "position": None}, 10, None),  # outdated
        ({"original_line": 9, "line": 33}, 9, None),
        ({"original_line": None, "line": 9}, 9, None),
        ({"line": None, "original_line": None, "subject_type": "file"}, None, None),
        ({"side": "LEFT"}, None, None),
        ({"original_line": 77}, None, None),
        ({"original_line": 10.0, "line": "10"}, None, None),
        ({"original_line": True}, None, None),
        ({"original_line": 10**400}, None, None),
    ],
)
def test_lines_are_of_the_file_afterwards(
    tmp_path: Path, more: Any, line: int | None, end: int | None
) -> None:
    (row,) = rows_of(make(tmp_path, [github(**more)]))
    assert (row["line"], row["end_line"]) == (line, end)


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


@pytest.mark.parametrize(
    "user",
    [{"login": "dependabot[bot]", "type": "Bot"}, {"login": "x", "type": "Bot"}, {"login": "renovate[bot]"}],
)
def test_bots_are_known(tmp_path: Path, user: Any) -> None:
    assert left_out(make(tmp_path, [github(), github(user=user)])) == {"written by bots": 1}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("This\r\nis **wrong**,\n\n see `f`.", "This is **wrong**, see `f`."),
        ("Use this:\n```suggestion\nb = 4\n```\nsince it is shorter.", "Use this: since it is shorter."),
        ("> quoted words of another\nI do not agree at all.", "I do not agree at all."),
        ("<details><summary>More</summary>It is too slow.</details>", "More It is too slow."),
        ("![picture](http://x/y.png) Compare with this one.", "Compare with this one."),
        ("```python\nnever closed by anyone", ""),
        ("```\ncode\n```", ""),
        ("Nice", ""),
        ("good catch, thanks!", ""),
        ("+1 ", ""),
        ("Why?", ""),
        ("ok, done. thanks!", ""),
        ("ok, done. But it is slow!", "ok, done. But it is slow!"),
        ("Rename it please", "Rename it please"),
        ("9: error: not a place", "9: error: not a place"),
    ],
)
def test_words_are_kept_without_markup(body: str, text: str) -> None:
    counts: Counter[str] = Counter()
    assert clean_remark(body, counts) == text
    assert counts.total() == (not text)


def test_long_markup_takes_no_long_time() -> None:
    begin = time.perf_counter()
    for body in (
        "<!--" * 4999,
        "![" * 9999,
        "```" * 6000,
        ">" * 19_999,
        "<br" * 6000,
        " \n" * 9999,
        "hm" * 9999,
        "ok no " * 3000 + "x",
    ):
        clean_remark(body, Counter())
        clean_remark(body * 500, Counter())
    assert time.perf_counter() - begin < 10


FORMS = {
    "an array": lambda one, two: json.dumps([one, two]),
    "arrays behind one another": lambda one, two: json.dumps([one]) + json.dumps([two]),
    "arrays in an array": lambda one, two: json.dumps([[one], [[two]], []]),
    "lines": lambda one, two: f"{json.dumps(one)}\n\n{json.dumps(two)}\n",
    "a mark of byte order": lambda one, two: "\ufeff" + json.dumps([one, two], indent=2) + "\r\n",
    "an object of comments": lambda one, two: json.dumps({"comments": [one, two], "total": 2}),
    "pulls with comments": lambda one, two: json.dumps(
        [{"number": 1, "comments": [one]}, {"comments": [two]}]
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_reads_every_form_of_an_export(tmp_path: Path, form: str) -> None:
    text = FORMS[form](github(), github(body="And this one too."))
    assert [remark.body for remark in read_export(save(tmp_path, text))] == [
        "This loses the last jar.",
        "And this one too.",
    ]


@pytest.fixture
def clone(tmp_path: Path) -> tuple[Path, str, str]:
    """A repository whose second commit changes lines 10 and 40 of a file, and another one; returns both commits."""
    lines = [f"x{n} = {n}" for n in range(1, 61)]
    folder = make_repository(
        tmp_path / "clone", {"lib/shelf.py": "\n".join(lines) + "\n", "lib/box.py": "B = 1\n"}
    )
    base = git(folder, "rev-parse", "HEAD").stdout.strip()
    lines[9], lines[39] = "x10 = 'ten'", "x40 = 'forty'"
    changed = {"lib/shelf.py": "\n".join(lines) + "\n", "lib/box.py": "B = 2\n", "yarn.lock": "z\n"}
    return folder, base, commit(folder, changed)


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


def test_discussions_of_gitlab(tmp_path: Path, clone: tuple[Path, str, str]) -> None:
    folder, base, head = clone
    several = note(base, head, 41, body="Over these lines here.")
    several["position"]["line_range"] = {
        "start": {"line_code": "x_1_40", "type": "new", "old_line": None, "new_line": 40},
        "end": {"line_code": "x_1_41", "type": "new", "old_line": None, "new_line": 41},
    }
    talk = {
        "id": 3,
        "type": None,
        "body": "A word on all of it.",
        "author": {"username": "ada"},
        "system": False,
    }
    discussions = [
        gitlab(note(base, head, 10), note(base, head, 10, body="I do not think so.")),
        gitlab(several),
        gitlab(talk | {"system": True}),
        gitlab(talk),
        gitlab(note(base, head, None, body="It was better before.")),
        gitlab(note(base, head, 10, author={"username": "ci[bot]"})),
    ]
    for text in (
        discussions,
        "".join(map(json.dumps, discussions)),
        {"notes": None, "comments": discussions},
    ):
        built = make(tmp_path, text, repo=str(folder), silent=0)
        assert [(row["line"], row["end_line"], row["review"]) for row in rows_of(built)] == [
            (10, None, "This loses the last jar."),
            (40, 41, "Over these lines here."),
        ]
        assert left_out(built) == {
            "replies, and notes of the host": 2,
            "about no file": 1,
            "written by bots": 1,
            "no hunk is known (an old side, an outdated line, or a commit that repo= lacks)": 1,
        }
    flat = [note(base, head, 10), note(base, head, 41)]  # as .../notes has them
    assert len(rows_of(make(tmp_path, flat, repo=str(folder), silent=0))) == 2


def test_comments_of_gerrit_with_their_guard(tmp_path: Path, clone: tuple[Path, str, str]) -> None:
    folder, _, head = clone
    span = {"start_line": 9, "start_character": 0, "end_line": 11, "end_character": 4}
    comments = {
        "/COMMIT_MSG": [gerrit(message="Say why it is needed.")],
        "/PATCHSET_LEVEL": [gerrit(message="A word on all of it.")],
        "lib/shelf.py": [
            gerrit(commit_id=head),
            gerrit(commit_id=head, line=None, range=span, message="Over these lines here."),
            gerrit(commit_id=head, side="PARENT", message="It was better before."),
            gerrit(commit_id=head, in_reply_to="TvcXrmjM", message="I do not think so."),
            gerrit(commit_id=head, robot_id="lint", message="Line is too long."),
            gerrit(
                commit_id=head,
                author={"name": "Build", "tags": ["SERVICE_USER"]},
                message="It does not build.",
            ),
        ],
    }
    guarded = ")]}'\n" + json.dumps(comments)
    for text, times in ((guarded, 1), (guarded + "\n" + guarded, 2)):
        built = make(tmp_path, text, repo=str(folder), silent=0)
        assert [(row["line"], row["end_line"]) for row in rows_of(built)] == [(10, None), (9, 11)]
        del_same = left_out(built)
        assert del_same.pop("the same remark on the same hunk", 0) == 2 * (times - 1)
        assert del_same == {
            "about no file": 2 * times,
            "replies, and notes of the host": times,
            "written by bots": 2 * times,
            "no hunk is known (an old side, an outdated line, or a commit that repo= lacks)": times,
        }


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


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "holds no remarks: wanted are review comments of GitHub"),
        ("hello", "the JSON that begins in line 1 cannot be read: Expecting value"),
        ("[]\n\n{]", "the JSON that begins in line 3 cannot be read"),
        ("[1,", "cannot be read"),
        ('42 "x" null true', "holds no remarks"),
        ("[" * 100_000, "it is nested too deeply"),
        ('{"comments":' * 100_000, "it is nested too deeply"),
        ("1" * 10_000, "cannot be read: Exceeds the limit"),
        ("[1e999, NaN, -Infinity]", "holds no remarks"),
        ('{"a": [{"b": 1}]}', "holds no remarks"),
        ("\x00\x01", "cannot be read"),
    ],
)
def test_what_is_no_export_is_refused_in_one_line(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r"comments\.json") as error:
        make(tmp_path, text)
    assert reason in str(error.value)
    assert str(error.value).isprintable()


@pytest.mark.parametrize("depth", [10, 300, 900, 960, 980, 990])
def test_objects_in_objects_are_read_or_refused(tmp_path: Path, depth: int) -> None:
    text = '{"comments":' * depth + json.dumps([github()]) + "}" * depth
    built = attempt(tmp_path, text)
    if isinstance(built, Built):
        assert len(rows_of(built)) == 1
    else:
        assert depth > 900
        assert "nested too deeply" in built


def test_refuses_options_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="comments=FILE, the JSON of GitHub, GitLab or Gerrit"):
        build(BuildOptions(problem="review"))
    with pytest.raises(ValueError, match=r"no file '.*absent'; export the remarks"):
        build(BuildOptions(problem="review", comments=str(tmp_path / "absent")))
    with pytest.raises(ValueError, match="no git repository"):
        make(tmp_path, [github()], repo=str(tmp_path))
    for word, value in (("paths", "lib"), ("max_lines", 5), ("max_files", 1), ("min_words", 2)):
        with pytest.raises(ValueError, match=f"{word}= has no effect on reviews; leave it out"):
            make(tmp_path, [github()], **{word: value})


ATOMS: list[Any] = [
    *(
        None,
        True,
        -1,
        0,
        3,
        10**30,
        1.5,
        float("nan"),
        "",
        "x",
        "\ud800",
        "a\nb",
        "é" * 50,
        "2024-01-01",
        "9" * 40,
    ),
    *(
        [],
        {},
        [None],
        {"": 1},
        [[]],
        {"new_line": 3},
        {"login": 3},
        {"start": []},
        {"start": {"new_line": "3"}},
    ),
    *(
        HUNK,
        "@@",
        "@@ -1 +1 @@",
        "@@ -1 +1 @@\n+\ud800",
        "diff --git a/x b/y\n" * 2,
        "Bot",
        "PARENT",
        "x" * 30_000,
    ),
]


def damage(value: Any, chance: random.Random) -> Any:
    """Puts something else in the place of some parts of a value."""
    if chance.random() < 0.12:
        return chance.choice(ATOMS)
    if isinstance(value, dict):
        return {key: damage(inner, chance) for key, inner in value.items() if chance.random() > 0.03}
    if isinstance(value, list):
        return [damage(inner, chance) for inner in value for _ in range(chance.choice((1, 1, 1, 2)))]
    return value


@pytest.mark.parametrize("seed", range(8))
def test_wrong_types_anywhere_are_counted_or_refused(
    tmp_path: Path, clone: tuple[Path, str, str], seed: int
) -> None:
    """Rows that come of it fit the schema, and are written as UTF-8."""
    folder, base, head = clone
    chance = random.Random(seed)
    shapes: list[Any] = [
        [github(original_commit_id=head), github(body="And this one too.")],
        [gitlab(note(base, head, 10), note(base, head, 40)), gitlab(note(base, head, 40))],
        {
            "lib/shelf.py": [gerrit(commit_id=head), gerrit(commit_id=head, line=40)],
            "/COMMIT_MSG": [gerrit()],
        },
        {"comments": [github()]},
    ]
    made = 0
    for _ in range(60):
        text = json.dumps(damage(chance.choice(shapes), chance))
        built = attempt(tmp_path, text, repo=str(folder), silent=1)
        if isinstance(built, str):
            assert "holds no remarks" in built, text
            continue
        rows = rows_of(built)
        made += len(rows)
        for row in rows:
            json.dumps(row, ensure_ascii=False, allow_nan=False).encode("utf-8")
    assert made > 20
