"""Words of texts: what is one word, and that offsets are those of Python strings."""

from __future__ import annotations

import re

import pytest
from appkit_tasks.ner.words import locate, split
from hypothesis import given
from hypothesis import strategies as st


def words(text: str) -> list[str]:
    return [text[start:end] for start, end in split(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ada sleeps.", "Ada|sleeps|."),
        ("12kg for $5, £1.4m", "12|kg|for|$|5|,|£|1|.|4|m"),
        ("Ruth's Tolmere-based @ada_l #1", "Ruth|'|s|Tolmere|-|based|@|ada|_|l|#|1"),
        ("10–15 m² ½", "10|–|15|m²|½"),
        ("naïve cafe\u0301 Pöhl", "naïve|cafe\u0301|Pöhl"),
        ("नमस्ते दिल्ली", "नमस्ते|दिल्ली"),
        ("שָׁלוֹם לעולם", "שָׁלוֹם|לעולם"),
        ("مَرْحَبًا بالعالم", "مَرْحَبًا|بالعالم"),
        ("می\u200cخواهم Do\u00adnau", "می\u200cخواهم|Do\u00adnau"),
        ("\u200fשלום\u200f", "\u200f|שלום|\u200f"),
        ("東京に行く", "東|京|に|行|く"),
        ("서울에서", "서|울|에|서"),
        ("ไปกรุงเทพ", "ไ|ป|ก|รุ|ง|เ|ท|พ"),
        ("2019年", "2019|年"),
    ],
)
def test_words(text: str, expected: str) -> None:
    assert words(text) == expected.split("|")


@pytest.mark.parametrize(
    "emoji",
    [
        "😂",
        "👍🏽",
        "👩🏽\u200d🚀",
        "👨\u200d👩\u200d👧",
        "❤\ufe0f\u200d🔥",
        "🇬🇧",
        "1\ufe0f\u20e3",
        "🏴\U000e0067\U000e0062\U000e007f",
    ],
)
def test_an_emoji_is_one_word_whatever_it_is_made_of(emoji: str) -> None:
    assert words(f"{emoji}Ada {emoji}") == [emoji, "Ada", emoji]


def test_flags_in_a_row_are_words_apart() -> None:
    assert words("🇬🇧🇫🇷") == ["🇬🇧", "🇫🇷"]


@pytest.mark.parametrize("space", [" ", "\n", "\t", "\xa0", "\u3000", "\u2028", "\x85"])
def test_space_is_in_no_word_but_counts_in_offsets(space: str) -> None:
    assert split(f"{space}{space}Ada{space}b") == [(2, 5), (6, 7)]


def test_a_mark_without_a_letter_is_a_word() -> None:
    assert words("\u0301 x") == ["\u0301", "x"]


@given(st.text())
def test_words_ascend_and_leave_out_nothing_but_space(text: str) -> None:
    at = 0
    for start, end in split(text):
        assert at <= start < end
        assert not text[at:start].strip()
        assert not re.search(r"\s", text[start:end])
        at = end
    assert not text[at:].strip()


@given(st.lists(st.text(min_size=1).filter(lambda text: text == text.strip() and text), min_size=1))
def test_tokens_are_found_in_their_joined_text(tokens: list[str]) -> None:
    text = " ".join(tokens)
    assert [text[start:end] for start, end in locate(text, tokens)] == tokens


def test_tokens_are_found_where_no_space_is_between() -> None:
    assert locate("  It's  5 ", ["It", "'s", "5"]) == [(2, 4), (4, 6), (8, 9)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Ada slept", r"has 'slept' at character 4, where token 2 is 'sleep'; leave the text out"),
        ("Ada", r"has '' at character 3, where token 2 is 'sleep'"),
        ("Ada sleep s", r"goes on after the last token with 's'"),
    ],
)
def test_tokens_of_another_text_are_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        locate(text, ["Ada", "sleep"])
