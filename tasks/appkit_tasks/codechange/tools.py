"""Answers what pages and clients ask about changes, at `/v1/tasks/{alias}/tools/{name}`.

Tools are plain functions of JSON values: the gateway makes a request model of each signature. They know no options of
a bundle. What cannot be done raises a ValueError of one line. The length of texts bounds the work, and a diff's files,
hunks and lines are given up to `MAX_LINES`.
"""

from __future__ import annotations

import re
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Annotated, Any

from pydantic import Field

from appkit_tasks.codechange.diffs import Change, File, Hunk, parse
from appkit_tasks.codechange.languages import language_of
from appkit_tasks.codechange.remarks import LONGEST_PATH, Remark, parse_remarks
from appkit_tasks.codechange.secrets import mask
from appkit_tasks.codechange.view import WIDEST, describe_file, render

__all__ = ["TOOLS", "diff", "remarks", "view", "words"]

MAX_CHARS = 200_000
"""characters of a diff"""
MAX_ANSWER = 20_000
"""characters of an answer, as rows have it"""
MAX_COMMENT = 4000
"""characters of a comment that is compared: the time grows with the square of its words"""
MAX_LINES = 3000
"""files, hunks and lines of a diff that are given; the others are counted"""
MAX_WIDTH = 1000
"""characters of a line that are given; a wider one is data, and its hunk gets no colours"""
MAX_HEAD = 500
"""characters of what is said of a file, and of a hunk's section"""
MAX_COLOURED = 80_000
"""characters of a diff that get colours"""
MAX_SIDE = 20_000
"""characters of a hunk that gets colours"""
MAX_SECONDS = 2.0
"""what comes later gets no colours: some lexers take the square of a text that was made for it"""

Diff = Annotated[str, Field(max_length=MAX_CHARS)]
Answer = Annotated[str, Field(max_length=MAX_ANSWER)]
Comment = Annotated[str, Field(max_length=MAX_COMMENT)]
Run = list[str]
"""a class, "" for none, and the text that has it"""

COLOURS = {
    "Token.Comment": "comment",
    "Token.Comment.Preproc": "keyword",
    "Token.Keyword": "keyword",
    "Token.Operator.Word": "keyword",
    "Token.Literal.String": "string",
    "Token.Literal.Number": "number",
    "Token.Keyword.Constant": "number",
    "Token.Name.Attribute": "name",
    "Token.Name.Builtin": "name",
    "Token.Name.Class": "name",
    "Token.Name.Decorator": "name",
    "Token.Name.Function": "name",
    "Token.Name.Tag": "name",
    "Token.Generic.Heading": "keyword",
    "Token.Generic.Subheading": "keyword",
}
"""type of pygments -> class; types below it have it too"""
WORD = re.compile(r"\w+\s*|[^\w\s]\s*|\s+")


def diff(text: Diff) -> dict[str, Any]:
    """Reads a diff for display: its files with a description, their language, hunks and lines, and runs of colours.

    text: the diff with secrets masked, as the model gets it; masked: how many. A run is [class, text], the class one
    of comment, keyword, string, number, name or "". more: characters of a line that are not given. left_out: files,
    hunks and lines that are not given.
    """
    text, masked = mask(text)
    change = parse(text)
    room = _Room()
    files = [_describe(file, room) for file in change.files if room.take(1)]
    hunks = [hunk for file in change.files if not file.submodule for hunk in file.hunks]
    given = [hunk for file in files for hunk in file["hunks"]]
    lines = sum(len(hunk.lines) for hunk in hunks) - sum(len(hunk["lines"]) for hunk in given)
    return {
        "text": text,
        "masked": masked,
        "files": files,
        "left_out": {
            "files": len(change.files) - len(files),
            "hunks": len(hunks) - len(given),
            "lines": lines,
        },
    }


def view(
    text: Diff,
    chars: Annotated[int, Field(ge=200, le=100_000)],
    numbers: bool = False,
    before_after: bool = False,
) -> dict[str, Any]:
    """Writes a change as the model reads it: the text, how many hunks are shown and left out, and notes on those.

    chars, before_after: the options diff_chars and view of the bundle. numbers: as for a review.
    """
    change = parse(mask(text)[0])
    seen = render(change, chars, numbers=numbers, before_after=before_after)
    notes = [*seen.notes]
    lines = [line for file in change.files for hunk in file.hunks for line in hunk.lines]
    wide = sum(len(line.text) > WIDEST for line in lines)
    if wide:
        notes.append(f"(lines cut after {WIDEST} characters: {wide})")
    return {"text": seen.text, "shown": seen.shown, "left_out": seen.left_out, "notes": notes}


def remarks(text: Diff, answer: Answer) -> dict[str, Any]:
    """Reads an answer's remarks and finds their lines in a diff.

    place: number of the file in the diff, from 0; null for none of that name. shown: whether one of the remark's lines
    is in the diff afterwards; below: the last that is, null for none.
    """
    change = parse(text)
    places = _name_places(change)
    numbers = [_number_lines(file) for file in change.files]
    found = [_find(remark, places.get(remark.file, []), numbers) for remark in parse_remarks(answer)]
    return {"remarks": found}


def words(before: Comment, after: Comment) -> dict[str, Any]:
    """Compares two comments by words: each as runs of [sign, text], the sign "-", "+", or " " for what is in both."""
    old, new = WORD.findall(before), WORD.findall(after)
    runs: dict[str, list[Run]] = {"before": [], "after": []}
    for what, old_start, old_end, new_start, new_end in SequenceMatcher(None, old, new).get_opcodes():
        parts = ("before", "-", old[old_start:old_end]), ("after", "+", new[new_start:new_end])
        for side, sign, part in parts:
            if part:
                runs[side].append([" " if what == "equal" else sign, "".join(part)])
    return dict(runs)


@dataclass
class _Room:
    """What may still be given of a diff."""

    lines: int = MAX_LINES
    """files and hunks count as lines"""
    coloured: int = MAX_COLOURED
    """characters"""
    until: float = field(default_factory=lambda: time.monotonic() + MAX_SECONDS)
    """time of the clock that never goes back, until which colours are found"""

    def take(self, lines: int) -> int:
        """Returns how many of the lines there is room for, and takes it."""
        taken = min(lines, self.lines)
        self.lines -= taken
        return taken

    def takes_colours(self, hunk: Hunk) -> bool:
        """Tells whether a hunk gets colours, and takes the room."""
        widths = [len(line.text) for line in hunk.lines]
        length = sum(widths) + len(widths)
        if max(widths, default=0) > MAX_WIDTH or length > min(MAX_SIDE, self.coloured):
            return False
        self.coloured -= length
        return True


def _describe(file: File, room: _Room) -> dict[str, Any]:
    language = language_of(file.path)
    hunks = () if file.submodule else file.hunks
    return {
        "path": file.path[:LONGEST_PATH],
        "description": _shorten(describe_file(file)),
        "language": language,
        "hunks": [_describe_hunk(hunk, language, room) for hunk in hunks if room.take(1)],
    }


def _describe_hunk(hunk: Hunk, language: str, room: _Room) -> dict[str, Any]:
    runs = _plain([line.text for line in hunk.lines])
    if room.takes_colours(hunk):
        runs = _colour_hunk(hunk, language, room.until)
    return {
        "old": hunk.old,
        "new": hunk.new,
        "section": _shorten(hunk.section.strip()),
        "cut": hunk.cut,
        "lines": [
            {
                "sign": line.sign,
                "old": line.old,
                "new": line.new,
                "runs": parts,
                "more": max(len(line.text) - MAX_WIDTH, 0),
                "ends": line.ends,
            }
            for line, parts in zip(hunk.lines[: room.take(len(hunk.lines))], runs, strict=False)
        ],
    }


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_HEAD else f"{text[:MAX_HEAD]}…"


def _plain(lines: Sequence[str]) -> list[list[Run]]:
    return [[["", line[:MAX_WIDTH]]] if line else [] for line in lines]


def _colour_hunk(hunk: Hunk, language: str, until: float) -> list[list[Run]]:
    """Colours the lines of a hunk, each side as one text, so that a string or comment over lines has its colour."""
    before, after = (
        iter(_colour([line.text for line in hunk.lines if line.sign != absent], language, until))
        for absent in "+-"
    )
    lines = []
    for line in hunk.lines:
        old = next(before) if line.sign != "+" else []
        lines.append(next(after) if line.sign != "-" else old)
    return lines


def _colour(lines: Sequence[str], language: str, until: float) -> list[list[Run]]:
    """Cuts lines into runs of one colour.

    An unknown language has none, nor has a text that its lexer changes, or has not read in time.
    """
    # many lexers take the end of a comment for a line end that must be there
    lexer, text = _lexer(language), "".join(f"{line}\n" for line in lines)
    if lexer is None:
        return _plain(lines)
    tokens = []
    # not get_tokens: it makes line feeds of carriage returns, and blanks of tabs
    for _, kind, value in lexer.get_tokens_unprocessed(text):
        if time.monotonic() > until:
            return _plain(lines)
        tokens.append((_find_colour(kind), value))
    if "".join(value for _, value in tokens) != text:
        return _plain(lines)
    return _cut_lines(tokens)[:-1]


def _cut_lines(tokens: Iterable[tuple[str, str]]) -> list[list[Run]]:
    """Cuts tokens at line feeds, and joins neighbours of one class."""
    lines: list[list[Run]] = [[]]
    for colour, value in tokens:
        for number, part in enumerate(value.split("\n")):
            if number:
                lines.append([])
            if part and lines[-1] and lines[-1][-1][0] == colour:
                lines[-1][-1][1] += part
            elif part:
                lines[-1].append([colour, part])
    return lines


@lru_cache(maxsize=64)
def _lexer(language: str) -> Any:
    """Returns the lexer of a language, of pygments; None for one that is not known."""
    from pygments.lexers import get_lexer_by_name  # type: ignore[import-untyped]
    from pygments.util import ClassNotFound  # type: ignore[import-untyped]

    try:
        # PHP's waits for `<?php`, which a hunk seldom has; other lexers do not read the option
        return get_lexer_by_name(language, startinline=True)
    except ClassNotFound:
        return None


@lru_cache(maxsize=512)
def _find_colour(kind: Any) -> str:
    """Finds the class of a token's type: its own, else that of the nearest type above it."""
    return next((COLOURS[name] for part in reversed(kind.split()) if (name := str(part)) in COLOURS), "")


def _number_lines(file: File) -> list[int]:
    """Lists the lines of the file afterwards that its diff shows, in order."""
    return sorted(line.new for hunk in file.hunks for line in hunk.lines if line.new)


def _name_places(change: Change) -> dict[str | None, list[int]]:
    """Maps the names of files, before and afterwards, to their places; None to the only one, where there is one."""
    places: dict[str | None, list[int]] = {None: [0]} if len(change.files) == 1 else {}
    for place, file in enumerate(change.files):
        for name in {file.path, file.old_path} - {""}:
            places.setdefault(name, []).append(place)
    return places


def _find(remark: Remark, places: Sequence[int], numbers: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Describes a remark with its place. places: of the files that it may be about."""
    place, below = places[0] if places else None, None
    first = remark.line or 0
    for candidate in places if first else ():
        at = bisect_right(numbers[candidate], remark.end or first)
        if at and numbers[candidate][at - 1] >= first:
            place, below = candidate, numbers[candidate][at - 1]
            break
    return {
        "file": remark.file,
        "line": remark.line,
        "end": remark.end,
        "severity": remark.severity,
        "text": remark.text,
        "shown": below is not None,
        "place": place,
        "below": below,
    }


TOOLS: dict[str, Callable[..., dict[str, Any]]] = {
    "diff": diff,
    "view": view,
    "remarks": remarks,
    "words": words,
}
