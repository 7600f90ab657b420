"""Reads and writes the answers of a review: remarks with their places.

An answer is lines of `Line [FILE:]NUMBER[-END]: [SEVERITY: ]TEXT`, and `No remark.` where nothing is to be said:
the first word decides, so that a model weighs a remark against none, not each of many numbers. The word `Line` may
lack. A remark without a place is its text alone. Further lines of a text are indented. `: TEXT` has no place, and
`Line 12: : TEXT` no severity: so are texts written that would be read as one. A file whose name has spaces, or
could be taken for something else, is written as a JSON string.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "LAST_LINE",
    "LONGEST_PATH",
    "NO_REMARK",
    "SEVERITIES",
    "Remark",
    "Remarks",
    "parse_remarks",
    "render_remarks",
]

NO_REMARK = "No remark."
"""the whole answer where there is nothing to remark"""

SEVERITIES = ("error", "warning", "note")
"""the severities of a remark, the worst first"""

LAST_LINE = 9_999_999
"""the highest number of a line; a longer one is text"""

LONGEST_PATH = 4096
"""characters that a file's path may have"""

_INDENT = "  "


@dataclass(frozen=True)
class Remark:
    """One remark of a review.

    Raises ValueError for a place that the written form cannot say, and for a remark without text and place.
    """

    text: str
    """what is said; space around it and at the ends of its lines is removed, CRLF is LF"""
    file: str | None = None
    """path as the diff writes it; None where the diff has one file"""
    line: int | None = None
    """first line, counted from 1; None: the remark has no place"""
    end: int | None = None
    """last line; None: the remark is about one line"""
    severity: str | None = None
    """one of SEVERITIES; None: not said"""

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", _clean(self.text))
        if self.line is None:
            if self.file is not None or self.end is not None or self.severity is not None:
                raise ValueError(
                    "a remark with a file, an end or a severity needs a line; give one, or leave them out"
                )
            if not self.text:
                raise ValueError("a remark needs a text or a line, got neither")
            return
        last = self.line if self.end is None else self.end
        if not 1 <= self.line <= last <= LAST_LINE:
            raise ValueError(f"lines must ascend and be in 1..{LAST_LINE}, got {self.line} to {last}")
        if self.severity not in (None, *SEVERITIES):
            raise ValueError(f"severity must be one of {', '.join(SEVERITIES)}, got {self.severity!r}")
        if self.file is not None and not 1 <= len(self.file) <= LONGEST_PATH:
            raise ValueError(f"a file's path must have 1..{LONGEST_PATH} characters, got {len(self.file)}")


Remarks = tuple[Remark, ...]
"""The remarks of an answer; none for `No remark.`"""


def parse_remarks(text: str) -> Remarks:
    """Reads an answer's remarks, in their order; never raises, and takes time linear in the text.

    `No remark.` has none, nor has a text without signs. A line that begins with a space or tab, or with no
    place, continues the remark above. A severity, in any case, is read only after a place: `Note: …` alone is
    text. A column after the line, as compilers write it, is ignored; a range from high to low is turned.
    """
    if text.strip() == NO_REMARK:
        return ()
    drafts: list[tuple[_Place, list[str]]] = []
    for line in _split(text):
        start = _read_start(line)
        if start:
            drafts.append((start[0], [start[1]]))
        elif drafts:
            drafts[-1][1].append(_INDENTED.sub("", line))
        else:
            drafts.append((_Place(), [line]))
    remarks = ((place, _clean("\n".join(lines))) for place, lines in drafts)
    return tuple(
        Remark(text, place.file, place.line, place.end, place.severity)
        for place, text in remarks
        if text or place.line is not None
    )


def render_remarks(remarks: Sequence[Remark]) -> str:
    """Writes remarks as an answer, which `parse_remarks` reads back as the same, whatever their texts say."""
    return "\n".join(_render(remark, first=not at) for at, remark in enumerate(remarks)) or NO_REMARK


@dataclass(frozen=True)
class _Place:
    """What stands before a remark's text."""

    file: str | None = None
    line: int | None = None
    end: int | None = None
    severity: str | None = None


_LINE_END = re.compile(r"\r\n|\r|\n")
_INDENTED = re.compile(rf"^ {{1,{len(_INDENT)}}}")
_NUMBER = r"[1-9][0-9]{0,6}"
# The file is optional and lazy, so 12:5: is a line and a column, and C:\a.c:12: is a file with a drive.
_PLACE = re.compile(
    r"""(?:[Ll]ines?[ \t]+)?(?:(?:(?P<quoted>"(?:[^"\\]|\\.){1,24576}")|(?P<bare>[^\s":]\S{0,4095}?)):)??"""
    rf"""(?P<line>{_NUMBER})(?:-(?P<end>{_NUMBER}))?(?::[0-9]{{1,7}})?:(?=\s|$)"""
)
_SEVERITY = re.compile(rf"\s+({'|'.join(SEVERITIES)})?:(?=\s|$)", re.IGNORECASE)


def _split(text: str) -> list[str]:
    # not splitlines: it also splits at form feeds and U+2028, which texts may have within a line
    return _LINE_END.split(text)


def _clean(text: str) -> str:
    return "\n".join(line.rstrip() for line in _split(text)).strip()


def _read_start(line: str) -> tuple[_Place, str] | None:
    """Reads a line's place and the rest of it; None for a line that begins no remark."""
    if line[:1] == ":" and not line[1:2].strip():
        return _Place(), line[1:]
    match = _PLACE.match(line)
    if not match:
        return None
    file = match["bare"]
    if match["quoted"]:
        file = _unquote(match["quoted"])
        if file is None:
            return None
    first = int(match["line"])
    last = int(match["end"]) if match["end"] else None
    if last is not None:
        first, last = min(first, last), max(first, last)
    rest = line[match.end() :]
    named = _SEVERITY.match(rest)
    if not named:
        return _Place(file, first, last), rest
    severity = named[1].lower() if named[1] else None
    return _Place(file, first, last, severity), rest[named.end() :]


def _unquote(text: str) -> str | None:
    """Reads a JSON string; None for what is none, and for no possible path."""
    try:
        path = json.loads(text)
    except ValueError:  # quotes of prose
        return None
    return path if 1 <= len(path) <= LONGEST_PATH else None


def _render(remark: Remark, first: bool) -> str:
    line, *others = remark.text.split("\n")
    start = _render_start(remark, line)
    if remark.line is None and first and line != NO_REMARK and not _read_start(line):
        start = ""  # plain text reads best, where it is read as that
    lines = [f"{start} {line}".strip(), *(other and _INDENT + other for other in others)]
    return "\n".join(lines)


def _render_start(remark: Remark, line: str) -> str:
    """Writes what stands before the first line of a remark's text."""
    if remark.line is None:
        return ":"
    place = f"{remark.line}" if remark.end is None else f"{remark.line}-{remark.end}"
    if remark.file is not None:
        place = f"{_quote(remark.file)}:{place}"
    place = f"Line {place}"
    if remark.severity:
        return f"{place}: {remark.severity}:"
    return f"{place}: :" if _SEVERITY.match(f" {line}") else f"{place}:"


def _quote(path: str) -> str:
    """Writes a path as it is if it is read back as that, else as a JSON string."""
    start = _read_start(f"{path}:1:")
    if start == (_Place(path, 1), ""):
        return path
    return json.dumps(path, ensure_ascii=False)
