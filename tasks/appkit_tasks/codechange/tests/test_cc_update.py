"""`appkit update-comments` prints a patch that git apply takes, which changes comments and no code."""

from __future__ import annotations

import ast
import hashlib
import warnings
from pathlib import Path
from typing import Any

import pytest
from appkit_tasks.codechange.commands.update import Stale, UpdateOptions, _write_comment, run
from appkit_tasks.codechange.functions import find_functions
from appkit_tasks.codechange.tests.stubs import Answers, commit, git, make_repository, options, write
from hypothesis import given, settings
from hypothesis import strategies as st

from appkit.task import Outcome

PACK = options("comment_update")


def ask(repository: Path, answers: Answers, **words: Any) -> Outcome:
    return run(UpdateOptions(**{"range": "HEAD~1..HEAD", "repo": repository} | words), PACK, answers)


def make_change(folder: Path, name: str, before: str | bytes, after: str | bytes) -> Path:
    """Makes a repository whose last commit changes a file."""
    repository = make_repository(folder / "r", {name: before})
    commit(repository, {name: after})
    return repository


def apply(repository: Path, outcome: Outcome) -> None:
    """Applies a patch as a user does, from what the command prints."""
    patch = repository.parent / "printed.patch"
    patch.write_bytes(outcome.text.encode() + b"\n")
    git(repository, "apply", "--check", str(patch))
    git(repository, "apply", str(patch))


def test_an_overload_is_never_taken_for_another(tmp_path: Path) -> None:
    text = "class A {{\n{}    /** Adds. */\n    int f(long x) {{\n        return 1;\n    }}\n}}\n"
    overload = "    /** Adds. */\n    int f(int x) {\n        return 2;\n    }\n"
    repository = make_change(tmp_path, "A.java", text.format(""), text.format(overload))
    answers = Answers("Subtracts.")
    assert (ask(repository, answers).text, answers.rows) == ("", [])


def states(repository: Path) -> dict[str, tuple[int, str]]:
    """Says of each file, those of git too, when it was changed and what it holds."""
    paths = [path for path in sorted(repository.rglob("*")) if path.is_file()]
    return {str(p): (p.stat().st_mtime_ns, hashlib.sha256(p.read_bytes()).hexdigest()) for p in paths}


# name of the file, its function after the change with {} for the comment, the old comment, the answer, the new comment
FORMS = {
    "one line": (
        "a.py",
        "def f(x):\n    {}\n    return x + 1\n",
        '"""Add one."""',
        "Add two.",
        '"""Add two."""',
    ),
    "one quote": ("a.py", "def f(x):\n    {}\n    return x + 1\n", "'Add one.'", "Add two.", "'Add two.'"),
    "raw": (
        "a.py",
        "def f(x):\n    {}\n    return x + 1\n",
        'r"""Add \\d."""',
        "Add \\w.",
        'r"""Add \\w."""',
    ),
    "to several": (
        "a.py",
        "class A:\n    def f(x):\n        {}\n        return x + 1\n",
        "'''Add one.'''",
        "Add two.\n\nThen:\n    stop.",
        "'''Add two.\n\n        Then:\n            stop.\n        '''",
    ),
    "several": (
        "a.py",
        "def f(x):\n\t{}\n\treturn x + 1\n",
        '"""Add one.\n\n\tx: a number\n\t"""',
        "Add two.\n\nx: an int",
        '"""Add two.\n\n\tx: an int\n\t"""',
    ),
    "async": (
        "a.py",
        "@d\nasync def f(x):\n    {}\n    return x + 1",
        '"""Old."""',
        "Neü 日本.",
        '"""Neü 日本."""',
    ),
    "java": (
        "A.java",
        "class A {{\n    {}\n    @Override\n    public int f(int x) {{\n        return x + 1;\n    }}\n}}\n",
        "/**\n     * Adds one.\n     * @param x a number\n     */",
        "Adds two.\n@param x an int",
        "/**\n     * Adds two.\n     * @param x an int\n     */",
    ),
    "javascript": (
        "a.js",
        "{}\nexport function f(x) {{\n  return x + 1;\n}}\n",
        "/** Adds one. */",
        "Adds two.",
        "/** Adds two. */",
    ),
    "javascript to several": (
        "a.js",
        "{}\nfunction f(x) {{\n  return x + 1;\n}}\n",
        "/** Adds one. */",
        "Adds two.\n@returns more",
        "/**\n * Adds two.\n * @returns more\n */",
    ),
    "c": (
        "a.c",
        "{}\nint f(int x)\n{{\n\treturn x + 1;\n}}\n",
        "/* Adds one. */",
        "Adds two.",
        "/* Adds two. */",
    ),
    "slashes": (
        "a.go",
        "package a\n\n{}\nfunc F(x int) int {{\n\treturn x + 1\n}}\n",
        "// F adds one.\n// It is fast.",
        "F adds two.",
        "// F adds two.",
    ),
    "more slashes": (
        "a.cpp",
        "struct A {{\n  {}\n  int f(int x) {{ return x + 1; }}\n}};\n",
        "// Adds one.",
        "Adds two.\nIt is fast.",
        "// Adds two.\n  // It is fast.",
    ),
    "rust": (
        "a.rs",
        "{}\n#[inline]\npub fn f(x: i32) -> i32 {{\n    x + 1\n}}\n",
        "/// Adds one.\n///\n/// Fast.",
        "Adds two.\n\nSlow.",
        "/// Adds two.\n///\n/// Slow.",
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ends", ["\n", "\r\n", "none"])
def test_the_patch_gives_the_expected_file(tmp_path: Path, form: str, ends: str) -> None:
    name, template, old, answer, new = FORMS[form]
    before, expected = template.format(old), template.format(new)
    texts = [before.replace("+ 1", "+ 0"), before, expected]
    if ends == "\r\n":
        texts = [text.replace("\n", "\r\n") for text in texts]
    elif ends == "none":
        texts = [text.rstrip("\n") for text in texts]
    repository = make_change(tmp_path, name, texts[0], texts[1])
    answers = Answers(answer)
    before_asked = states(repository)
    outcome = ask(repository, answers)
    assert states(repository) == before_asked
    assert outcome.notes == [
        "1 comments of changed functions are asked about, 1 are updated",
        "apply it with: git apply",
    ]
    assert (answers.rows[0].file, answers.rows[0].function.rpartition(".")[2].lower()) == (name, "f")
    apply(repository, outcome)
    assert (repository / name).read_bytes() == texts[2].encode()


TWO = '''\
def first(x):
    """Add {}."""

    def inner(y):
        """Inner {}."""
        return y - 1

    return inner(x) + {}


class A:
    def second(self, x):
        """Take {}."""
        return x - {}
'''


def test_updates_several_functions_of_a_file_one_inside_another(tmp_path: Path) -> None:
    before = TWO.format("one", "one", 1, "one", 1)
    repository = make_change(
        tmp_path, "a.py", before, TWO.format("one", "one", 2, "one", 2).replace("y - 1", "y - 2")
    )
    answers = Answers(lambda row: row["comment"].replace("one", "two"))
    apply(repository, ask(repository, answers))
    assert [row.function for row in answers.rows] == ["first", "first.inner", "A.second"]
    assert (repository / "a.py").read_text() == TWO.format("two", "two", 2, "two", 2).replace(
        "y - 1", "y - 2"
    )


@pytest.mark.parametrize(
    "name", ["a b.py", 'a"b.py', "ä/日本.py", "it's.py", "tab\there.py", "new\nline.py", "-x.py", "a b/c.py"]
)
def test_odd_paths(tmp_path: Path, name: str) -> None:
    source = "def f(x):\n    '''One.'''\n    return {}\n"
    repository = make_change(tmp_path, name, source.format(1), source.format(2))
    apply(repository, ask(repository, Answers("Two.")))
    assert (repository / name).read_text() == source.format(2).replace("One.", "Two.")


def test_a_renamed_file_is_compared_with_what_it_was(tmp_path: Path) -> None:
    source = "def f(x):\n    '''One.'''\n    return {}\n" + "".join(f"X{n} = {n}\n" for n in range(30))
    repository = make_repository(tmp_path / "r", {"old.py": source.format(1)})
    git(repository, "mv", "old.py", "new name.py")
    commit(repository, {"new name.py": source.format(2)})
    apply(repository, ask(repository, Answers("Two.")))
    assert (repository / "new name.py").read_text() == source.format(2).replace("One.", "Two.")
    assert not (repository / "old.py").exists()


def test_several_files_are_one_patch(tmp_path: Path) -> None:
    source = "def f(x):\n    '''One.'''\n    return {}\n"
    repository = make_repository(tmp_path / "r", dict.fromkeys(("a.py", "b/c.py", "d.py"), source.format(1)))
    commit(repository, dict.fromkeys(("a.py", "b/c.py", "d.py"), source.format(2)))
    outcome = ask(repository, Answers("Two."), paths="a.py,b")
    apply(repository, outcome)
    for name, text in (("a.py", "Two."), ("b/c.py", "Two."), ("d.py", "One.")):
        assert (repository / name).read_text() == source.format(2).replace("One.", text)


BREAKING = [
    ("one line", 'Ends """ here'),
    ("one line", "Ends with \\"),
    ("one line", "C:\\users"),
    ("one quote", "It's over"),
    ("to several", "x ''' y"),
    ("java", "Ends */ here"),
    ("java", "Reads \\u002a/ as an end"),
    ("javascript", "a */ b"),
    ("c", "*/ int g; /*"),
    ("more slashes", "takes the next line \\"),
]


@pytest.mark.parametrize(("form", "answer"), BREAKING)
def test_an_answer_that_would_end_the_comment_is_counted(tmp_path: Path, form: str, answer: str) -> None:
    name, template, old, _, _ = FORMS[form]
    source = template.format(old)
    repository = make_change(tmp_path, name, source.replace("+ 1", "+ 0"), source)
    outcome = ask(repository, Answers(answer))
    assert outcome.text == ""
    assert outcome.notes == [
        "1 comments of changed functions are asked about, 0 are updated; 1 whose answer cannot stand in a comment"
    ]


ODD = [
    'Says "hi"',
    'Says "hi',
    "# hash",
    "* star",
    "// slashes",
    "a\tb\x00\x1b[0m",
    "x\u00a0y\u2028z",
    "/* open",
    "@@ -1 +1 @@",
]


@pytest.mark.parametrize("form", ["one line", "to several", "java", "javascript", "c", "slashes", "rust"])
def test_an_odd_answer_changes_no_code(tmp_path: Path, form: str) -> None:
    name, template, old, _, _ = FORMS[form]
    source = template.format(old)
    repository = make_change(tmp_path, name, source.replace("+ 1", "+ 0"), source)
    start, end = template.format("\0").split("\0")
    for answer in [*ODD, "\n".join(ODD), "x" * 20_000]:
        outcome = ask(repository, Answers(answer))
        apply(repository, outcome)
        text = (repository / name).read_text()
        assert text.startswith(start), answer
        assert text.endswith(end), answer
        if name == "a.py":
            ast.parse(text)
        git(repository, "checkout", "-q", "--", name)


def bare(source: str) -> str:
    """Returns what Python reads of a source but its docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            del node.body[0]
    return ast.dump(tree)


PIECES = [
    '"',
    "'",
    '"""',
    "'''",
    "\\",
    "\\n",
    "\\u00",
    "\\N{x}",
    "\n",
    "\r",
    " ",
    "#",
    "return 2",
    "x",
    "é",
    "{",
    "\t",
    "\x0c",
]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=12).map("".join),
    st.sampled_from(
        ['"""Old."""', "'''Old.'''", "'Old.'", '"Old."', 'r"""Old."""', '"""Old.\n\n    More.\n    """']
    ),
    st.sampled_from(["\n", "\r\n"]),
)
def test_no_answer_changes_what_python_reads(answer: str, old: str, ends: str) -> None:
    text = f"class A:\n    def f(self):\n        {old}\n        return 1\n\n\ndef g():\n    '''G.'''\n    return 2\n"
    source = text.replace("\n", ends).encode()
    found = find_functions(source, "python")
    one = Stale("a.py", source, found[0], found[0], frozenset(function.name for function in found))
    try:
        comment = _write_comment(one, answer)
    except ValueError:
        return
    start, end = one.after.comment_start, one.after.comment_end
    new = (source[:start] + comment.encode() + source[end:]).decode()
    with warnings.catch_warnings(action="ignore"):
        assert bare(new) == bare(source.decode())
    assert "\r" not in new.replace("\r\n", "")
    assert ends == "\n" or "\n" not in new.replace("\r\n", "")


def test_one_that_is_refused_leaves_the_others(tmp_path: Path) -> None:
    source = "def f(x):\n    '''One.'''\n    return {0}\n\n\ndef g(x):\n    '''One.'''\n    return {0}\n"
    repository = make_change(tmp_path, "a.py", source.format(1), source.format(2))
    outcome = ask(repository, Answers("x ''' y", "Two."))
    apply(repository, outcome)
    assert (repository / "a.py").read_text() == source.format(2)[::-1].replace(".enO", ".owT", 1)[::-1]


def test_counts_what_is_not_updated(tmp_path: Path) -> None:
    source = "def f(x):\n    '''One.'''\n    return {}\n"
    repository = make_change(tmp_path, "a.py", source.format(1), source.format(2))
    for answers, count in (
        (Answers(" One.\n"), "1 that fit already"),
        (Answers("Two.", confidence=0.49), "1 below --min-confidence 0.5"),
        (Answers(" \n"), "1 without a whole answer"),
    ):
        outcome = ask(repository, answers)
        assert outcome.text == ""
        assert outcome.notes == [f"1 comments of changed functions are asked about, 0 are updated; {count}"]
    cut = Answers("Two.")
    cut.truncated = True
    assert "1 without a whole answer" in ask(repository, cut).notes[0]
    outcome = ask(repository, Answers("Two.", confidence=None), min_confidence=1.0)
    assert "Two." in outcome.text
    assert "the bundle has no calibrated confidence, so --min-confidence leaves nothing out" in outcome.notes


def test_asks_only_about_comments_that_stayed_as_code_changed(tmp_path: Path) -> None:
    before = {
        "a.py": (
            "def same(x):\n    '''Same.'''\n    return 1\n\n\ndef both(x):\n    '''Old.'''\n    return 1\n\n\n"
            "def bare(x):\n    return 1\n\n\ndef gone(x):\n    '''Gone.'''\n    return 1\n\n\n"
            "def space(x):\n    '''Space.'''\n    return (1, 2)\n\n\ndef empty(x):\n    ''' '''\n    return 1\n"
        ),
        "a.rb": "# One\ndef f\n  1\nend\n",
        "vendor/a.py": "def f(x):\n    '''One.'''\n    return 1\n",
        "latin.py": b"def f(x):\n    '''\xe4.'''\n    return 1\n",
        "dead.py": "def f(x):\n    '''One.'''\n    return 1\n",
    }
    repository = make_repository(tmp_path / "r", before)
    after = {
        name: text.replace("return 1", "return 2") for name, text in before.items() if isinstance(text, str)
    }
    changed = before["a.py"].replace("return 1", "return 2").replace("Old.", "New.")
    changed = changed.replace("def gone(x):\n    '''Gone.'''\n    return 2\n\n\n", "").replace(
        "(1, 2)", "(1,   2)"
    )
    changed = changed.replace(
        "def same(x):\n    '''Same.'''\n    return 2", "def same(x):\n    '''Same.'''\n    return 1"
    )
    git(repository, "rm", "-q", "dead.py")
    del after["dead.py"]
    after |= {
        "a.py": changed,
        "a.rb": "# One\ndef f\n  2\nend\n",
        "new.py": "def f(x):\n    '''N.'''\n    return 1\n",
    }
    commit(repository, after | {"latin.py": before["latin.py"].replace(b"return 1", b"return 2")})
    answers = Answers("Two.")
    outcome = ask(repository, answers)
    assert (outcome.text, answers.rows) == ("", [])
    assert outcome.notes == [
        "0 comments of changed functions are asked about, 0 are updated; "
        "1 files left out: languages without a grammar; 1 files left out: no UTF-8"
    ]


def test_leaves_out_what_no_row_can_hold(tmp_path: Path) -> None:
    """A secret is masked in a row; where it is all that changes, no change would be left."""
    secret = "def f():\n    '''Key.'''\n    return 'ghp_{}'\n"
    long = "def f():\n    '''" + "word " * 5000 + "'''\n    return {}\n"
    tool = "package a\n\n//nolint\n// F is one.\nfunc F() int {{\n\treturn {}\n}}\n"
    repository = make_repository(
        tmp_path / "r", {"s.py": secret.format("a1B2" * 9), "l.py": long.format(1), "t.go": tool.format(1)}
    )
    commit(repository, {"s.py": secret.format("c3D4" * 9), "l.py": long.format(2), "t.go": tool.format(2)})
    answers = Answers("Two.")
    notes = ask(repository, answers).notes
    assert answers.rows == []
    for reason in (
        "1 left out: functions in which only a secret changes",
        "1 left out: functions or comments that are too long",
        "1 left out: comments that hold directives of tools",
    ):
        assert reason in notes[0]


def test_reads_the_commits_and_not_the_files(tmp_path: Path) -> None:
    source = "def f(x):\n    '''One.'''\n    return {}\n"
    repository = make_change(tmp_path, "a.py", source.format(1), source.format(2))
    write(repository, {"a.py": "not = 'committed'\n"})
    assert "Two." in ask(repository, Answers("Two.")).text


def test_refuses_what_cannot_be_read(tmp_path: Path) -> None:
    repository = make_change(tmp_path, "a.py", "A = 1\n", "A = 2\n")
    with pytest.raises(ValueError, match="has no commit"):
        ask(repository, Answers("x"), range="nowhere..HEAD")
    with pytest.raises(ValueError, match="no git repository"):
        ask(tmp_path, Answers("x"))
    assert ask(repository, Answers("x"), range="HEAD..HEAD").notes == ["HEAD..HEAD changes nothing"]
    assert ask(repository, Answers("x"), range="HEAD", paths="a, b").notes == [
        "HEAD..HEAD changes nothing in --paths a,b"
    ]
    with pytest.raises(
        ValueError, match=r"trained for task\.problem=review; this command needs one for comment_update"
    ):
        run(UpdateOptions(range="HEAD", repo=repository), options("review"), Answers("x"))
