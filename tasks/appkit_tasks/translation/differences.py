"""Writes the worst translations for the report, each as a word diff of reference and answer.

It shows rows: it belongs into the report of the run, never into that of a bundle.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from appkit_tasks.translation.metrics import Segment, sentence_chrf
from appkit_tasks.translation.words import JOINERS, SPACELESS

if TYPE_CHECKING:
    from appkit.task import Prediction

__all__ = ["WORST", "escape", "word_diff", "worst_segments"]

WORST = 8
"""segments shown"""

SHOWN = 1000
"""characters of a text that are shown"""

SPECIAL = re.compile(r"[\\`*_\[\]~|$]")
ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
LINE_BREAK = "↵"

RIGHT_TO_LEFT_ISOLATE, FIRST_STRONG_ISOLATE, END_ISOLATE = "\u2067", "\u2068", "\u2069"


def worst_segments(rows: Sequence[Segment], predictions: Sequence[Prediction], count: int = WORST) -> str:
    """Writes Markdown on the answers of the lowest chrF++, lowest first, then in the order of the rows.

    Answers that equal their references are not shown.
    """
    scored = [
        (sentence_chrf(prediction.answer, row.target), place)
        for place, (row, prediction) in enumerate(zip(rows, predictions, strict=True))
        if prediction.answer.strip() != row.target.strip()
    ]
    if not scored:
        return "Every answer equals its reference.\n"
    parts = [
        "Lowest chrF++ first. <del>Words of the reference</del> that the answer lacks, <ins>words of the answer</ins> "
        "that the reference lacks; space does not count.\n",
    ]
    for number, (score, place) in enumerate(sorted(scored)[:count], 1):
        row = rows[place]
        source = _isolate(escape(row.source), row.source_language)
        difference = _isolate(word_diff(row.target, predictions[place].answer), row.target_language)
        parts.append(
            f"{number}. chrF++ {score:.1f}, {row.source_language} to {row.target_language}\n"
            f"   - source: {source}\n   - difference: {difference}\n"
        )
    return "\n".join(parts)


def word_diff(reference: str, answer: str) -> str:
    """Writes a text in Markdown with `<del>` around words of the reference and `<ins>` around those of the answer."""
    ours, theirs = _words(reference[:SHOWN]), _words(answer[:SHOWN])
    matcher = difflib.SequenceMatcher(
        None, [word.strip(" \t") for word in ours], [word.strip(" \t") for word in theirs], autojunk=False
    )
    parts = []
    for operation, start, end, their_start, their_end in matcher.get_opcodes():
        common = "".join(theirs[their_start:their_end])
        if operation == "equal":
            parts.append(escape(common))
            continue
        parts += [_mark("del", "".join(ours[start:end])), _mark("ins", common)]
    cut = [
        f"{len(text)} characters of the {name}"
        for name, text in (("reference", reference), ("answer", answer))
        if len(text) > SHOWN
    ]
    return "".join(parts).strip() + (f" … ({SHOWN} of {' and of '.join(cut)})" if cut else "")


def _mark(tag: str, text: str) -> str:
    """Encloses a text without the space after it."""
    end = len(text.rstrip(" \t\xa0\u202f"))
    return f"<{tag}>{escape(text[:end])}</{tag}>{text[end:]}" if end else text


@lru_cache(maxsize=1)
def _pattern() -> Any:
    import regex

    letter = rf"[[\p{{L}}\p{{M}}\p{{N}}_{JOINERS}]--[{SPACELESS}]]"
    space = r"[^\S\r\n]*"
    return regex.compile(
        rf"(?V1)\r?\n{space}|(?:{letter}+|[{SPACELESS}][\p{{M}}{JOINERS}]*|\S|^\s){space}|\s"
    )


def _words(text: str) -> list[str]:
    """Splits a text into words, signs and line breaks, each with the space after it; joined they are the text."""
    words: list[str] = _pattern().findall(text)
    return words


def escape(text: str) -> str:
    """Writes a text so that Markdown shows it as it is, in one line.

    Line breaks become ↵, and characters that are not seen but change what is, such as U+202E, their numbers.
    """
    return "".join(map(_escape_character, text.replace("\r\n", "\n")))


@lru_cache(maxsize=1 << 14)
def _escape_character(character: str) -> str:
    if character in ENTITIES:
        return ENTITIES[character]
    if SPECIAL.match(character):
        return "\\" + character
    if character == "\t" or unicodedata.category(character) == "Zs":
        return character if character in "\xa0\u202f" else " "
    if character in "\n\r\x0b\x0c\x85\u2028\u2029":
        return f"{LINE_BREAK} "
    if unicodedata.category(character) in ("Cc", "Cf", "Cs") and character not in "\u200c\u200d\u00ad":
        return f"\\\\u{ord(character):04x}"
    return character


def _isolate(text: str, language: str | None) -> str:
    """Keeps right-to-left text from turning what stands beside it (Unicode annex 9)."""
    from appkit_tasks.translation.languages import is_right_to_left

    if language and is_right_to_left(language):
        return f"{RIGHT_TO_LEFT_ISOLATE}{text}{END_ISOLATE}"
    if any(unicodedata.bidirectional(character) in ("R", "AL") for character in text):
        return f"{FIRST_STRONG_ISOLATE}{text}{END_ISOLATE}"
    return text
