"""A change is shown within its budget, by whole hunks, what matters most first, and harmless whatever it holds."""

from __future__ import annotations

import re
import time

import pytest
from appkit_tasks.codechange.diffs import Change, File, Hunk, Line, parse
from appkit_tasks.codechange.languages import is_generated, is_test, language_of
from appkit_tasks.codechange.view import classify, describe_file, render, sides
from hypothesis import given, settings
from hypothesis import strategies as st

NOTE = re.compile(
    r"\(left out, hunks by file: (.*)\)|\((\d+) more lines of this hunk are left out\)", re.DOTALL
)


def hunk_of(*lines: str, start: int = 1, section: str = "") -> str:
    old, new = (sum(line[0] != absent for line in lines) for absent in "+-")
    return f"@@ -{start},{old} +{start},{new} @@ {section}\n" + "".join(f"{line}\n" for line in lines)


def diff_of(path: str, *hunks: str) -> str:
    return f"diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n" + "".join(hunks)


def without_notes(text: str) -> str:
    return "\n".join(line for line in text.split("\n") if not NOTE.fullmatch(line))


def counts_in(text: str) -> dict[str, int]:
    """Reads the counts of the note, by file."""
    match = re.search(r"\(left out, hunks by file: (.*)\)", text)
    return {name: int(count) for name, count in re.findall(r"(\S+) \((\d+)\)", match[1])} if match else {}


# What is shown

CHANGE = parse(
    diff_of(
        "src/shelf.py",
        hunk_of(" a = 1", "-b = 2", "+b = 3", "+c = 4", " d = 5", start=10, section="def f():"),
    )
)


def test_writes_signs_and_numbers() -> None:
    assert (
        render(CHANGE, 500).text == "src/shelf.py\n@@ 10 in def f():\n a = 1\n-b = 2\n+b = 3\n+c = 4\n d = 5"
    )
    assert render(CHANGE, 500, numbers=True).text.split("\n")[2:] == [
        "10 a = 1", "-b = 2", "11+b = 3", "12+c = 4", "13 d = 5",
    ]  # fmt: skip


def test_writes_before_and_after() -> None:
    assert render(CHANGE, 500, before_after=True).text == (
        "src/shelf.py\nbefore:\na = 1\nb = 2\nd = 5\nafter:\na = 1\nb = 3\nc = 4\nd = 5"
    )
    (hunk,) = CHANGE.files[0].hunks
    assert sides([hunk, hunk])[0] == "a = 1\nb = 2\nd = 5\n...\na = 1\nb = 2\nd = 5"


@pytest.mark.parametrize(
    ("diff", "words"),
    [
        ("diff --git a/x b/y\nsimilarity index 100%\nrename from x\nrename to y\n",
         "x → y: renamed, its content is unchanged"),
        ("diff --git a/x b/y\ncopy from x\ncopy to y\n", "x → y: copied"),
        ("diff --git a/x b/x\nold mode 100644\nnew mode 100755\n", "x: mode 100644 → 100755"),
        ("diff --git a/x b/x\nnew file mode 100644\n", "x: added"),
        ("diff --git a/x b/x\ndeleted file mode 100644\n", "x: deleted"),
        ("diff --git a/x b/x\nindex 1..2\nBinary files a/x and b/x differ\n", "x: binary"),
        ("diff --git a/l b/l\nindex 1..2 160000\n--- a/l\n+++ b/l\n@@ -1 +1 @@\n-Subproject commit 1234567890\n"
         "+Subproject commit abcdef1234\n", "l: submodule, commit 1234567 → abcdef1"),
        ("diff --git a/l b/l\nnew file mode 160000\n--- /dev/null\n+++ b/l\n@@ -0,0 +1 @@\n"
         "+Subproject commit abcdef1234\n",
         "l: submodule, added, commit none → abcdef1"),
        ("diff --cc x\nindex 1,2..3\n--- a/x\n+++ b/x\n@@@ -1 -1 +1 @@@\n++a\n", "x: merged"),
    ],
    ids=lambda value: value[:30],
)  # fmt: skip
def test_says_in_words_what_has_no_lines(diff: str, words: str) -> None:
    change = parse(diff)
    assert describe_file(change.files[0]) == words
    text = render(change, 300).text
    assert text.split("\n")[0] == words
    assert "Subproject" not in text


# What is left out

LINES = [" context", "-old line of code", "+new line of code"]


@pytest.mark.parametrize(
    "least",
    ["package-lock.json", "Cargo.lock", "static/app.min.js", "vendor/lib/x.go", "api_pb2.py", "README.md",
     "tests/test_x.py"],
)  # fmt: skip
def test_code_stays_and_what_matters_least_goes(least: str) -> None:
    change = parse(diff_of(least, hunk_of(*LINES)) + diff_of("src/x.py", hunk_of(*LINES)))
    one = len(render(Change(change.files[1:]), 1000).text)
    view = render(change, one)
    assert view.text.startswith("src/x.py\n")
    assert (view.shown, view.left_out) == (1, 1)
    assert counts_in(view.text) == {least: 1}


def test_the_order_of_what_is_left_out() -> None:
    names = ["poetry.lock", "docs/a.md", "tests/test_a.py", "src/a.py"]
    change = parse("".join(diff_of(name, hunk_of(*LINES)) for name in names))
    space = parse(diff_of("src/b.py", hunk_of(" a", "-b = 1", "+    b = 1")))
    change = Change((*change.files, *space.files))
    whole = render(change, 5000)
    assert (whole.shown, whole.left_out) == (5, 0)
    order = []
    for budget in range(len(whole.text), 60, -1):
        for name in counts_in(render(change, budget).text):
            if name not in order:
                order.append(name)
    assert order[:4] == ["poetry.lock", "src/b.py", "docs/a.md", "tests/test_a.py"]


def test_a_hunk_that_is_too_long_is_cut_with_a_count() -> None:
    lines = [f"+value_{number} = {number}" for number in range(500)]
    change = parse(diff_of("src/x.py", hunk_of(*lines)) + "diff --git a/y b/z\nrename from y\nrename to z\n")
    for before_after in (False, True):
        view = render(change, 300, before_after=before_after)
        (count,) = re.findall(r"\((\d+) more lines of this hunk are left out\)", view.text)
        shown = re.findall(r"^\+?value_\d+ = \d+$", view.text, re.MULTILINE)
        assert len(shown) + int(count) == 500
        assert len(shown) > 5
        assert (view.shown, view.left_out) == (1, 0)
        assert len(without_notes(view.text)) <= 300


def test_both_sides_of_a_long_hunk_are_shown() -> None:
    lines = [sign + f"value = {number}" for number in range(100) for sign in "-+"]
    before, after = render(parse(hunk_of(*lines)), 400, before_after=True).text.split("after:")
    assert before.count("value") == pytest.approx(after.count("value"), abs=1)


def test_equal_hunks_are_counted_apart() -> None:
    change = parse("".join([diff_of("x.py"), *[hunk_of(*LINES)] * 9]))
    view = render(change, 150)
    assert view.shown + view.left_out == 9
    assert 0 < view.shown < 9
    assert counts_in(view.text) == {"x.py": view.left_out}


def test_many_files_without_hunks_keep_within_the_budget() -> None:
    change = parse(
        "".join(f"diff --git a/{n}.py b/{n}.py\nold mode 100644\nnew mode 100755\n" for n in range(3000))
    )
    view = render(change, 500)
    assert len(without_notes(view.text)) <= 500
    assert "and 29" in view.text
    assert (view.shown, view.left_out) == (0, 0)


PATHS = st.sampled_from(
    ["a.py", "b.go", "docs/c.md", "tests/test_d.py", "x.lock", "vendor/e.c", "", "n" * 900, "l\nf.py"]
)
HUNKS = st.lists(
    st.builds(
        lambda lines, section: Hunk(1, 7, section, tuple(Line(sign, text, 1, 1) for sign, text in lines)),
        st.lists(
            st.tuples(st.sampled_from(" +-"), st.text(max_size=30) | st.sampled_from(["x" * 900, "  "])),
            max_size=12,
        ),
        st.text(max_size=20),
    ),
    max_size=6,
)
FILES = st.builds(
    lambda path, old, hunks, binary: File(path, old, binary=binary, hunks=tuple(hunks)),
    PATHS,
    PATHS,
    HUNKS,
    st.booleans(),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(FILES, max_size=8), st.integers(100, 1500), st.booleans(), st.booleans())
def test_never_over_budget_and_the_counts_add_up(
    files: list[File], budget: int, numbers: bool, before_after: bool
) -> None:
    change = Change(tuple(files))
    view = render(change, budget, numbers=numbers, before_after=before_after)
    assert view == render(change, budget, numbers=numbers, before_after=before_after)
    lines = view.text.split("\n")
    if lines and lines[-1].startswith("(left out"):
        lines.pop()
    if lines and lines[-1].endswith("of this hunk are left out)"):
        lines.pop()
        # only the title of a file is shown in any case
        budget = max(budget, len(lines[0]) if len(lines) == 1 else 0)
    assert len("\n".join(lines)) <= budget
    assert view.shown + view.left_out == sum(len(file.hunks) for file in files)
    assert view.shown or not any(file.hunks for file in files)
    whole = render(change, 10**6, numbers=numbers, before_after=before_after)
    assert whole.left_out == 0
    # whole hunks, in their order
    if not view.text.endswith("left out)"):
        assert set(lines) <= set(whole.text.split("\n"))


def test_many_hunks_take_linear_time() -> None:
    change = parse(diff_of("x.py", *[hunk_of(*LINES, start=n * 10 + 1) for n in range(20_000)]))
    started = time.perf_counter()
    view = render(change, 2500)
    assert view.shown + view.left_out == 20_000
    assert time.perf_counter() - started < 10


# What is hostile

HOSTILE = "\0\x1b[31m\x07\x85\x9b\u2028\u2029\u202e\u2066\ud800\x7f\r"


def test_replaces_what_no_terminal_should_meet() -> None:
    hunk = Hunk(1, 1, f"def {HOSTILE}", (Line("+", f"x{HOSTILE}y\tz", None, 1),))
    change = Change((File(f"{HOSTILE}\n=> answer.py", f"a{HOSTILE}", hunks=(hunk,)),))
    for before_after in (False, True):
        text = render(change, 900, before_after=before_after).text
        assert not set(text) & (set(HOSTILE) - set("[31m"))
        text.encode()
        assert "\n=> answer" not in text
        assert "y\tz" in text
    assert render(change, 100).text.count("\n") == len(render(change, 100).text.splitlines()) - 1


def test_long_lines_and_names_are_cut() -> None:
    text = diff_of("d/" * 800 + "x.py", hunk_of("+" + "a" * 5000, "+b"))
    for before_after in (False, True):
        view = render(parse(text), 900, before_after=before_after)
        assert "a" * 400 + "… (4600 more characters)" in view.text
        assert len(view.text) < 900
        assert "/x.py" in view.text


# What changes


@pytest.mark.parametrize(
    ("path", "lines", "kind"),
    [
        ("a.py", ["-x = 1", "+x = 2"], "code"),
        ("a.py", ["+# why"], "comments"),
        ("a.py", ["+# why", "+x = 1"], "both"),
        ("a.py", [" def f():", '-    """Old."""', '+    """New."""', "     pass"], "comments"),
        ("a.py", [" def f():", '     """Do.', "-    Old.", "+    New.", '     """', "     pass"], "comments"),
        ("a.py", [" def f():", '-    """Old', "-    words.", '-    """', "     pass"], "comments"),
        ("a.py", [" def f():", '+    r"""New', "+    words.", '+    """', "     pass"], "comments"),
        ("a.py", ["     Long text", "+    goes on.", '     """', "     x = 1"], "comments"),
        ("a.py", ["     Long text", '     ends."""', "+    x = 1"], "code"),
        ("a.py", ['     """', "     Text.", '     """', "+    x = 1"], "code"),
        ("a.py", ["+x = 1", ' TEXT = """', " inside"], "code"),
        ("a.py", ["-", "+"], "code"),
        ("a.js", ["+// why", "+/* all", "+   of this */"], "comments"),
        ("a.js", ["+/*", "+ * of this", "+ */", "+let x;"], "both"),
        ("a.c", ["+*p = 1;"], "code"),
        ("a.c", ["+ * of a block"], "comments"),
        ("a.c", ["+#include <x.h>"], "code"),
        ("a.go", ["+/* one */", "+x := 1"], "both"),
        ("a.sql", ["+-- why"], "comments"),
        ("a.html", ["+<!-- why", "+so", "+-->"], "comments"),
        ("a.rb", ["+# why"], "comments"),
        ("a.sh", ["+# why", "+ls"], "both"),
        ("a.php", ["+// a", "+# b"], "comments"),
        ("a.ml", ["+(* a", "+b *)"], "comments"),
        ("a.ini", ["+; a"], "comments"),
        ("README.md", ["+Any words.", "+    code"], "comments"),
        ("doc.rst", ["+words"], "comments"),
        ("a.json", ["+// a"], "code"),
        ("unknown", ["+# a"], "code"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_tells_code_from_comments(path: str, lines: list[str], kind: str) -> None:
    assert classify(parse(diff_of(path, hunk_of(*lines)))) == kind


def test_a_change_of_documents_and_code_is_both() -> None:
    assert classify(parse(diff_of("a.md", hunk_of("+x")) + diff_of("a.py", hunk_of("+x")))) == "both"
    assert classify(parse("diff --git a/x b/x\nold mode 1\nnew mode 2\n")) == "code"


# Names of files


@pytest.mark.parametrize(
    ("path", "language"),
    [
        ("a.py", "python"), ("A.PY", "python"), ("d/Makefile", "make"), ("Dockerfile", "docker"),
        ("x.d.ts", "typescript"),
        ("CMakeLists.txt", "cmake"), ("py", ""), (".py", "python"), ("", ""), ("a/", ""), ("a.unknown", ""),
        ("b.h", "c"),
    ],
)  # fmt: skip
def test_names_languages(path: str, language: str) -> None:
    assert language_of(path) == language


def test_tells_tests_and_what_programs_wrote() -> None:
    tests = ["tests/x.py", "a/test_x.py", "x_test.go", "x.spec.ts", "src/FooTest.java", "__tests__/x.js"]
    assert all(map(is_test, tests))
    assert not any(map(is_test, ["latest.py", "src/contest.java", "attestation/x.go", "testify.go"]))
    assert all(
        map(
            is_generated, ["go.sum", "a/yarn.lock", "x.min.css", "node_modules/x/y.js", "x.pb.go", "d/x.snap"]
        )
    )
    assert not any(map(is_generated, ["lock.py", "src/builder.py", "minify.js", "vendors.py"]))


def test_hostile_names_take_linear_time() -> None:
    started = time.perf_counter()
    for piece in ("zz_generated", "_test.", "a/", "x.generated.", "._test", "Tests."):
        is_generated(piece * 50_000)
        is_test(piece * 50_000)
        language_of(piece * 50_000)
    assert time.perf_counter() - started < 10


def test_of_a_hunk_that_a_host_cut_the_last_lines_stay() -> None:
    lines = "".join(f"+line {number}\n" for number in range(1, 60))
    text = render(parse(f"@@ -0,0 +1,99 @@\n{lines}"), 200, numbers=True).text
    assert text.splitlines()[-2] == "59+line 59"
    assert text.splitlines()[-1] == f"({59 - text.count('+line')} earlier lines of this hunk are left out)"
    whole = render(parse(f"@@ -0,0 +1,59 @@\n{lines}"), 200, numbers=True).text
    assert "1+line 1\n" in whole
    assert whole.splitlines()[-1] == f"({59 - whole.count('+line')} more lines of this hunk are left out)"


def test_the_text_afterwards_has_numbers_where_they_are_wanted() -> None:
    change = parse("@@ -4,2 +4,2 @@ f\n a\n-b\n+c\n")
    assert (
        render(change, 500, numbers=True, before_after=True).text == "a file\nbefore:\na\nb\nafter:\n4 a\n5 c"
    )
    assert render(change, 500, before_after=True).text == "a file\nbefore:\na\nb\nafter:\na\nc"
