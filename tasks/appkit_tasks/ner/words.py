"""Finds the words of a text. Offsets are indices of Python `str`, ends exclusive.

Each word gets one tag, so no entity can begin or end inside a word. Texts are split finely for that reason:
letters apart from digits (`12kg`), each sign alone (`$5`, `Ruth's`, `Tolmere-based`, `@ada_l`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache

__all__ = ["locate", "split"]

JOINERS = "\u00ad\u200c\u200d"
"""soft hyphen, zero width non-joiner and joiner: no sign of their own, they stay with what is before them"""

UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Myanmar, Khmer
    "\u3005-\u3007\u3040-\u312f\u31f0-\u31ff\uff66-\uff9d"  # kana, Bopomofo
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    "\uac00-\ud7a3"  # Hangul: particles are written to the name, 서울에서
)
"""Scripts that put no space around a name; each of their characters is a word."""

SPACE = re.compile(r"\s*")


@lru_cache(maxsize=1)
def _word() -> re.Pattern[str]:
    """Compiles the pattern of one word. Combining marks belong to the sign before them; `re` has no class for them."""
    marks = _ranges(
        code
        for block in (range(0x300, 0x1F000), range(0xE0100, 0xE01F0))  # no mark lies outside
        for code in block
        if unicodedata.category(chr(code)).startswith("M")
    )
    mark = f"[{marks}{JOINERS}]"
    letter = rf"[^\W\d_{UNSPACED}]"
    # of emoji: skin tones, and the letters that make a flag of a region
    extended = f"[{marks}\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]*"
    return re.compile(
        rf"[{UNSPACED}]{mark}*"
        rf"|{letter}(?:{letter}|{mark})*"
        rf"|\d(?:\d|{mark})*"
        r"|[\U0001f1e6-\U0001f1ff]{2}"  # two letters make a flag
        rf"|\S{extended}(?:\u200d[^\w\s]{extended})*"  # 👩🏽‍🚀: signs tied by joiners are one
    )


def _ranges(codes: Iterable[int]) -> str:
    """Writes ascending code points as the inside of a character class."""
    runs: list[list[int]] = []
    for code in codes:
        if runs and code == runs[-1][1] + 1:
            runs[-1][1] = code
        else:
            runs.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in runs)


def split(text: str) -> list[tuple[int, int]]:
    """Finds start and end of each word: a run of letters, a run of digits, or any other sign but space alone."""
    return [match.span() for match in _word().finditer(text)]


def locate(text: str, tokens: Sequence[str]) -> list[tuple[int, int]]:
    """Finds start and end of each token in `text`, which must be these tokens, with or without space between.

    Raises ValueError for a text that is not.
    """
    spans, at = [], 0
    for place, token in enumerate(tokens, 1):
        at = _after_space(text, at)
        if not text.startswith(token, at):
            raise ValueError(
                f"has {text[at : at + len(token)]!r} at character {at}, where token {place} is {token!r}; leave "
                "the text out (it is then the tokens with a space between), or make both agree"
            )
        spans.append((at, at + len(token)))
        at += len(token)
    at = _after_space(text, at)
    if at < len(text):
        raise ValueError(
            f"goes on after the last token with {text[at : at + 20]!r}; leave the text out (it is then the "
            "tokens with a space between), or make both agree"
        )
    return spans


def _after_space(text: str, at: int) -> int:
    match = SPACE.match(text, at)
    return match.end() if match else at
