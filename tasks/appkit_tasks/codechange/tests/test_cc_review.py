"""`appkit review` prints each remark at a line of its hunk, in a form that no answer can change."""

from __future__ import annotations

import io
import json
import re
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import jsonschema
import pytest
from appkit_tasks.codechange.commands.review import ReviewOptions, make_rows, run
from appkit_tasks.codechange.diffs import parse
from appkit_tasks.codechange.remarks import NO_REMARK
from appkit_tasks.codechange.tests.stubs import Answers, commit, git, make_repository, options
from hypothesis import given, settings
from hypothesis import strategies as st

from appkit.task import Outcome

PACK = options("review")
SCHEMA = json.loads(
    files("appkit_tasks.codechange.tests").joinpath("sarif-schema-2.1.0.json").read_text("utf-8")
)
FINDING = re.compile(r'(?:[^:\n]+|"[^\n]+"):\d+(?:-\d+)?: (?:error|warning|note): [^\n]+')
"""a line of the text form"""
FIELDS = ["file", "line", "end", "severity", "text", "confidence", "exact"]

HUNK = "@@ -8,4 +8,5 @@ def weigh\n a = 1\n-b = 2\n+b = 3\n+c = 4\n d = 5\n e = 6\n"
"""lines 8 to 12 afterwards; 9 is the first changed one"""


def diff_of(*paths: str, hunk: str = HUNK) -> str:
    return "".join(f"diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n{hunk}" for path in paths)


@pytest.fixture
def review(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Reviews a diff that is piped in."""

    def ask(answers: Answers, diff: str = diff_of("a.py"), **words: Any) -> Outcome:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(diff.encode()), encoding="utf-8"))
        return run(ReviewOptions(**words), PACK, answers)

    return ask


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = make_repository(tmp_path / "r", {"a.py": "A = 1\n", "lib/b.py": "B = 1\n", "gone.py": "C = 1\n"})
    git(folder, "tag", "v1")
    return folder


def check_sarif(outcome: Outcome, findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Checks a log against the published schema, and its results against the findings in JSON; returns the results."""
    log = json.loads(outcome.text)
    jsonschema.Draft4Validator(SCHEMA).validate(log)
    (report,) = log["runs"]
    assert (log["version"], report["columnKind"]) == ("2.1.0", "unicodeCodePoints")
    results: list[dict[str, Any]] = report["results"]
    assert len(results) == len(findings)
    for result, finding in zip(results, findings, strict=True):
        assert report["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] == finding["severity"]
        assert (
            result["message"]["text"].replace("{{", "{").replace("}}", "}").replace("] (", "](")
            == finding["text"]
        )
        (location,) = result["locations"]
        artifact, region = (location["physicalLocation"][key] for key in ("artifactLocation", "region"))
        assert unquote(artifact["uri"]) == finding["file"]
        assert re.fullmatch(r"[\w.~/%-]+", artifact["uri"], re.ASCII)
        assert urlsplit(artifact["uri"])[:2] == ("", "")  # relative: no scheme, no host
        assert region == {"startLine": finding["line"]} | (
            {"endLine": finding["end"]} if finding["end"] else {}
        )
        assert result.get("rank") == (finding["confidence"] and round(100 * finding["confidence"], 1))
    return results


ANSWERS = [
    # answer, lines of text
    (NO_REMARK, ["No remark."]),
    ("9: Off by one.", ["a.py:9: warning: Off by one. (0.90)"]),
    ("9-11: error: Off by one.", ["a.py:9-11: error: Off by one. (0.90)"]),
    ("9-99: note: To the end.", ["a.py:9-12: note: To the end. (0.90)"]),
    ("12-13: The last.", ["a.py:12: warning: The last. (0.90)"]),
    ("Add a test.", ["a.py:9: warning: Add a test. (0.90)"]),
    ("7: error: Before it.", ["a.py:9: error: Before it. (0.90)"]),
    ("400-500: Behind it.", ["a.py:9: warning: Behind it. (0.90)"]),
    ("other.py:10: Elsewhere.", ["a.py:10: warning: Elsewhere. (0.90)"]),
    ("9: error: One.\n11: note: Two.", ["a.py:9: error: One. (0.90)", "a.py:11: note: Two. (0.90)"]),
    ("8: a\n  b\n\n  c", ["a.py:8: warning: a b c (0.90)"]),
    ("9: Red\n  x.py:1: error: fake", ["a.py:9: warning: Red x.py:1: error: fake (0.90)"]),
    ("9: \x1b[31mRed\x1b[0m\x07\u202e\u2028x", ["a.py:9: warning: [31mRed[0m x (0.90)"]),
    ("9: " + "x" * 20_000, [f"a.py:9: warning: {'x' * 20_000} (0.90)"]),
    ("", ["No remark."]),
]


@pytest.mark.parametrize(("answer", "lines"), ANSWERS, ids=range(len(ANSWERS)))
def test_prints_each_remark_at_a_line_of_the_hunk(review: Any, answer: str, lines: list[str]) -> None:
    assert review(Answers(answer)).text.split("\n") == lines
    findings = json.loads(review(Answers(answer), format="json").text)
    assert all(list(finding) == FIELDS for finding in findings)
    assert len(findings) == len(lines) - (lines == ["No remark."])
    check_sarif(review(Answers(answer), format="sarif"), findings)


@pytest.mark.parametrize("answer", ["9:", "9: \x1b\x00\u200b", "9: error:"])
def test_counts_a_remark_that_says_nothing(review: Any, answer: str) -> None:
    outcome = review(Answers(f"10: Real.\n{answer}"))
    assert outcome.text == "a.py:10: warning: Real. (0.90)"
    assert outcome.notes[1:] == ["1 remarks name a line and say nothing"]


def test_counts_an_answer_that_cannot_be_read(review: Any) -> None:
    outcome = review(Answers("", "9: Real."), diff_of("a.py", "b.py"))
    assert outcome.text == "b.py:9: warning: Real. (0.90)"
    assert outcome.notes == ["hunks reviewed: 2", "1 hunks have no answer that can be read"]


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=80))
def test_no_answer_changes_the_form(answer: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for prefix in ("", "9: ", "9: error: ", "b.py:1: x\n"):
            outputs = {}
            for form in ("text", "json", "sarif"):
                patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(diff_of("a.py").encode())))
                outputs[form] = run(ReviewOptions(format=form), PACK, Answers(prefix + answer))
            findings = json.loads(outputs["json"].text)
            lines = outputs["text"].text.split("\n")
            assert lines == ["No remark."] if not findings else len(lines) == len(findings)
            assert all(line.isprintable() for line in lines)
            assert not findings or all(FINDING.fullmatch(line) for line in lines)
            assert all(8 <= finding["line"] <= 12 and finding["file"] == "a.py" for finding in findings)
            check_sarif(outputs["sarif"], findings)


@pytest.mark.parametrize(
    ("quoted", "path", "shown"),
    [
        ("a b.py", "a b.py", "a b.py"),
        ("grün/日本.py", "grün/日本.py", "grün/日本.py"),
        ('"a\\"b.py"', 'a"b.py', 'a"b.py'),
        ('"a\\nx.py:1: error: fake.py"', "a\nx.py:1: error: fake.py", '"a�x.py:1: error: fake.py"'),
        ("x.py:1: error: y", "x.py:1: error: y", '"x.py:1: error: y"'),
        ('"tab\\there.py"', "tab\there.py", "tab�here.py"),
        ("50%#?&+.py", "50%#?&+.py", "50%#?&+.py"),
        ("c:/x.py", "c:/x.py", '"c:/x.py"'),
        ("\u202eyp.a", "\u202eyp.a", "�yp.a"),
    ],
)
def test_prints_odd_paths(review: Any, quoted: str, path: str, shown: str) -> None:
    names = [f'"{side}/{quoted[1:]}' if quoted[0] == '"' else f"{side}/{quoted}" for side in "ab"]
    diff = f"diff --git {' '.join(names)}\n--- {names[0]}\n+++ {names[1]}\n{HUNK}"
    line = review(Answers("9: error: x"), diff).text
    assert line == f"{shown}:9: error: x (0.90)"
    assert FINDING.fullmatch(line)
    findings = json.loads(review(Answers("9: error: x"), diff, format="json").text)
    assert findings[0]["file"] == path
    check_sarif(review(Answers("9: error: x"), diff, format="sarif"), findings)


def test_a_hunk_without_a_file_has_no_location(review: Any) -> None:
    assert review(Answers("9: x"), HUNK).text == "-:9: warning: x (0.90)"
    log = json.loads(review(Answers("9: x"), HUNK, format="sarif").text)
    jsonschema.Draft4Validator(SCHEMA).validate(log)
    assert log["runs"][0]["results"][0]["locations"] == []


def test_no_text_is_taken_for_a_link_or_placeholder(review: Any) -> None:
    outcome = review(Answers("9: Use {0} of [this](https://example.org) or {x}."), format="sarif")
    text = json.loads(outcome.text)["runs"][0]["results"][0]["message"]["text"]
    assert text == "Use {{0}} of [this] (https://example.org) or {{x}}."


def test_names_a_removed_line_s_place(review: Any) -> None:
    removed = "@@ -3,2 +3,1 @@\n-a\n b\n"
    assert review(Answers("x"), diff_of("a.py", hunk=removed)).text == "a.py:3: warning: x (0.90)"
    emptied = "@@ -1,1 +0,0 @@\n-a\n"
    assert review(Answers("5: x"), diff_of("a.py", hunk=emptied)).text == "a.py:1: warning: x (0.90)"


@pytest.mark.parametrize("worst", ["note", "warning", "error", None])
@pytest.mark.parametrize("fail_on", ["note", "warning", "error", "never"])
def test_the_exit_code_is_what_fail_on_says(review: Any, worst: str | None, fail_on: str) -> None:
    order = ["note", "warning", "error", "never"]
    answer = f"8: note: least\n9: {worst}: x" if worst else NO_REMARK
    expected = int(worst is not None and order.index(worst) >= order.index(fail_on))
    assert review(Answers(answer), fail_on=fail_on).exit_code == expected


def test_a_remark_of_low_confidence_is_left_out_and_does_not_fail(review: Any) -> None:
    answers = Answers("9: error: x\n10: y", confidence=0.49)
    outcome = review(answers, fail_on="note")
    assert (outcome.text, outcome.exit_code) == ("No remark.", 0)
    assert outcome.notes[1:] == ["2 remarks are below --min-confidence 0.5"]
    outcome = review(answers, fail_on="note", min_confidence=0.49)
    assert outcome.text.count("\n") == 1
    assert (outcome.exit_code, len(outcome.notes)) == (1, 1)


def test_a_bundle_without_calibration_leaves_nothing_out(review: Any) -> None:
    outcome = review(Answers("9: x", confidence=None), min_confidence=1.0, fail_on="warning")
    assert (outcome.text, outcome.exit_code) == ("a.py:9: warning: x", 1)
    assert outcome.notes[1:] == [
        "the bundle has no calibrated confidence, so --min-confidence leaves nothing out"
    ]
    findings = json.loads(review(Answers("9: x", confidence=None), format="json").text)
    assert findings[0]["confidence"] is None
    check_sarif(review(Answers("9: x", confidence=None), format="sarif"), findings)


def test_counts_what_is_not_reviewed() -> None:
    deleted = (
        "diff --git a/d.py b/d.py\ndeleted file mode 100644\n--- a/d.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n"
    )
    binary = "diff --git a/x.png b/x.png\nBinary files a/x.png and b/x.png differ\n"
    submodule = (
        "diff --git a/s b/s\nindex 1..2 160000\n--- a/s\n+++ b/s\n@@ -1 +1 @@\n"
        "-Subproject commit 1111111\n+Subproject commit 2222222\n"
    )
    space = diff_of("space.py", hunk="@@ -1 +1 @@\n-a=1\n+a = 1\n")
    long = diff_of("long.py", hunk="@@ -0,0 +1 @@\n+" + "x" * 400_001 + "\n")
    made = diff_of("yarn.lock", "vendor/x.go")
    rows, left_out = make_rows(
        parse(deleted + binary + submodule + space + long + made + diff_of("a.py", hunk=2 * HUNK))
    )
    assert [(file.path, row["language"]) for file, _, row in rows] == [("a.py", "python")] * 2
    assert left_out == {
        "deleted files": 1,
        "files without lines: binary, renamed, submodules": 2,
        "changes of white space": 1,
        "hunks that are too long": 1,
        "generated or vendored files": 2,
    }


def test_asks_nobody_where_nothing_can_be_reviewed(review: Any) -> None:
    answers = Answers("x")
    outcome = review(answers, diff_of("yarn.lock"))
    assert (outcome.text, answers.rows) == ("Nothing was reviewed.", [])
    assert outcome.notes == ["hunks reviewed: 0; left out: 1 generated or vendored files"]
    assert json.loads(review(answers, diff_of("yarn.lock"), format="json").text) == []
    check_sarif(review(answers, diff_of("yarn.lock"), format="sarif"), [])


def ask(repository: Path, answers: Answers, words: str, **more: Any) -> Outcome:
    return run(ReviewOptions(range=words, repo=repository, **more), PACK, answers)


def paths_of(answers: Answers) -> list[str]:
    return [row.file for row in answers.rows]


def test_reviews_a_range(repository: Path) -> None:
    git(repository, "checkout", "-q", "-b", "side")
    commit(repository, {"a.py": "A = 2\n", "a b/ü.py": "D = 1\n"})
    git(repository, "rm", "-q", "gone.py")
    commit(repository, {"lib/b.py": "B = 2\n"})
    git(repository, "checkout", "-q", "main")
    commit(repository, {"main.py": "M = 1\n"})
    changed = ["a b/ü.py", "a.py", "lib/b.py"]
    for words, paths in (
        ("v1..side", changed),
        ("v1...side", changed),
        ("main...side", changed),
        ("v1..", ["main.py"]),
        ("v1", ["main.py"]),
        ("side...", ["main.py"]),
        ("side~1..side", ["lib/b.py"]),
    ):
        answers = Answers("1: x")
        outcome = ask(repository, answers, words)
        assert sorted(paths_of(answers)) == paths, words
        assert sorted(line.split(":")[0] for line in outcome.text.split("\n")) == paths
    assert "left out: 1 deleted files" in ask(repository, Answers("1: x"), "v1..side").notes[0]


def test_says_that_a_range_changes_nothing(repository: Path) -> None:
    for form, text in (("text", "No remark."), ("json", "[]")):
        outcome = ask(repository, Answers("x"), "v1..HEAD", format=form)
        assert (outcome.text, outcome.notes, outcome.exit_code) == (text, ["v1..HEAD changes nothing"], 0)
    check_sarif(ask(repository, Answers("x"), "v1..", format="sarif"), [])


def test_a_file_is_no_range(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / "a b.diff").write_text("@@ -1 +1 @@\n-a\n+b\n")
    monkeypatch.chdir(repository)
    with pytest.raises(
        ValueError, match=r"'a b.diff' is a file and no BASE\.\.HEAD; pipe a diff in: < 'a b.diff'"
    ):
        ask(repository, Answers("x"), "a b.diff")
    with pytest.raises(ValueError, match=r"has no commit 'absent\.diff'"):
        ask(repository, Answers("x"), "absent.diff")


def test_chooses_files(repository: Path, review: Any) -> None:
    commit(
        repository, {"a.py": "A = 2\n", "lib/b.py": "B = 2\n", "lib/c d.md": "C\n", "lib/sub/e.py": "E = 1\n"}
    )
    for paths, expected in (
        ("lib", ["lib/b.py", "lib/c d.md", "lib/sub/e.py"]),
        ("lib/c d.md, a.py", ["a.py", "lib/c d.md"]),
        ("*.md", ["lib/c d.md"]),
        ("absent", []),
    ):
        answers = Answers("1: x")
        outcome = run(ReviewOptions(range="v1", repo=repository / "lib", paths=paths), PACK, answers)
        assert sorted(paths_of(answers)) == expected, paths
        assert expected or outcome.notes == ["v1..HEAD changes nothing in --paths absent"]
    with pytest.raises(ValueError, match=r"--paths chooses files of BASE\.\.HEAD; name one"):
        review(Answers("x"), paths="lib")


@pytest.mark.parametrize(
    "words",
    [
        "nowhere..HEAD",
        "v1..nowhere",
        "--output=x",
        "-x..HEAD",
        "v1..--help",
        "v1:a.py",
        "v1..HEAD..v1",
        "\n",
        "x" * 9999,
    ],
)
def test_refuses_names_that_are_none(repository: Path, words: str) -> None:
    with pytest.raises(ValueError, match="has no commit") as error:
        ask(repository, Answers("x"), words)
    assert len(str(error.value)) < 500
    assert sorted(path.name for path in repository.iterdir()) == [".git", "a.py", "gone.py", "lib"]


def test_refuses_branches_that_have_nothing_in_common(repository: Path) -> None:
    git(repository, "checkout", "-q", "--orphan", "alone")
    commit(repository, {"z.py": "Z = 1\n"})
    with pytest.raises(ValueError, match="no commit in common"):
        ask(repository, Answers("x"), "main...alone")


@pytest.mark.parametrize("problem", ["commit_message", "comment_update"])
def test_refuses_a_bundle_of_another_problem(problem: str) -> None:
    with pytest.raises(
        ValueError, match=f"trained for task.problem={problem}; this command needs one for review"
    ):
        run(ReviewOptions(), options(problem), Answers("x"))


@pytest.mark.parametrize(
    ("place", "value"), [("level", "fatal"), ("rank", 101), ("colour", "red"), ("locations", [{"line": 1}])]
)
def test_the_schema_refuses_what_is_no_sarif(review: Any, place: str, value: Any) -> None:
    log = json.loads(review(Answers("9: x"), format="sarif").text)
    log["runs"][0]["results"][0][place] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft4Validator(SCHEMA).validate(log)


def test_says_where_confidence_tells_nothing(review: Any) -> None:
    note = "all remarks have the confidence 0.54: the bundle cannot tell right from wrong ones"
    assert note in review(Answers("9: a\n10: b\n9: c\n10: d", confidence=0.54)).notes
    assert note not in review(Answers("9: a\n10: b", confidence=0.54)).notes
