"""Remarks are read of every form in which GitHub, GitLab and Gerrit export them, and of no other."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from appkit_tasks.codechange.exports import clean_remark, read_export
from appkit_tasks.codechange.tests.samples import (
    HUNK,
    attempt,
    gerrit,
    github,
    gitlab,
    left_out,
    make,
    make_clone,
    note,
    rows_of,
    save,
)

from appkit.task import Built


@pytest.fixture
def clone(tmp_path: Path) -> tuple[Path, str, str]:
    return make_clone(tmp_path / "clone")


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
