"""Text and Markdown: pieces that join to the same bytes, and the same texts as markdown-it finds."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
from appkit_tasks.translation.formats import Translation, open_document
from appkit_tasks.translation.formats.text import Pieces, flows, has_words, segment, unwrap, wrap
from appkit_tasks.translation.tests.odd_text import MARKDOWN, PROSE
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[4]
SIGNS = st.sampled_from(
    [
        *"aé漢。 .!?…;,\n\r\t`<>{}%[]()",
        "\u3000",
        "\u2028",
        "\xa0",
        "word ",
        "End. ",
        "{0}",
        "<b>",
        "e.g. ",
        "`x y`",
    ]
)
TEXTS = st.text(max_size=200) | st.lists(SIGNS, max_size=150).map("".join)


@settings(max_examples=100, deadline=None)
@given(text=TEXTS, limit=st.integers(1, 60))
def test_pieces_join_to_the_same_text(text: str, limit: int) -> None:
    pieces = segment(text, limit)
    assert pieces.join(pieces.texts) == text
    assert all(not part or part.isspace() for part in pieces.between)
    assert all(piece and piece == piece.strip() for piece in pieces.texts)


@settings(max_examples=100, deadline=None)
@given(
    words=st.lists(st.text("abcé.", min_size=1, max_size=9), min_size=1, max_size=60),
    limit=st.integers(9, 80),
)
def test_pieces_are_as_long_as_the_limit_lets_them(words: list[str], limit: int) -> None:
    pieces = segment(" ".join(words), limit).texts
    assert max(map(len, pieces)) <= limit
    # two neighbours would not fit, unless a sentence ends between them
    for piece, following in pairwise(pieces):
        first = following.split()[0]
        assert len(piece) + 1 + len(first) > limit or re.search(r"[.]+\Z", piece)


@pytest.mark.parametrize(
    ("text", "limit", "texts"),
    [
        ("One. Two! Three?", 100, ["One. Two! Three?"]),
        ("One. Two! Three?", 10, ["One. Two!", "Three?"]),
        ("See Dr. Smith, e.g. today. Then go.", 30, ["See Dr. Smith, e.g. today.", "Then go."]),
        ("He said “Stop.” Then he went.", 20, ["He said “Stop.”", "Then he went."]),
        ("First part; second part, third part", 20, ["First part;", "second part,", "third part"]),
        ("これは文です。次の文です。", 8, ["これは文です。", "次の文です。"]),
        ("هل أنت بخير؟ نعم، شكرا.", 15, ["هل أنت بخير؟", "نعم، شكرا."]),
        ("यह है। वह है।", 7, ["यह है।", "वह है।"]),
        ("Version 1.2.3 of a.b is out. Get it.", 30, ["Version 1.2.3 of a.b is out.", "Get it."]),
        ("Use `a. b. c. d` now. Or not.", 12, ["Use", "`a. b. c. d`", "now. Or not."]),
        ('A <a title="b. c. d. e. f. g">h</a> i', 12, ["A", '<a title="b. c. d. e. f. g">h</a>', "i"]),
        ("{n, plural,\n one {a. b}\n other {c. d}}", 10, ["{n, plural,\n one {a. b}\n other {c. d}}"]),
        ("x" * 50, 10, ["x" * 50]),
        ("a\n\n  b\r\nc\rd", 100, ["a", "b", "c", "d"]),
        ("Usage: x\n\nOptions:\n  -a   all\n", 100, ["Usage: x", "Options:", "-a   all"]),
        (PROSE, 1000, [PROSE.strip()]),
        ("", 10, []),
        (" \n ", 10, []),
    ],
)
def test_where_texts_are_split(text: str, limit: int, texts: list[str]) -> None:
    pieces = segment(text, limit)
    assert list(pieces.texts) == texts
    assert pieces.join(pieces.texts) == text


def test_the_wrong_number_of_pieces_is_refused() -> None:
    with pytest.raises(ValueError, match="a text of 2 pieces needs as many, got 1"):
        Pieces(("a", "b"), ("", " ", "")).join(["a"])
    with pytest.raises(ValueError, match="limit must be at least 1 character, got 0"):
        segment("a", 0)


@pytest.mark.parametrize(
    "text",
    [
        "word " * 10_000,
        "x" * 50_000,
        "<" * 50_000,
        "a. " * 17_000,
        " " * 50_000 + "x",
        "a\n" * 25_000,
        "。" * 50_000,
        "{" * 50_000,
        "." * 50_000 + "x",
        "x" + " " * 50_000 + "y",
        "- " * 25_000 + "x",
        "# x" + " " * 50_000 + "#y",
        "|" * 50_000 + "\n" + "|-" * 25_000,
        " " * 50_000 + "|\n" + " " * 50_000 + "|-x",
        "`" * 49_999 + "x",
        "[" * 50_000,
        "(<" * 25_000,
        "#" * 50_000 + " {" * 10_000 + "}",
        '"' * 50_000 + "Content-Type:" * 1000,
    ],
    ids=range(19),
)
def test_50_kb_take_no_time(text: str, tmp_path: Path) -> None:
    start = time.perf_counter()
    pieces = segment(text)
    assert pieces.join(pieces.texts) == text
    for name in ("a.txt", "a.md", "a.en", "a.po", "a.xlf"):
        (tmp_path / name).write_text(text)
        with suppress(ValueError):  # not all of it is PO
            document = open_document(tmp_path / name, "en", "fr")
            document.write(
                tmp_path / name,
                {place: Translation(f"{part.source}.") for place, part in enumerate(document.segments)},
            )
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize(
    ("lines", "answer"),
    [
        (PROSE.splitlines(), True),
        (["Save", "Open"], False),
        (
            [
                "A line that is long enough to be prose, but whole.",
                "Another line that is about as long as it, and whole.",
            ],
            False,
        ),
        (["A line that is long enough to be wrapped, but it", "is short"], True),
        (["A line that is short", "A line that is long enough to be prose, and then some"], False),
        (["A list of words that is long enough to be prose and", "- an item of it"], False),
        (
            [
                "name          value of the name in a table    of",
                "another       value of the other name in it    of",
            ],
            False,
        ),
        (["この段落は日本語で書かれていて、四十桁を超え", "ています"], True),
    ],
)
def test_which_lines_wrap_prose(lines: list[str], answer: bool) -> None:
    assert flows(lines) is answer


def test_unwrap_and_wrap() -> None:
    assert unwrap("a \r\n  b\nc") == "a b c"
    assert unwrap("日本\n語") == "日本語"
    assert unwrap("한국\n어") == "한국 어"
    assert wrap("a bb ccc dddd", 6) == ["a bb", "ccc", "dddd"]
    assert wrap("日本 語 x", 6) == ["日本", "語 x"]
    assert wrap("toolongword a", 5) == ["toolongword", "a"]


@given(st.text("ab ", max_size=80), st.integers(1, 30))
def test_wrapped_lines_join_to_the_same_line(text: str, width: int) -> None:
    assert " ".join(wrap(text.strip(), width)).split() == text.split()


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("---", False),
        ("1.2 %", False),
        ("`code`", False),
        ("https://a.example", False),
        ("{0}: %s", False),
        ("a", True),
        ("日", True),
        ("{0} é", True),
        ("{n, plural, one {a} other {b}}", True),
        ("<b/>", False),
    ],
)
def test_what_has_words(text: str, answer: bool) -> None:
    assert has_words(text) is answer


# --- text files -----------------------------------------------------------------------------------------


def rewritten(path: Path, content: str, *translations: str) -> tuple[str, dict[str, int]]:
    path.write_bytes(content.encode())
    document = open_document(path, "en", "fr")
    written = document.write(path, {place: Translation(text) for place, text in enumerate(translations)})
    return path.read_bytes().decode(), written.counts.left_out


def test_wrapped_prose_is_wrapped_again(tmp_path: Path) -> None:
    prose = PROSE.replace("\n", "\r\n  ")
    after, _ = rewritten(tmp_path / "a.txt", f"Title\r\n\r\n  {prose}\r\nEnd", "Titre", "mot " * 29 + "fin")
    # its widest line has 57 columns
    assert after == f"Titre\r\n\r\n  {'mot ' * 13}mot\r\n  {'mot ' * 13}mot\r\n  mot fin\r\n  \r\nEnd"


def test_a_line_break_in_a_line_is_refused(tmp_path: Path) -> None:
    assert rewritten(tmp_path / "a.txt", "One\nTwo\n", "Un\nbis", "Deux") == (
        "One\nDeux\n",
        {"the translation has a line break where the source has none": 1},
    )
    assert rewritten(tmp_path / "a.en", "One\nTwo\n", "Un\nbis", "Deux") == (
        "One\nDeux\n",
        {"the translation has a line break, which would move the lines below it": 1},
    )


# --- Markdown -------------------------------------------------------------------------------------------

REFERENCE = MarkdownIt("commonmark").enable("table")


def reference_texts(text: str) -> list[str]:
    """The texts that markdown-it finds, without the line breaks in them."""
    texts, in_cell = [], False
    for token in REFERENCE.parse(text):
        in_cell = token.type in ("th_open", "td_open") or (
            in_cell and token.type not in ("th_close", "td_close")
        )
        for part in re.split(r"(?: {2,}|\\)\n", token.content) if token.type == "inline" else ():
            part = re.sub(r"\s*\n\s*", " ", part).strip()
            texts.append(part.replace("|", "\\|") if in_cell else part)
    return [part for part in texts if has_words(part)]


GUIDES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("tasks/**/README.md"),
        *ROOT.glob("appkit/**/README.md"),
    ]
)


def test_our_own_guides_are_read_as_markdown_it_reads_them(tmp_path: Path) -> None:
    assert len(GUIDES) >= 10
    for guide in GUIDES:
        segments = open_document(guide, "en", "fr").segments
        assert [part.source for part in segments] == reference_texts(guide.read_text(encoding="utf-8")), guide
        assert len(segments) > 5


def shape(text: str) -> list[tuple[str, str, str]]:
    """The blocks of a document, and all that is not translated."""
    return [
        (token.type, token.info, "" if token.type == "inline" else token.content)
        for token in REFERENCE.parse(text)
    ]


def test_our_own_guides_keep_their_shape(tmp_path: Path) -> None:
    for guide in GUIDES:
        document = open_document(guide, "en", "fr")
        # longer than before, so that other lines begin with other words
        translations = {
            place: Translation(f"zz yy xx ww {part.source}") for place, part in enumerate(document.segments)
        }
        path = tmp_path / "a.md"
        written = document.write(path, translations)
        assert written.translated >= len(translations) - 2
        assert shape(path.read_text(encoding="utf-8")) == shape(guide.read_text(encoding="utf-8")), guide


CORNERS = [
    "In the year\n2001. It was\n1. an item\n3. another\n",
    "- a\n\n      code\n\n  b\n\n    c\n\n        code\n",
    "# A\n    code\n\n1. a\n2. b\n\n   ```\n   no\n   ```\n   c\n",
    "> a\n```\nno\n```\nb\n> > c\n> d\n",
    "> ```\n> no\nyes\n",
    "a\n    not code\n***\n- - - \nb\n",
    "* a\n  * b\n    * c\n\n    d\n\n  e\n\nf\n",
    "<!-- x --> a\n\nb <!-- c --> d\n\n<b>e</b> f\n\n<a>\nno\n\n</a>\n",
    "| a | b |\n|---|---|\n| c `\\|` | d |\ne\n\nf\n",
    "a | b\n- | -\nc | d\n> e\n",
    "[a]: b 'c'\n[d]: <e>\n\nf\n[g]: h\n",
    "`` a ` b `` c\n\n~~~ x\nno\n~~~\n",
    "Setext\nof two\n===\nb\n--\n",
    "1) a\n\n   b\n10) c\n\n    d\n",
    "a\\\nb  \nc\n",
    "| a |\n|---|\n| b |\n# c\nd | e\n",
    "a | b\n--|--\nc | d\n> e\nf\n\n| g |\n|:-:|\n```\nno\n```\nh | i\n",
    "```\n> ```\nno\n```\nyes\n",
    "> <div>\nyes\n\n> <div>\n> no\n\nyes\n",
]


@pytest.mark.parametrize(
    "text",
    [
        *CORNERS,
        *(
            file.content.decode()
            for file in MARKDOWN
            if b"\0" not in file.content and b"++" not in file.content
        ),
    ],
)
def test_corners_of_markdown(text: str, tmp_path: Path) -> None:
    if re.search(r"(?m:^---\ntitle|^\[\^|^!!!|^:::|^\$\$|\|y`|\[x\])", text):
        return  # beyond CommonMark and its tables
    (tmp_path / "a.md").write_bytes(text.encode())
    assert [part.source for part in open_document(tmp_path / "a.md", "en", "fr").segments] == reference_texts(
        text
    )


def test_markdown_is_written_in_its_own_lines(tmp_path: Path) -> None:
    before = (
        "> # One {#a}\n> two is a line\n> that goes on\n\n- [ ] three\n  four\n\n| a | b |\n|---|---|\n"
        "| `c|d` e | f |\n"
    )
    after = (
        "> # Un {#a}\n> deux est une\n> ligne qui va\n> plus loin\n\n- [ ] trois\n  quatre\n\n| A | B |\n"
        "|---|---|\n| `c|d` E | F |\n"
    )
    assert rewritten(
        tmp_path / "a.md",
        before,
        "Un",
        "deux est une ligne qui va plus loin",
        "trois quatre",
        "A",
        "B",
        "`c|d` E",
        "F",
    ) == (after, {})


@pytest.mark.parametrize(
    ("source", "translation", "reason"),
    [
        ("Run `make` now", "Lancez `faire`", "code, a link's target, a URL or a tag is not as in the source"),
        ("See [it](a.md)", "Voir [ici](b.md)", "code, a link's target"),
        ("See https://a.example", "Voir", "code, a link's target"),
        ("A <b>b</b>", "A b", "code, a link's target"),
        ("In 2001", "2001. En", "another kind of block"),
        ("One", "- un", "another kind of block"),
        ("One", "# un", "another kind of block"),
        ("# One", "C #", "signs that a heading does not show"),
        ("One", "un  ", "ends a line with a break"),
        ("| a |\n|---|\n", "b | c", "more than one cell"),
    ],
)
def test_a_translation_that_would_break_markdown_is_not_written(
    source: str, translation: str, reason: str, tmp_path: Path
) -> None:
    after, left_out = rewritten(tmp_path / "a.md", source, translation)
    assert after == source
    ((sentence, count),) = left_out.items()
    assert reason in sentence
    assert count == 1


def test_wrapping_makes_no_list(tmp_path: Path) -> None:
    # wrapped, the second line would begin with "- "
    after, _ = rewritten(tmp_path / "a.md", "one two\nthree\n", "un deux - trois")
    assert after == "un deux - trois\n"
