"""The worst segments: which, in what order, and that Markdown shows any text as it is."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

import pytest
from appkit_tasks.translation.differences import escape, word_diff, worst_segments
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from appkit.task import Parsed, Prediction


@dataclass(frozen=True)
class Row:
    source: str
    target: str
    target_language: str = "fr"
    source_language: str = "en"
    terms: tuple[()] = ()


def answers(*texts: str) -> list[Prediction]:
    return [Prediction(text, Parsed(text), tokens=1, truncated=False) for text in texts]


def shown(markdown: str) -> str:
    """The text that a reader sees, del and ins marks left in."""
    page = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown)
    return html.unescape(re.sub(r"</?(?!del>|ins>)[a-z0-9]+>", "", page)).strip()


@pytest.mark.parametrize(
    ("reference", "answer", "diff"),
    [
        ("Le compte", "Le compte", "Le compte"),
        ("Un compte.", "Un profil !", "Un <del>compte.</del><ins>profil !</ins>"),
        ("Le compte est", "Le profil est", "Le <del>compte</del> <ins>profil</ins> est"),
        ("Un", "", "<del>Un</del>"),
        ("", "Un", "<ins>Un</ins>"),
        ("a\nb", "a b", "a <del>↵ </del>b"),
        ("删除账户", "删除帐户", "删除<del>账</del><ins>帐</ins>户"),
        ("a  b", "a b", "a b"),
    ],
)  # fmt: skip
def test_word_diff(reference: str, answer: str, diff: str) -> None:
    assert word_diff(reference, answer) == diff


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.text(
    st.sampled_from("a b*_`~[]()<>&|$\\#-+.!:/{}\n\t\r"), max_size=40
)


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_a_diff_has_both_texts(reference: str, answer: str) -> None:
    diff = word_diff(reference, answer)
    kept = re.sub(r"<ins>.*?</ins>", "", diff).replace("<del>", "").replace("</del>", "")
    written = re.sub(r"<del>.*?</del>", "", diff).replace("<ins>", "").replace("</ins>", "")
    squeezed = [re.sub(r"\s|↵", "", text) for text in (kept, written, escape(reference), escape(answer))]
    assert squeezed[:2] == squeezed[2:]


def seen_as(character: str) -> str:
    escaped = escape(character)
    if escaped.startswith("\\\\u"):
        return f"\\u{ord(character):04x}"
    return escaped if "↵" in escaped else character


@settings(deadline=None)
@given(TEXTS)
def test_markdown_shows_the_text_as_it_is(text: str) -> None:
    seen = shown(f"- source: {escape(text)}").removeprefix("source:")
    expected = "".join(map(seen_as, text.replace("\r\n", "\n")))
    assert re.sub(r"\s", "", seen) == re.sub(r"\s", "", expected)


def test_entities_and_tags_are_shown_as_written() -> None:
    assert shown(escape("&lt;b&gt; &amp; <b>x</b>")) == "&lt;b&gt; &amp; <b>x</b>"


def test_frequent_words_of_a_long_text_are_compared_too() -> None:
    text = "x y " * 120  # difflib's autojunk takes what is in more than 1 % of 200 words for noise
    assert word_diff("a " + text, "b " + text) == f"<del>a</del> <ins>b</ins> {text.strip()}"


def test_characters_that_turn_text_are_shown_by_their_numbers() -> None:
    assert shown(escape("a\u202eb\u2066c\x00\ufeff")) == "a\\u202eb\\u2066c\\u0000\\ufeff"
    assert escape("क्\u200dष") == "क्\u200dष"
    escape("\ud800").encode()


def test_the_lowest_come_first_and_what_is_right_is_not_among_them() -> None:
    rows = [
        Row("One", "Un compte"),
        Row("Two", "Deux comptes"),
        Row("Three", "Trois comptes"),
        Row("Four", "Quatre"),
    ]
    text = worst_segments(rows, answers("Un compte ", "Deux compte", "xyz", "zyx"))
    assert re.findall(r"^\d\. chrF\+\+ [\d.]+, en to fr\n   - source: (\w+)$", text, re.M) == [
        "Three",
        "Four",
        "Two",
    ]
    assert "   - difference: <del>Trois comptes</del><ins>xyz</ins>\n" in text
    limited = worst_segments(rows, answers("Un compte ", "Deux compte", "xyz", "zyx"), count=1)
    assert "source: Three" in limited
    assert "source: Four" not in limited


def test_where_nothing_is_wrong_no_row_is_shown() -> None:
    assert worst_segments([Row("One", "Un")], answers("Un")) == "Every answer equals its reference.\n"


def test_right_to_left_text_is_isolated() -> None:
    text = worst_segments([Row("Delete (1)", "حذف الحساب", "ar")], answers("حذف"))
    assert re.search("difference: \u2067[^\u2069\n]+\u2069\n", text)
    assert "source: Delete (1)\n" in text
    text = worst_segments([Row("Delete", "Supprimer")], answers("حذف"))
    assert re.search("difference: \u2068[^\u2069\n]+\u2069\n", text)


def test_a_row_cannot_write_into_the_report() -> None:
    evil = "a\n\n# Passed\n\n| x |\n|---|\n<script>alert(1)</script> ![p](http://x.example/p.png)\n1. b"
    page = MarkdownIt("commonmark", {"html": True}).render(worst_segments([Row(evil, evil)], answers("x")))
    assert not re.search("<(script|img|table|a|h1|h2)[ >]", page)
    assert not re.search("<h[1-6]>", page)
    assert page.count("<ol>") == 1


def test_long_texts_are_cut_and_say_so() -> None:
    diff = word_diff("a " * 5000, "b " * 10)
    assert len(diff) < 5000
    assert diff.endswith("… (1000 of 10000 characters of the reference)")
