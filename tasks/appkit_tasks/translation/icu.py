"""Reads plural and select arguments of ICU messages: `{count, plural, one {# file} other {# files}}`.

What the branches say is translated; the variable, the type and the keywords are code. Source: ICU MessageFormat.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["CATEGORIES", "Branch", "Choice", "parse_choice"]

CATEGORIES = frozenset({"zero", "one", "two", "few", "many", "other"})
"""of plurals in CLDR; each language has its own among them, and always `other`"""

DEPTH = 12
"""braces in braces; deeper text is no message that a person wrote"""

HEAD = re.compile(
    r"\{\s*(?P<variable>[\w.]{1,60})\s*,\s*(?P<type>plural|select|selectordinal)\s*,"
    r"(?:\s*offset:\s*(?P<offset>\d{1,3}))?"
)
KEYWORD = re.compile(r"\s*(=\d{1,9}|[^\W\d][\w-]{0,60})\s*(?=\{)")
CLOSE = re.compile(r"\s*\}")
BRACE = re.compile(r"'[{}]'|[{}]")


class Branch(NamedTuple):
    """One case of a choice."""

    keyword: str
    """`other`, `=0`, or of a select any word"""
    start: int
    """where its message begins, a character of the whole text"""
    end: int
    """where its message ends, exclusive"""


class Choice(NamedTuple):
    """A plural, select or selectordinal argument."""

    variable: str
    type: str
    offset: str
    """digits, or empty"""
    branches: tuple[Branch, ...]
    end: int
    """where the argument ends in the whole text, exclusive"""


def parse_choice(text: str, start: int) -> Choice | None:
    """Reads the argument that begins at the brace at `start`; None where there is no whole one."""
    head = HEAD.match(text, start)
    if head is None:
        return None
    branches: list[Branch] = []
    at = head.end()
    while keyword := KEYWORD.match(text, at):
        end = _closing(text, keyword.end())
        if end is None:
            return None
        branches.append(Branch(keyword[1], keyword.end() + 1, end))
        at = end + 1
    close = CLOSE.match(text, at)
    if close is None or not branches:
        return None
    return Choice(head["variable"], head["type"], head["offset"] or "", tuple(branches), close.end())


def _closing(text: str, start: int) -> int | None:
    """Finds the brace that closes the one at `start`; None where it is not closed, or too deep."""
    depth = 0
    for match in BRACE.finditer(text, start):
        if match[0] == "{":
            depth += 1
            if depth > DEPTH:
                return None
        elif match[0] == "}":
            depth -= 1
            if depth == 0:
                return match.start()
    return None
