"""Every commit is a row or is counted with its reason, and the splits follow the order of time."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from appkit_tasks.codechange import TASK
from appkit_tasks.codechange.config import CodeChangeConfig
from appkit_tasks.codechange.git import open_repository
from appkit_tasks.codechange.history import read_commits
from appkit_tasks.codechange.load import ChangeRow, synonyms
from appkit_tasks.codechange.mining import MACHINE_WORDED, BuildOptions, Row, find_licence, split_by_time
from appkit_tasks.codechange.pairs import LONGEST, match_functions
from appkit_tasks.codechange.prompt import prompt
from appkit_tasks.codechange.tests.builders import (
    ANN,
    BEGIN,
    BEN,
    History,
    git,
    lines,
    mine,
    read_files,
    rows_of,
    run_command,
    shelf,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from appkit.data.rows import Record
from appkit.rag.examples import put_examples
from appkit.task import Built

OLD = 'def weigh(jar):\n    """Return the weight of a jar in grams."""\n    return jar.weight\n'
NEW = 'def weigh(jar):\n    """Return the weight of a jar in pounds."""\n    return jar.weight * 2.2\n'
TOKEN = "ghp_" + "aB3dE6gH9" * 4


def left_out(built: Built) -> dict[str, int]:
    return {
        what.removeprefix("left out: "): count
        for what, count in built.counts.items()
        if what.startswith("left out: ")
    }


def add_up(built: Built) -> None:
    """Checks that each commit is counted once, and each row is on one side."""
    counts = built.counts
    became = counts["rows"] if "rows" in counts else counts.get("with such a function", 0)
    assert counts["commits read"] == sum(left_out(built).values()) + became
    known = sum(count for what, count in counts.items() if " known from training" in what)
    rows = next(count for what, count in counts.items() if what.startswith("rows"))
    assert rows == len(rows_of(built)) + known
    assert all(counts[f"of them {name}"] == len(part) for name, part in built.splits.items())


def validate(rows: Sequence[Mapping[str, Any]], problem: str = "commit_message") -> list[ChangeRow]:
    """Reads rows as training does, by the names that the pack knows."""
    options = CodeChangeConfig(problem=problem)  # type: ignore[arg-type]
    names = {other: field for field, others in synonyms(options).items() for other in others}
    return [
        ChangeRow.model_validate({names.get(key, key): value for key, value in row.items()}) for row in rows
    ]


# What is left out


def plant_reasons(history: History) -> dict[str, int]:
    """Adds commits for each reason; returns how many there are."""
    history.commit(
        "Add the first file of all", {"src/a.py": lines(20), "image.png": b"\0\1\2", "run.sh": "#!/bin/sh\n"}
    )
    begin = history.count
    history.commit("Change a line on a side", {"side.py": "side = 1\n"}, parents=[begin], branch="side")
    side = history.count
    history.commit("Change a line on the trunk", {"trunk.py": "trunk = 1\n"}, parents=[begin])
    history.commit("Merge branch 'side'", {"side.py": "side = 1\n"}, parents=[history.count, side])
    history.commit(
        "Raise the versions of all", {"a.py": "a = 1\n"}, author="dependabot[bot] <1+d[bot]@users.example>"
    )
    history.commit("Tidy all of the files", {"a.py": "a = 2\n"}, author="Renovate <bot@renovateapp.example>")
    history.commit('Revert "Tidy all of the files"', {"a.py": "a = 1\n"})
    for number, subject in enumerate(("fixup! Weigh jars", "WIP", "Bump version to 2.0", "v1.2.3")):
        history.commit(subject, {"a.py": f"a = {10 + number}\n"})
    history.commit("Fix it", {"a.py": "a = 20\n"})
    history.commit("Fix jars (#12)", {"a.py": "a = 21\n"})
    history.commit("", {"a.py": "a = 22\n"})
    history.commit(" \n\n ", {"a.py": "a = 23\n"})
    history.commit("Words " * 30, {"a.py": "a = 24\n"})
    history.commit("A subject like others\n\n" + "many words " * 2000, {"a.py": "a = 25\n"})
    history.commit("Write very many lines", {"src/b.py": lines(101)})
    history.commit("Write very many files", {f"src/f{number}.py": "f = 1\n" for number in range(9)})
    history.commit("Write a few hundred files", {f"x/f{number}.lock": "f = 1\n" for number in range(401)})
    history.commit("Lock the new versions", {"poetry.lock": "a = 1\n", "vendor/b.py": "b = 1\n"})
    history.commit("Draw a better image", {"image.png": b"\0\3\4"})
    history.commit("Make the program executable", {"run.sh": ("100755", "#!/bin/sh\n")})
    history.rename("Move a file and nothing else", "src/a.py", "lib/a.py")
    history.commit("Point to another commit", {"sub": ("160000", "1" * 40)})
    history.commit("Change nothing at all", {})
    history.commit("Write one endless line", {"src/c.py": f"c = '{'x' * 200_001}'\n"})
    history.commit("Write five more megabytes", {"src/d.py": "d = 1\n" * 900_000})
    for content in ("a = 30\n", "a = 31\n", "a = 30\n", "a = 31\n"):
        history.commit("Set the value of a", {"a.py": content})
    return {
        "merges": 1,
        "written by bots": 2,
        "reverts": 1,
        "messages of tools: version bumps, fixups, work in progress": 4,
        "messages of fewer than 3 words": 2,
        "no message": 2,
        "subjects of over 120 characters": 1,
        "messages of over 20,000 characters": 1,
        "more than 100 changed lines": 1,
        "more than 8 files": 2,
        "only generated files, lock files and vendored code": 1,
        "no change of a text: binary files, renames, modes, submodules": 4,
        "no change of a file": 1,
        "lines of extreme length": 1,
        "diff over 5 MB": 1,
        "the same change and message as an earlier commit": 1,
    }


def test_each_reason_is_counted(tmp_path: Path) -> None:
    history = History()
    expected = plant_reasons(history)
    folder = history.write(tmp_path / "shelf")
    git(folder, "config", "user.name", "Ann")
    git(
        folder,
        "commit",
        "-q",
        "--allow-empty",
        "-m",
        f"Undo an old idea\n\nThis reverts commit {git(folder, 'rev-parse', 'HEAD~1')}.",
    )
    built = mine(folder)
    add_up(built)
    assert left_out(built) == expected | {"reverts": 2, "reverted later": 1}
    assert [row["message"] for row in rows_of(built)] == [
        "Add the first file of all",
        "Change a line on a side",
        "Change a line on the trunk",
        "Set the value of a",
        "Set the value of a",
    ]
    assert not (tmp_path / "shelf" / "lib" / "b.py").exists()


def test_other_languages_are_left_out_of_a_change(tmp_path: Path) -> None:
    history = shelf(History(), 3)
    history.commit("Say it in the readme", {"README.md": "Jars\n"})
    history.commit(
        "Say it in both files", {"README.md": "Jars!\n", "src/part_0.py": "x = 1\n", "poetry.lock": "b\n"}
    )
    built = mine(history.write(tmp_path / "shelf"), languages="python")
    add_up(built)
    assert left_out(built) == {"only files of other languages": 1}
    assert [row["language"] for row in rows_of(built)] == ["python"] * 4
    (row,) = [row for row in rows_of(built) if row["message"] == "Say it in both files"]
    assert "README" not in row["diff"]
    assert "poetry" not in row["diff"]
    assert row["diff"].endswith("+x = 1\n")


def test_paths_and_days(tmp_path: Path) -> None:
    history = shelf(History(), 8)
    day = 24 * 3600
    midnight = (BEGIN // day + 30) * day
    history.commit("Write at the last second", {"docs/a.md": "a\n"}, date=midnight - 1)
    history.commit("Write at the first second", {"docs/b.md": "b\n"}, date=midnight)
    folder = history.write(tmp_path / "shelf")
    (last,) = [row["date"] for row in rows_of(mine(folder)) if "last second" in row["message"]]
    assert [row["message"] for row in rows_of(mine(folder, since=last[:10]))] == [
        "Write at the last second",
        "Write at the first second",
    ]
    assert len(rows_of(mine(folder, until=last[:10]))) == 9
    assert [row["message"] for row in rows_of(mine(folder, paths="docs"))] == [
        "Write at the last second",
        "Write at the first second",
    ]
    assert len(rows_of(mine(folder, paths="docs/a.md, src/part_1.py"))) == 3
    assert len(rows_of(mine(folder / "docs", paths="src/*_1.py"))) == 2
    assert mine(folder, since="20231201").facts["options"] == {"since": "2023-12-01"}
    assert len(rows_of(mine(folder, until="9999-12-31"))) == 10


@pytest.mark.parametrize(
    ("subject", "by_tool"),
    [
        ("Merge branch 'main' into dev", True),
        ("Merge pull request #12 from a/b", True),
        ("Merge origin/main into dev", True),
        ("Merge remote-tracking branch 'a/b'", True),
        ("Merge two rows that are alike", False),
        ("Merge sort in place of quick sort", False),
        ("fixup! Weigh the jars", True),
        ("WIP: weigh the jars", True),
        ("Wipe the table before each run", False),
        ("Bump version to 1.2", True),
        ("Bump the patch version", True),
        ("bump requests from 2.1 to 2.2", True),
        ("Bump lodash to 4.17.21", True),
        ("Bump the limit of jars a shelf has", False),
        ("Update dependencies", True),
        ("Update dependency lodash to v4", True),
        ("Update version parsing to accept dashes", False),
        ("Release 1.2.0", True),
        ("Release v1.2.0 of the shelf", True),
        ("release: 3.0", True),
        ("Release the lock before the wait", False),
        ("v1.2.3", True),
        ("1.2.3-rc1", True),
        ("3.12 is the oldest Python now", False),
        ("[automated] update the list of jars", True),
        ("auto: sync the files of all", True),
        ("Automatic weighing of all the jars", False),
        ("Auto-detect the shelf of a jar", False),
        ("[maven-release-plugin] prepare release", True),
        ("Prepare for the next version", True),
        ("Prepare the shelf for heavy jars", False),
    ],
)
def test_subjects_of_tools_and_of_people(subject: str, by_tool: bool) -> None:
    assert bool(MACHINE_WORDED.match(subject)) is by_tool


def test_reverts_of_many_commits_are_found_in_time(tmp_path: Path) -> None:
    history = History()
    for number in range(400):
        history.commit(
            f"Undo thing {number} of many\n\nThis reverts commit {number:07d}", {"a.py": f"a = {number}\n"}
        )
    history.commit("Set the one real value", {"b.py": "b = 1\n"})
    assert left_out(mine(history.write(tmp_path / "shelf"))) == {"reverts": 400}


# What rows hold


def test_the_message_loses_ticket_and_trailers(tmp_path: Path) -> None:
    history = History()
    message = (
        "Weigh the jars twice (#12)\n\nTheir lids weigh too.\nNote the scale.\n\n"
        "Signed-off-by: Ann <a@b.example>\nChange-Id: I12\nCo-Authored-By: Ben <b@c.example>\n"
    )
    history.commit(message, {"a.py": "a = 1\n"})
    history.commit("Weigh the lids alone [JAR-7]\n\nA-b: c\nNot a trailer\n", {"a.py": "a = 2\n"})
    rows = rows_of(mine(history.write(tmp_path / "shelf")))
    assert [row["message"] for row in rows] == [
        "Weigh the jars twice\n\nTheir lids weigh too.\nNote the scale.",
        "Weigh the lids alone\n\nA-b: c\nNot a trailer",
    ]


def test_secrets_are_masked_in_what_is_written(tmp_path: Path) -> None:
    history = History()
    history.commit(f"Use the token of all\n\nIt is {TOKEN}", {"a.py": f'token = "{TOKEN}"\n'})
    built = mine(history.write(tmp_path / "shelf"))
    (row,) = rows_of(built)
    assert TOKEN not in str(row)
    assert row["masked"] == 2
    assert built.notes == ["2 secrets are masked"]


ODD_NAMES: Sequence[bytes] = (
    b"--output=x.py",
    b"-p",
    b"-p.py",
    b'a "quoted" name.py',
    b"a\nline.py",
    b"a\tb.py",
    b"back\\slash.py",
    b"caf\xe9.py",
    "größe.py".encode(),
    b"a b/c d.py",
    b"x b/x.py",
    b"\x02.py",
    b"\x1f.py",
    b"...py",
    b"a/..py",
    b":(top)x.py",
    b"HEAD",
    b"dev/null",
    b"@@ -1 +1 @@.py",
    b"*.py",
)


@pytest.mark.parametrize("problem", ["commit_message", "comment_update"])
def test_odd_names_of_files(problem: str, tmp_path: Path) -> None:
    history = History()
    for name in ODD_NAMES:
        history.commit(f"Add the file {name!r} to it", {name: OLD})
        history.commit(f"Change the file {name!r} of it", {name: NEW})
    for name in ODD_NAMES:
        history.rename(f"Move the file {name!r} of it", name, b"moved/" + name)  # type: ignore[arg-type]
    built = mine(history.write(tmp_path / "shelf", "--bare"), problem=problem)
    add_up(built)
    rows = validate(rows_of(built), problem)
    if problem == "commit_message":
        assert built.counts["rows"] == 2 * len(ODD_NAMES)
        paths = [row.change.paths for row in rows]
        assert paths == [(name.decode("utf-8", "replace"),) for name in ODD_NAMES for _ in range(2)]
    else:
        python = [name for name in ODD_NAMES if name.endswith(b".py")]
        assert [row.file for row in rows] == [name.decode("utf-8", "replace").strip() for name in python]
        assert {row.answer for row in rows} == {"Return the weight of a jar in pounds."}


ODD_MESSAGES: Mapping[bytes, str] = {
    b"Marks \x02 in the middle": "Marks \x02 in the middle",
    b"Lines that mark\n\n\x02"
    + b"1" * 40
    + b"\n\ndiff --git a/x b/x\n": f"Lines that mark\n\n\x02{'1' * 40}\n\ndiff --git a/x b/x",
    b"Fields \x1f in a subject\x1f\x1f": "Fields \x1f in a subject",
    b"\xff\xfe is no UTF-8": "\ufffd\ufffd is no UTF-8",
    "Ünïcode 🫙 in a subject".encode(): "Ünïcode 🫙 in a subject",
    b"\n\n\n  Blanks before the subject  \n": "Blanks before the subject",
    b"Carriage returns in it\r\n\r\nTwo lines\r\n": "Carriage returns in it\n\nTwo lines",
    b"A body of marks\n\n@@ -1 +1 @@\n-a\n+b": "A body of marks\n\n@@ -1 +1 @@\n-a\n+b",
    b"# A comment as subject": "# A comment as subject",
    b"Quotes \" and ' and \\ in it": "Quotes \" and ' and \\ in it",
}


def test_odd_messages(tmp_path: Path) -> None:
    history = History()
    for number, message in enumerate(ODD_MESSAGES):
        history.commit(message, {"a.py": f"a = {number}\n", "b.py": f"\x02{'1' * 40}\n\x02b = {number}\n"})
    built = mine(history.write(tmp_path / "shelf"))
    add_up(built)
    assert [row["message"].replace("\r", "") for row in rows_of(built)] == list(ODD_MESSAGES.values())
    assert all(len(row.change.files) == 2 for row in validate(rows_of(built)))


def test_a_message_in_another_encoding(tmp_path: Path) -> None:
    folder = shelf(History(), 1).write(tmp_path / "shelf")
    (folder / "a.py").write_text("a = 1\n")
    git(folder, "add", "a.py")
    words = ("-c", "i18n.commitEncoding=ISO-8859-1", "commit", "-q", "-F", "-")
    git(folder, *words, stdin="Wiegt größere Gläser".encode("latin-1"))
    assert rows_of(mine(folder))[-1]["message"] == "Wiegt größere Gläser"


def test_messages_of_megabytes_are_read_in_time(tmp_path: Path) -> None:
    history = shelf(History(), 2)
    history.commit(b"Signed-off-by: a\n" * 300_000, {"a.py": "a = 1\n"})
    history.commit(b"A subject and trailers\n\n" + b"A-b: c\n" * 700_000 + b"end", {"a.py": "a = 2\n"})
    history.commit(b"x" * 6_000_000, {"a.py": "a = 3\n"})
    history.commit("Set a once more", {"a.py": "a = 4\n"})
    folder = history.write(tmp_path / "shelf")
    began = time.process_time()
    built = mine(folder)
    assert time.process_time() - began < 5
    add_up(built)
    assert built.counts["rows"] == 3
    assert left_out(built) == {"messages of over 20,000 characters": 1, "messages of fewer than 3 words": 2}


@pytest.mark.parametrize(
    "author",
    [
        b"\x1f <\x1f>",
        b"A\x02B <a\tb>",
        b"<>",
        b"\xff\xfe <\xff@x>",
        b'Ann "the" O\'Neil <ann at work>',
        "Zoë Ünlü <zoë@work.example>".encode(),
        b"Robot Olsen <abbot@work.example>",
    ],
)
def test_odd_authors_are_authors(author: bytes, tmp_path: Path) -> None:
    history = shelf(History(), 8)
    for number in range(2):
        history.commit(f"Set a to {number} again", {"a.py": f"a = {number}\n"}, author=author)
    built = mine(history.write(tmp_path / "shelf"), apart="author", dev_share=0, test_share=0.3)
    add_up(built)
    assert [row["message"] for row in built.splits["test"]] == ["Set a to 0 again", "Set a to 1 again"]
    assert built.counts["left out of test: author known from training"] == 1


@pytest.mark.parametrize(
    ("file", "text", "licence"),
    [
        ("LICENSE", "Apache License\nVersion 2.0", "Apache-2.0"),
        ("LICENCE.txt", "MIT License\n\nPermission is hereby granted,\n free of charge, to any", "MIT"),
        ("COPYING", "GNU GENERAL PUBLIC LICENSE\n   Version 3, 29 June 2007", "GPL-3.0"),
        (
            "LICENSE",
            "Mozilla Public License Version 2.0\n means either the GNU General Public License, Version 2.0, the GNU "
            "Lesser General Public License, Version 2.1, the GNU Affero General Public License, Version 3.0",
            "MPL-2.0",
        ),
        (
            "license.md",
            "Redistribution and use in source and binary forms ... Neither the name of",
            "BSD-3-Clause",
        ),
        ("LICENSE", "Redistribution and use in source and binary forms", "BSD-2-Clause"),
        ("LICENSE", "All rights reserved", None),
        ("license/MIT", "Permission is hereby granted, free of charge", None),
        ("README", "Apache License", None),
    ],
)
def test_the_licence_is_told_by_its_text(file: str, text: str, licence: str | None, tmp_path: Path) -> None:
    history = shelf(History(), 1)
    history.commit("Add what is allowed", {file: text, "LICENSE-LINK": ("120000", "../elsewhere")})
    folder = history.write(tmp_path / "shelf")
    built = mine(folder / "src")
    assert built.facts["licence"] == licence
    assert built.facts["origin"] == f"shelf at {git(folder, 'rev-parse', 'HEAD')}"
    assert find_licence(open_repository(folder), "HEAD~1") is None


# The order of time


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


def test_dates_of_a_branch_do_not_move_those_of_another(tmp_path: Path) -> None:
    """A branch that ended late comes before another in git's order; each keeps its own dates."""
    history = History()
    begin = history.commit("Begin the shelf of jars", {"a.py": "a = 1\n"}, date=BEGIN)
    last = begin
    for number in range(3):
        last = history.commit(
            f"Work on side {number} of it",
            {"s.py": f"s = {number}\n"},
            date=BEGIN + 900 + number,
            parents=[last],
            branch="side",
        )
    trunk = begin
    for number in range(3):
        trunk = history.commit(
            f"Work on trunk {number} of it",
            {"t.py": f"t = {number}\n"},
            date=BEGIN + 10 + number,
            parents=[trunk],
        )
    history.commit("Merge branch 'side'", {}, parents=[trunk, last], date=BEGIN + 1000)
    rows = rows_of(mine(history.write(tmp_path / "shelf")))
    assert [row["message"].split()[2] for row in rows] == ["shelf", *["trunk"] * 3, *["side"] * 3]
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
        Row({"commit": str(place), "date": f"2024-01-0{day + 1}", "n": n}, ANN, ("a.py",))
        for place, (day, count) in enumerate(commits)
        for n in range(count)
    ]
    splits, _ = split_by_time(rows, BuildOptions(dev_share=dev, test_share=test))
    assert_in_order(Built(splits, {}, {}, []))
    assert sum(map(len, splits.values())) == len(rows)


# Functions whose comment and code change


def test_rows_of_functions(tmp_path: Path) -> None:
    history = History()
    history.commit("Add two files", {"a.py": OLD, "b/a.py": OLD, "c.md": "c\n"})
    history.commit("x", {"a.py": NEW, "b/a.py": NEW})  # the message does not matter
    history.commit("Only the code", {"a.py": NEW.replace("2.2", "2.3")})
    history.commit("Only the comment", {"a.py": NEW.replace("2.2", "2.3").replace("pounds", "stones")})
    history.commit("Only a document", {"c.md": "d\n"})
    folder = history.write(tmp_path / "shelf")
    built = mine(folder, problem="comment_update")
    add_up(built)
    rows = rows_of(built)
    assert [row["file"] for row in rows] == ["a.py", "b/a.py"]
    assert len({row["id"] for row in rows}) == 2
    assert left_out(built) == {
        "no function can be read: new files, or languages without a grammar": 2,
        "no function whose code and comment change": 2,
    }
    (first, _) = validate(rows, "comment_update")
    assert first.comment == "Return the weight of a jar in grams."
    assert first.answer == "Return the weight of a jar in pounds."
    assert "2.2" in first.after
    assert "pounds" not in first.after + first.before
    assert first.function == "weigh"


def test_functions_that_no_prompt_can_show_are_counted(tmp_path: Path) -> None:
    history = History()
    long = [text + "    jar.turn()\n" * (LONGEST // 10) for text in (OLD, NEW)]
    secret = [
        OLD.replace("grams", word) + f'    token = "ghp_{fill * 18}"\n'
        for word, fill in (("grams", "a1"), ("pounds", "b2"))
    ]
    history.commit("Add the files", {"long.py": long[0], "secret.py": secret[0]})
    history.commit("Change a long one", {"long.py": long[1]})
    history.commit("Change a secret one", {"secret.py": secret[1]})
    built = mine(history.write(tmp_path / "shelf"), problem="comment_update", max_lines=1000)
    add_up(built)
    assert rows_of(built) == []
    assert built.counts["functions left out: over 4,000 characters"] == 1
    assert built.counts["functions left out: only a secret changes"] == 1


def test_a_file_that_moves_is_read_on_both_sides(tmp_path: Path) -> None:
    history = History()
    rest = lines(30)
    history.commit("Add a file", {"old/a.py": OLD + rest})
    history.rename("Move it, and weigh in pounds", "old/a.py", "new/a.py", {"new/a.py": NEW + rest})
    (row,) = rows_of(mine(history.write(tmp_path / "shelf"), problem="comment_update"))
    assert row["file"] == "new/a.py"


def test_overloads_are_paired_only_where_it_is_clear_which_is_which() -> None:
    one = "  /** Weighs a jar, in grams. */\n  int weigh(Jar a) { return 1; }\n"
    other = "  /** Weighs a box of them, in grams. */\n  int weigh(Box a) { return 2; }\n"
    both = f"class A {{\n{one}{other}}}\n".encode()
    later = both.replace(b"return", b"return 5 *").replace(b"grams", b"pounds")
    assert [after.name for _, after in match_functions(both, later, "java")] == ["A.weigh", "A.weigh#2"]
    alone = f"class A {{\n{other}}}\n".encode()
    assert list(match_functions(alone, later, "java")) == []
    private = b"class A {\n  // Weighs one jar alone.\n  #a() { return 1 }\n  // Weighs a whole box.\n  #b() { return 2 }\n}\n"
    changed = private.replace(b"return 1", b"return 3").replace(b"one jar", b"two jars")
    assert [after.name for _, after in match_functions(private, changed, "javascript")] == ["A.#a"]


# Examples in prompts


def fill(built: Built, problem: str = "commit_message") -> dict[str, ChangeRow]:
    """Shows each row its examples, as a run does; returns the rows by their answers."""
    parts = {
        name: [Record(row, "file", line, row.diff) for line, row in enumerate(validate(rows, problem), 1)]
        for name, rows in built.splits.items()
    }
    options = CodeChangeConfig(examples=2, problem=problem)  # type: ignore[arg-type]
    shown = put_examples(parts, TASK, options, "bm25")
    return {record.value.answer: record.value for records in shown.values() for record in records}


def test_no_example_shows_what_comes_later_or_the_same_file(tmp_path: Path) -> None:
    history = History()
    for number in range(30):
        files = {f"src/part_{number}.py": f"def weigh_{number}(jar):\n    return jar.weight * {number}\n"}
        history.commit(f"Weigh jars of part {number} by a factor", files)
    gauge = "gauge = calibrate(spring, ballast, tare)\n"
    history.commit("Calibrate first of all", {"src/one.py": gauge})
    history.commit("Calibrate second of all", {"src/one.py": gauge.replace("tare", "tare, 2")})
    history.commit("Calibrate third of all", {"src/two.py": "tare = spring - ballast\ngauge = spring\n"})
    for number in range(30, 50):
        files = {f"src/part_{number}.py": f"def weigh_{number}(jar):\n    return jar.weight * {number}\n"}
        history.commit(f"Weigh jars of part {number} by a factor", files)
    built = mine(history.write(tmp_path / "shelf"))
    by_answer = fill(built)
    assert {"Calibrate first of all", "Calibrate third of all"} <= {
        row["message"] for row in built.splits["train"]
    }
    count = 0
    for row in by_answer.values():
        system = "".join(part.value for part in prompt(row, CodeChangeConfig(examples=2))[0].parts)
        for example in row.examples:
            source = by_answer[example.answer]
            count += 1
            assert f"=> {example.answer}" in system
            assert (source.date or "") < (row.date or "")
            assert source.commit != row.commit
            assert not set(source.change.paths) & set(row.change.paths)
    assert count > 20
    examples = {answer: [example.answer for example in row.examples] for answer, row in by_answer.items()}
    assert "Calibrate second of all" in examples["Calibrate third of all"]
    # BM25 would love the third, which is later, and for the second the first, which is of the same file
    assert not any("Calibrate" in example for example in examples["Calibrate first of all"])
    assert not any("Calibrate" in example for example in examples["Calibrate second of all"])


def test_no_example_is_of_the_same_commit(tmp_path: Path) -> None:
    def write(what: str, unit: str, factor: float) -> str:
        return f'def weigh_{what}(jar):\n    """Return the {what} in {unit} of all."""\n    return jar.{what} * {factor}\n'

    history = History()
    history.commit("Add all", {f"{what}.py": write(what, "grams", 1) for what in ("lid", "jar", "box")})
    history.commit("Change one", {"box.py": write("box", "pounds", 2.2)})
    history.commit("Change two", {f"{what}.py": write(what, "pounds", 2.2) for what in ("lid", "jar")})
    built = mine(history.write(tmp_path / "shelf"), problem="comment_update", dev_share=0, test_share=0)
    by_answer = fill(built, "comment_update")
    examples = {answer.split()[2]: [one.answer for one in row.examples] for answer, row in by_answer.items()}
    assert examples == {
        "box": [],
        "lid": ["Return the box in pounds of all."],
        "jar": ["Return the box in pounds of all."],
    }


def test_commits_are_streamed_in_the_order_of_the_history(tmp_path: Path) -> None:
    repository = open_repository(shelf(History(), 5).write(tmp_path / "shelf"))
    commits = list(read_commits(repository, repository.commit("HEAD")))
    assert [commit.subject for commit in commits] == [f"Weigh jars by factor {number}" for number in range(5)]
    assert all(one.sha in other.parents for one, other in zip(commits, commits[1:], strict=False))
    assert all(commit.diff and commit.diff.endswith("\n") for commit in commits)
    assert {commit.author for commit in commits} == {ANN}
