"""The tools of the pack: diffs for display, what a model reads, remarks with their places, words that differ."""

from __future__ import annotations

import json
from typing import Any

import pytest
from appkit_tasks.codechange import tools
from appkit_tasks.codechange.diffs import diff_texts, parse
from appkit_tasks.codechange.languages import LANGUAGES
from appkit_tasks.codechange.load import ChangeRow
from appkit_tasks.codechange.tools import MAX_CHARS, MAX_LINES, MAX_WIDTH, TOOLS, diff, remarks, view, words
from appkit_tasks.codechange.view import render
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError, validate_call
from pygments.lexers import get_lexer_by_name

GIT = """\
diff --git a/a.py b/b.py
similarity index 90%
rename from a.py
rename to b.py
--- a/a.py
+++ b/b.py
@@ -1,3 +1,3 @@ def f():
 x = 1
-y = "a"
+y = "b" # why
 z
@@ -20 +20,2 @@
 old
+new
\\ No newline at end of file
diff --git a/run.sh b/run.sh
old mode 100644
new mode 100755
diff --git a/logo.png b/logo.png
Binary files a/logo.png and b/logo.png differ
diff --git a/sub b/sub
index 1111111..2222222 160000
--- a/sub
+++ b/sub
@@ -1 +1 @@
-Subproject commit 1111111aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
+Subproject commit 2222222aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
"""


def added(path: str, *lines: str) -> str:
    """Writes the diff of a new file."""
    body = "".join(f"+{line}\n" for line in lines)
    return f"--- /dev/null\n+++ b/{path}\n@@ -0,0 +1,{len(lines)} @@\n{body}"


def lines_of(described: dict[str, Any]) -> list[dict[str, Any]]:
    return [line for file in described["files"] for hunk in file["hunks"] for line in hunk["lines"]]


def text_of(line: dict[str, Any]) -> str:
    return "".join(text for _, text in line["runs"])


# --- diffs ------------------------------------------------------------------------------------------------


def test_a_diff_is_described_file_by_file() -> None:
    described = diff(GIT)
    assert [(file["path"], file["description"], file["language"]) for file in described["files"]] == [
        ("b.py", "a.py → b.py: renamed", "python"),
        ("run.sh", "run.sh: mode 100644 → 100755", "shell"),
        ("logo.png", "logo.png: binary", ""),
        ("sub", "sub: submodule, commit 1111111 → 2222222", ""),
    ]
    first, second = described["files"][0]["hunks"]
    assert (first["old"], first["new"], first["section"], first["cut"]) == (1, 1, "def f():", False)
    assert [(line["sign"], line["old"], line["new"], text_of(line)) for line in first["lines"]] == [
        (" ", 1, 1, "x = 1"),
        ("-", 2, None, 'y = "a"'),
        ("+", None, 2, 'y = "b" # why'),
        (" ", 3, 3, "z"),
    ]
    assert [line["ends"] for line in second["lines"]] == [True, False]
    assert [file["hunks"] for file in described["files"][1:]] == [[], [], []]
    assert described["left_out"] == {"files": 0, "hunks": 0, "lines": 0}
    assert (described["text"], described["masked"]) == (GIT, 0)


def test_lines_have_the_colours_of_their_language() -> None:
    runs = [line["runs"] for line in lines_of(diff(GIT))[:3]]
    assert runs[2] == [["", "y = "], ["string", '"b"'], ["", " "], ["comment", "# why"]]
    assert runs[1] == [["", "y = "], ["string", '"a"']]
    (line,) = lines_of(diff(added("a.py", "def f(): return None")))
    coloured = [(name, text) for name, text in line["runs"] if name]
    assert coloured == [("keyword", "def"), ("name", "f"), ("keyword", "return"), ("number", "None")]
    (line,) = lines_of(diff(added("a.unknown", "def f(): return None")))
    assert line["runs"] == [["", "def f(): return None"]]


def test_each_side_is_coloured_as_one_text() -> None:
    # before, the second line ends the string, and the third is code; afterwards all are within it
    change = ' """one\n-two"""\n+two\n three = 3\n'
    described = lines_of(diff(f"--- a/a.py\n+++ b/a.py\n@@ -1,3 +1,3 @@\n{change}"))
    assert [line["runs"] for line in described] == [
        [["string", '"""one']],
        [["string", 'two"""']],
        [["string", "two"]],
        [["string", "three = 3"]],
    ]
    php = lines_of(diff(added("a.php", "$x = 'y'; // z")))
    assert ["comment", "// z"] in php[0]["runs"]


def test_every_language_of_the_pack_has_a_lexer() -> None:
    for language in LANGUAGES:
        get_lexer_by_name(language)  # raises ClassNotFound


@settings(max_examples=60, deadline=None)
@given(
    st.text(max_size=80),
    st.text(max_size=80),
    st.sampled_from([f"a.{endings.split()[0]}" for endings in LANGUAGES.values()]),
)
def test_runs_keep_the_text_whatever_it_is(before: str, after: str, path: str) -> None:
    text = diff_texts(before, after, path)
    if not text:
        return
    described = diff(text)
    wanted = [
        line.text for file in parse(described["text"]).files for hunk in file.hunks for line in hunk.lines
    ]
    assert [text_of(line) for line in lines_of(described)] == wanted
    json.dumps(described).encode()


def test_secrets_are_masked_as_in_rows() -> None:
    text = added("a.py", 'password = "hunter2-hunter2-hunter2"', "x = 1")
    described = diff(text)
    assert described["masked"] == 1
    assert described["text"] == ChangeRow(diff=text, answer="x").diff
    assert "hunter2" not in json.dumps(described)
    assert "hunter2" not in view(text, 400)["text"]


# --- bounds -----------------------------------------------------------------------------------------------


def test_what_is_not_given_of_a_large_diff_is_counted() -> None:
    tall = diff(added("a.py", *(["x"] * 5000)))
    assert len(lines_of(tall)) == MAX_LINES - 2  # its file and its hunk are lines too
    assert tall["left_out"] == {"files": 0, "hunks": 0, "lines": 5002 - MAX_LINES}
    many = diff("".join(added(f"{number}.py", "x") for number in range(1500)))
    assert len(many["files"]) == MAX_LINES / 3
    assert many["left_out"] == {"files": 500, "hunks": 500, "lines": 500}
    empty = diff("--- a/a.py\n+++ b/a.py\n" + "@@ -1 +1 @@\n" * 5000)
    assert empty["left_out"] == {"files": 0, "hunks": 5001 - MAX_LINES, "lines": 0}
    assert all(hunk["cut"] for hunk in empty["files"][0]["hunks"])


def test_a_wide_line_is_cut_and_its_hunk_has_no_colours() -> None:
    wide, near = lines_of(diff(added("a.py", "x" * 20_000, "return 1")))
    assert wide["runs"] == [["", "x" * MAX_WIDTH]]
    assert wide["more"] == 20_000 - MAX_WIDTH
    assert (near["runs"], near["more"]) == ([["", "return 1"]], 0)


def test_colours_end_with_their_room_and_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    hunk = "@@ -0,0 +1,300 @@\n" + "+return 1  # a line of code\n" * 300
    text = f"--- a/a.py\n+++ b/a.py\n{hunk * 9}"
    coloured = [any(name for line in one["lines"] for name, _ in line["runs"]) for one in hunks_of(text)]
    fits = tools.MAX_COLOURED // len("return 1  # a line of code\n" * 300)
    assert coloured == [place < fits for place in range(9)]
    monkeypatch.setattr(tools, "MAX_SECONDS", -1.0)
    assert not any(name for one in hunks_of(text) for line in one["lines"] for name, _ in line["runs"])


def hunks_of(text: str) -> list[dict[str, Any]]:
    return [hunk for file in diff(text)["files"] for hunk in file["hunks"]]


def test_texts_that_are_too_long_and_no_diffs_are_refused_in_a_line() -> None:
    for name, arguments in (
        ("diff", {"text": "x" * (MAX_CHARS + 1)}),
        ("view", {"text": "x" * (MAX_CHARS + 1), "chars": 400}),
        ("view", {"text": GIT, "chars": 10}),
        ("remarks", {"text": GIT, "answer": "x" * 20_001}),
        ("words", {"before": "x" * 4001, "after": ""}),
    ):
        with pytest.raises(ValidationError):
            validate_call(TOOLS[name])(**arguments)
    for call in (lambda: diff("Hello"), lambda: view("", 400), lambda: remarks("Hello", "1: x")):
        with pytest.raises(ValueError, match=r"^no diff: [^\n]+$"):
            call()


# --- what the model reads -----------------------------------------------------------------------------------


def test_the_view_is_the_models_with_its_notes() -> None:
    text = "".join(added(f"{name}.py", *["x = 1"] * 40) for name in "ab")
    seen = view(text, 400, numbers=True)
    assert seen["text"] == render(parse(text), 400, numbers=True).text
    assert (seen["shown"], seen["left_out"]) == (1, 1)
    assert seen["notes"] == ["(left out, hunks by file: b.py (1))"]
    assert "\n1+x = 1" in seen["text"]
    assert "before:\n" in view(text, 400, before_after=True)["text"]
    assert view(text, 4000)["notes"] == []
    (note,) = view(added("a.py", *["x = 1"] * 400), 400)["notes"]
    assert note.endswith("more lines of this hunk are left out)")
    cut = "@@ -0,0 +1,999 @@\n" + "+x = 1\n" * 400  # of a hunk that a host cut, the first lines are left out
    (note,) = view(cut, 400)["notes"]
    assert note.endswith("earlier lines of this hunk are left out)")
    for before_after in (False, True):
        wide = view(added("a.py", "x" * 401), 4000, before_after=before_after)
        assert wide["notes"] == ["(lines cut after 400 characters: 1)"]
        assert "x" * 401 not in wide["text"]
    assert view(added("a.py", "(left out, hunks by file: no)"), 4000)["notes"] == []


# --- remarks ------------------------------------------------------------------------------------------------


def place_of(text: str, answer: str) -> tuple[Any, ...]:
    (remark,) = remarks(text, answer)["remarks"]
    return remark["place"], remark["shown"], remark["below"]


def test_remarks_find_their_lines() -> None:
    (remark,) = remarks(added("a.py", "x", "y"), "2: error: Why y?\n  And x?")["remarks"]
    assert remark == {
        "file": None,
        "line": 2,
        "end": None,
        "severity": "error",
        "text": "Why y?\nAnd x?",
        "place": 0,
        "shown": True,
        "below": 2,
    }
    assert remarks(GIT, "No remark.") == {"remarks": []}
    for answer, found in (
        ("b.py:2: x", (0, True, 2)),
        ("a.py:2: x", (0, True, 2)),  # its name before
        ("b.py:3-19: x", (0, True, 3)),  # the last line that is in the diff
        ("b.py:1-9999999: x", (0, True, 21)),
        ("b.py:4-19: x", (0, False, None)),
        ("run.sh:1: x", (1, False, None)),
        ("other.py:1: x", (None, False, None)),
        ("2: x", (None, False, None)),  # of which file?
        ("Well done.", (None, False, None)),
    ):
        assert place_of(GIT, answer) == found, answer
    twice = added("a.py", "x") + "--- a/a.py\n+++ b/a.py\n@@ -7 +7 @@\n-x\n+y\n"
    assert place_of(twice, "a.py:7: x") == (1, True, 7)
    assert place_of(twice, "a.py:5: x") == (0, False, None)


# --- words --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "old", "new"),
    [
        ("a b c", "a x c", [[" ", "a "], ["-", "b "], [" ", "c"]], [[" ", "a "], ["+", "x "], [" ", "c"]]),
        ("a", "a", [[" ", "a"]], [[" ", "a"]]),
        ("", "a b", [], [["+", "a b"]]),
        ("f(x)", "f(y)", [[" ", "f("], ["-", "x"], [" ", ")"]], [[" ", "f("], ["+", "y"], [" ", ")"]]),
    ],
)
def test_words_that_differ_are_signed(before: str, after: str, old: Any, new: Any) -> None:
    assert words(before, after) == {"before": old, "after": new}


@given(st.text(max_size=60), st.text(max_size=60))
def test_words_keep_both_texts(before: str, after: str) -> None:
    runs = words(before, after)
    assert "".join(text for _, text in runs["before"]) == before
    assert "".join(text for _, text in runs["after"]) == after
    common = ["".join(text for sign, text in runs[side] if sign == " ") for side in ("before", "after")]
    assert common[0] == common[1]
