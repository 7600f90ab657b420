"""Every commit is a row or is counted with its reason, whatever its names, messages and authors are."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from appkit_tasks.codechange.git import open_repository
from appkit_tasks.codechange.mining import MACHINE_WORDED, find_licence
from appkit_tasks.codechange.tests.builders import (
    BEGIN,
    NEW,
    OLD,
    TOKEN,
    History,
    add_up,
    git,
    left_out,
    lines,
    mine,
    rows_of,
    shelf,
    validate,
)


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
