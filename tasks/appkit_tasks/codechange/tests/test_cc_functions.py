"""Functions and doc comments are found as people write them in eight languages, in linear time."""

from __future__ import annotations

import time

import pytest
from appkit_tasks.codechange.functions import (
    LANGUAGES,
    LARGEST,
    comment_text,
    find_functions,
)
from appkit_tasks.codechange.tests.sources import FOUND, GO, PYTHON, RUST, TYPESCRIPT
from hypothesis import example, given, settings
from hypothesis import strategies as st

SOURCES = [pytest.param(*key, id=f"{key[0]}-{number}") for number, key in enumerate(FOUND)]


@pytest.mark.parametrize(("language", "source"), SOURCES)
def test_functions_and_their_comments(language: str, source: str) -> None:
    found = find_functions(source.encode(), language)
    assert [(one.name, comment_text(one.comment)) for one in found] == FOUND[language, source]


@pytest.mark.parametrize(("language", "source"), SOURCES)
@pytest.mark.parametrize("form", ["plain", "crlf", "tabs", "broken bytes", "mark"])
def test_places_are_those_of_the_file(language: str, source: str, form: str) -> None:
    content = {
        "plain": source.encode(),
        "crlf": source.replace("\n", "\r\n").encode(),
        "tabs": source.replace("    ", "\t").encode(),
        "broken bytes": source.encode().replace(b"eighs a", b"\xff\xfeighs a"),
        "mark": b"\xef\xbb\xbf" + source.encode(),
    }[form]
    found = find_functions(content, language)
    assert len(found) == len(FOUND[language, source]) or form == "mark"
    for one in found:
        text = content[one.comment_start : one.comment_end].decode("utf-8", "replace")
        assert one.comment == text
        assert one.start <= one.comment_start <= one.comment_end <= one.end
        whole = content[one.start : one.end]
        assert one.lines[0] == content.count(b"\n", 0, one.start) + 1
        assert one.lines[1] == content.count(b"\n", 0, one.end) + 1
        rest = content[one.start : one.comment_start] + content[one.comment_end : one.end]
        assert one.code.split() == rest.decode("utf-8", "replace").split()
        assert (
            one.name.rpartition(".")[2].partition("#")[0].rpartition("::")[2].encode().split(b"(")[0] in whole
        )
        if form == "crlf":
            assert "\r" not in comment_text(one.comment)


def test_attributes_belong_to_the_code() -> None:
    """A change of a decorator or an attribute is a change of the function."""
    codes = {one.name: one.code for one in find_functions(RUST.encode(), "rust")}
    assert codes["weigh"].startswith("#[inline]\n#[must_use]\npub async fn weigh")
    codes = {one.name: one.code for one in find_functions(PYTHON.encode(), "python")}
    assert codes["weigh"].startswith("@cache\n@retry(times=3)\nasync def weigh")
    codes = {one.name: one.code for one in find_functions(TYPESCRIPT.encode(), "typescript")}
    assert codes["A.B.Shelf.turn"].startswith("@bound\n")
    assert codes["draw"].startswith("// @ts-ignore\nexport const draw")
    codes = {one.name: one.code for one in find_functions(GO.encode(), "go")}
    assert codes["Box.Weigh"].startswith("//go:noinline\nfunc (b Box)")


@pytest.mark.parametrize(
    ("language", "source", "comment"),
    [
        ("c", "/* Licence. */\n\nint f(void) { return 1; }\n", ""),
        ("c", "/* Near. */\nint f(void) { return 1; }\n", "/* Near. */"),
        ("c", "int a; /* Of a. */\nint f(void) { return 1; }\n", ""),
        ("c", "/* One. */\n// Two.\nint f(void) { return 1; }\n", "// Two."),
        ("c", "// One.\n/* Two. */\nint f(void) { return 1; }\n", "/* Two. */"),
        ("c", "// One.\n\n// Two.\nint f(void) { return 1; }\n", "// Two."),
        ("java", "class A { // Of A.\n  int f() { return 1; }\n}", ""),
        ("java", "class A { /* Of f. */ int f() { return 1; }\n}", ""),
        ("rust", "//! Crate.\nfn f() {}\n", ""),
        ("rust", "/// One.\n\n/// Two.\nfn f() {}\n", "/// Two."),
        ("rust", "// NOLINT\n/// One.\nfn f() {}\n", "// NOLINT\n/// One."),
        ("go", "// F is.\n\n\nfunc F() {}", ""),
        ("python", "def f():\n    pass\n    'Not first.'\n", ""),
        ("python", "def f(): '''One.'''\n", "'''One.'''"),
        ("python", "# Above.\ndef f(): pass\n", ""),
    ],
)
def test_which_comment_is_a_functions(language: str, source: str, comment: str) -> None:
    (one,) = find_functions(source.encode(), language)
    assert one.comment == comment


def test_what_cannot_be_parsed_leaves_the_rest() -> None:
    source = b"def one():\n    '''One.'''\n\n)(\n\ndef two():\n    '''Two.'''\n    return 1\n"
    assert [one.name for one in find_functions(source, "python")] == ["one", "two"]
    assert find_functions(b"", "python") == []
    assert find_functions(b"def f(): pass", "cobol") == []
    assert find_functions(b"def f(): pass", "tsx") == []
    assert find_functions(b"def f(): pass\n" + b"#" * LARGEST, "python") == []


UNITS = {
    "python": 'def f{n}(a):\n    """Tells number {n}."""\n    return a\n\n\n',
    "java": "    /** Tells number {n}. */\n    int f{n}(int a) {{ return a; }}\n\n",
    "javascript": "/** Tells number {n}. */\nexport const f{n} = (a) => a;\n\n",
    "typescript": "/** Tells number {n}. */\nexport function f{n}(a: <T) {{ return a; }}\n\n",
    "go": "// F{n} tells it.\nfunc F{n}(a int) int {{ return a }}\n\n",
    "rust": "/// Tells number {n}.\n#[inline]\nfn f{n}(a: u8) -> u8 {{ a }}\n\n",
    "c": "/* Tells number {n}. */\nint f{n}(int a)\n{{\n    return a;\n}}\n\n",
    "cpp": "/// Tells number {n}.\nint f{n}(int a) {{ return a; }}\n\n",
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_large_files_take_linear_time(language: str) -> None:
    def write(count: int) -> bytes:
        text = "".join(UNITS[language].format(n=number) for number in range(count))
        return (f"class A {{\n{text}}}\n" if language == "java" else text).encode()

    seconds = []
    for count in (2000, 10_000):
        content = write(count)
        assert len(content) < LARGEST
        began = time.process_time()
        found = find_functions(content, language)
        seconds.append(time.process_time() - began)
        assert len(found) == count or language == "typescript"
    assert seconds[1] < 4
    assert seconds[1] < 5 * 2.5 * max(seconds[0], 0.05)


DEEP = {
    "python": "def f():\n" + "".join(" " * depth + "if a:\n" for depth in range(1, 400)) + " " * 400 + "a",
    "java": "class A { int f() { return " + "(" * 5000 + "1" + ")" * 5000 + "; } }",
    "javascript": "function f() {" * 3000 + "}" * 3000,
    "typescript": "namespace a {" * 3000 + "}" * 3000,
    "go": "package a\nfunc f() {" + "{" * 5000 + "}" * 5000 + "}",
    "rust": "mod a {" * 3000 + "fn f() {}" + "}" * 3000,
    "c": "int f(void) { return " + "-" * 20_000 + "1; }",
    "cpp": "namespace a {" * 3000 + "int f() { return 1; }" + "}" * 3000,
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_deep_nesting(language: str) -> None:
    began = time.process_time()
    found = find_functions(DEEP[language].encode(), language)
    assert time.process_time() - began < 10
    assert all(one.name.rpartition(".")[2].startswith("f") for one in found)
    assert found or language == "typescript"


PIECES = st.sampled_from(
    ["def f():", "class A", "{", "}", "(", ")", "\n", "  ", '"""', "'", "/*", "*/", "//", "///", "fn f", "int f(a)",
     "function f", "=>", "const f =", "#[a]", "@a", "func (s *S) F()", "impl A for B", "template<class T>", "\t", ";",
     "operator", "~A", "\r\n", "\0", "é", "<T>", "=", "return 1", "f", ","]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=60).map("".join) | st.text(max_size=100), st.sampled_from(LANGUAGES))
@example("int f(", "c")
@example("int (", "cpp")
@example("operator", "cpp")
def test_any_text_is_read(source: str, language: str) -> None:
    content = source.encode("utf-8", "replace")
    for one in find_functions(content, language):
        assert one.name
        assert one.comment.encode() == content[one.comment_start : one.comment_end]
        comment_text(one.comment)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(LANGUAGES))
def test_any_bytes_are_read(content: bytes, language: str) -> None:
    for one in find_functions(content, language):
        assert 0 <= one.start <= one.end <= len(content)
