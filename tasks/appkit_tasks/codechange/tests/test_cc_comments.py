"""A comment's text is read without its marks, and a new one is written in its form, or refused."""

from __future__ import annotations

import ast

import pytest
from appkit_tasks.codechange.functions import (
    LANGUAGES,
    comment_text,
    find_functions,
    rewrite_comment,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ('"""One."""', "One."),
        ("r'''One.\n\n    Two.\n    '''", "One.\n\nTwo."),
        ('"One."', "One."),
        ("/** One. */", "One."),
        ("/* One. */", "One."),
        ("/*! One. */", "One."),
        ("/** One. **/", "One."),
        ("/**/", ""),
        ("/***/", ""),
        ("/**\n * One.\n *\n * @param a of it\n */", "One.\n\n@param a of it"),
        ("/**\r\n * One.\r\n */", "One."),
        ("/*\n   Items:\n   * one\n   * two\n*/", "Items:\n* one\n* two"),
        ("/** See a/*.py and b*/", "See a/*.py and b"),
        ("/**\n# Title\n*/", "# Title"),
        ("// One.\n    // Two.", "One.\nTwo."),
        ("/// One.\n///\n/// * two", "One.\n\n* two"),
        ("//! One.", "One."),
        ("//// One.", "One."),
        ("// # One.", "# One."),
        ("// see // there", "see // there"),
    ],
)
def test_the_text_of_a_comment(raw: str, text: str) -> None:
    assert comment_text(raw) == text


@pytest.mark.parametrize(
    ("raw", "text", "written"),
    [
        ('"""Old."""', "New.", '"""New."""'),
        ('"""Old."""', "New.\n\nMore.", '"""New.\n\n    More.\n    """'),
        ("'Old.'", "New.\nMore.", "'''New.\n    More.\n    '''"),
        ("r'''Old.\n    '''", "New \\d.", "r'''New \\d.'''"),
        ('"""Old."""', 'Says "so"', '"""Says "so"\n    """'),
        ("'Old'", 'Says "so"', "'Says \"so\"'"),
        ("/** Old. */", "New.", "/** New. */"),
        ("/* Old. */", "New.", "/* New. */"),
        ("/*! Old. */", "New.", "/*! New. */"),
        ("/** Old. */", "New.\n\nMore.", "/**\n     * New.\n     *\n     * More.\n     */"),
        ("/**\n     * Old.\n     */", "New.", "/**\n     * New.\n     */"),
        ("/*\r\n     * Old.\r\n     */", "New.\nMore.", "/*\r\n     * New.\r\n     * More.\r\n     */"),
        ("// Old.", "New.\n\nMore.", "// New.\n    //\n    // More."),
        ("/// Old.\n    /// More.", "New.", "/// New."),
        ("//! Old.", "New.", "//! New."),
        ("// Old.", "New.\u2028int x;", "// New.\n    // int x;"),
        ("// Old.", "New.\rint x;", "// New.\n    // int x;"),
    ],
)
def test_a_comment_keeps_its_form(raw: str, text: str, written: str) -> None:
    assert rewrite_comment(raw, text, "    ") == written
    assert comment_text(written).split() == text.split()


@pytest.mark.parametrize(
    ("raw", "text", "reason"),
    [
        ('"""Old."""', 'One """ two', 'holds """'),
        ("'Old.'", "It's new", "holds '"),
        ('"""Old."""', "Ends with \\", "no text of Python"),
        ('"""Old."""', "In C:\\users", "no text of Python"),
        ('"""Old."""', "A \0 in it", "no text of Python"),
        ("/* Old. */", "One */ two", r"holds \*/"),
        ("// Old.", "Ends with \\", "takes the next one in"),
        ("// Old.", "Ends with \\\nand goes on", "takes the next one in"),
        ("/* Old. */", "In C:\\users", r"holds \\u"),
        ("// Old.", "A \\u000a in it", r"holds \\u"),
    ],
)
def test_what_would_end_a_comment_is_refused(raw: str, text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        rewrite_comment(raw, text, "")


RAW = st.sampled_from(
    ['"""Old."""', "'''Old.\n\nMore.\n'''", "'Old.'", 'r"""Old."""', "/** Old. */", "/*! Old. */", "/*\n * Old.\n */",
     "// Old.", "/// Old.\n/// More.", "//! Old.", "/**\r\n * Old.\r\n */"]
)  # fmt: skip
WORDS = st.lists(
    st.sampled_from(
        ["*", "//", "#", "///", "!", "'", '"', "word", "\n", "\n\n", " ", "/*", "@param", "é", "\t", "\\d"]
    )
    | st.text(max_size=4),
    max_size=12,
).map("".join)


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
@settings(max_examples=500, deadline=None)
@given(RAW, WORDS, st.sampled_from(["", "    ", "\t"]))
@example("/** Old. */", "*", "")
@example('"""Old."""', '"', "")
@example("/** Old. */", "/", "")
@example("/** Old. */", "/\nx", "")
@example("// Old.", "/ x", "")
def test_what_is_written_is_read_again(raw: str, text: str, indent: str) -> None:
    try:
        written = rewrite_comment(raw, text, indent)
    except ValueError:
        return
    normal = "\n".join(line.strip() for line in text.strip().splitlines()).strip()
    assert comment_text(written) == normal
    if raw[0] in "\"'r":
        assert isinstance(ast.literal_eval(written), str)


CODE = {
    "python": ("def weigh(jar):\n    {0}\n    return 1\n", '"""Old."""', "    "),
    "java": ("class A {{\n    {0}\n    int weigh() {{ return 1; }}\n}}\n", "/** Old. */", "    "),
    "javascript": ("{0}\nconst weigh = () => 1;\n", "// Old.", ""),
    "typescript": ("class A {{\n\t{0}\n\tweigh(): void {{}}\n}}\n", "/**\n\t * Old.\n\t */", "\t"),
    "go": ("package a\n\n{0}\nfunc weigh() {{}}\n", "// Old.", ""),
    "rust": ("impl A {{\n    {0}\n    fn weigh() {{}}\n}}\n", "/// Old.", "    "),
    "c": ("{0}\nint weigh(void) {{ return 1; }}\n", "/* Old. */", ""),
    "cpp": ("class A {{\n  {0}\n  int weigh() {{ return 1; }}\n}};\n", "/// Old.", "  "),
}


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(LANGUAGES), WORDS.filter(lambda text: text.strip() and "\0" not in text))
def test_a_rewritten_comment_is_the_functions_again(language: str, text: str) -> None:
    """Written back into a file, it is the comment of the same function, and nothing of it is code."""
    frame, raw, indent = CODE[language]
    try:
        written = rewrite_comment(raw, text, indent)
    except ValueError:
        return
    before, after = (
        find_functions(frame.format(comment).encode("utf-8", "replace"), language)
        for comment in (raw, written)
    )
    assert [one.name for one in after] == [one.name for one in before]
    if "\ufffd" not in text and text.isprintable():
        assert after[0].comment.split() == written.split()
        assert after[0].code.split() == before[0].code.split()
