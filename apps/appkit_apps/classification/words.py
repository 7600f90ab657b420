"""Measures how much each word adds to a label's probability, by leaving it out (occlusion, Zeiler and Fergus 2014).

It needs nothing but answers, so it works alike with every engine.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["MOST", "effects", "without_each"]

MOST = 100
"""most words that are left out, one at a time"""


def without_each(text: str) -> tuple[list[str], list[str]]:
    """Returns the words, and the text without each of them.

    Raises ValueError for more than `MOST` words or less than two.
    """
    spans = [match.span() for match in re.finditer(r"\S+", text)]
    if len(spans) < 2:
        raise ValueError("one word alone cannot be left out; write two or more")
    if len(spans) > MOST:
        raise ValueError(f"{len(spans)} words are too many to leave out one by one, the limit is {MOST}")
    words = [text[start:end] for start, end in spans]
    return words, [(text[:start] + text[end:]).strip() for start, end in spans]


def effects(words: Sequence[str], whole: float, without: Sequence[float]) -> list[tuple[str, float]]:
    """Returns (word, what it adds to the label's probability), from -1 to 1."""
    return [(word, whole - share) for word, share in zip(words, without, strict=True)]
