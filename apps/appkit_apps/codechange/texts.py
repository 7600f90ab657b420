"""Writes texts of diffs and models as HTML; what cannot be seen, such as a turn of the writing direction, is marked."""

from __future__ import annotations

import re
from collections.abc import Sequence

from appkit_apps.markup import show

__all__ = ["write_answer", "write_runs", "write_visible", "write_words"]

HIDDEN = re.compile(
    "([\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e007f])"
)
"""control and format characters, with those that turn the direction of writing; no tab, no line feed"""
PICTURES = 0x2400
"""where Unicode has the pictures of the control characters"""
SIGNS = {"-": "del", "+": "ins"}


def write_visible(text: str, most: int | None = None) -> str:
    """Escapes a text and marks the characters that one cannot see. most: characters that are shown."""
    cut = "" if most is None or len(text) <= most else "…"
    pieces = HIDDEN.split(text[:most])
    return "".join(_mark(piece) if place % 2 else show(piece) for place, piece in enumerate(pieces)) + cut


def write_runs(runs: Sequence[Sequence[str]]) -> str:
    """Writes runs of [class, text]; the class is a word of the pack's tool."""
    return "".join(
        f'<span class="{show(name)}">{write_visible(text)}</span>' if name else write_visible(text)
        for name, text in runs
    )


def write_words(runs: Sequence[Sequence[str]]) -> str:
    """Writes runs of [sign, text]: removed words as `del`, added ones as `ins`."""
    return "".join(
        f"<{SIGNS[sign]}>{write_visible(text)}</{SIGNS[sign]}>" if sign in SIGNS else write_visible(text)
        for sign, text in runs
    )


def write_answer(title: str, body: str, note: str = "", below: str = "") -> str:
    """Writes an answer in a box. body, below: HTML; note: what is said of it, as text."""
    said = f'<p class="note">{show(note)}</p>' if note else ""
    text = f'<p class="prose" dir="auto">{body}</p>' if body else '<p class="note">nothing</p>'
    return f'<section class="answer"><h2>{show(title)}</h2>{text}{said}{below}</section>'


def _mark(char: str) -> str:
    """Marks a character that one cannot see: by its picture, else by its number."""
    code = ord(char)
    if code < 0x20 or code == 0x7F:
        return f"<mark>{chr(PICTURES + (code if code < 0x20 else 0x21))}</mark>"
    return f"<mark>U+{code:04X}</mark>"
