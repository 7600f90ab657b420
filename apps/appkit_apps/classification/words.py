"""Which words a label rests on: how its probability falls when a word is left out (occlusion, Zeiler and Fergus 2014).

It takes nothing but answers, so that it tells the same of every engine.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["MOST", "effects", "without_each"]

MOST = 100
"""words that are tried"""


def without_each(text: str) -> tuple[list[str], list[str]]:
    """The words, and the text without each of them. Raises ValueError for more than `MOST` words or less than two."""
    spans = [match.span() for match in re.finditer(r"\S+", text)]
    if len(spans) < 2:
        raise ValueError("one word alone cannot be left out; write two or more")
    if len(spans) > MOST:
        raise ValueError(f"{len(spans)} words are too many to leave out one by one, the limit is {MOST}")
    words = [text[start:end] for start, end in spans]
    return words, [(text[:start] + text[end:]).strip() for start, end in spans]


def effects(words: Sequence[str], whole: float, without: Sequence[float]) -> list[tuple[str, float]]:
    """(word, what it adds to the label's probability), from -1 to 1."""
    return [(word, whole - left) for word, left in zip(words, without, strict=True)]
