"""Splits texts into pieces that a model takes in, and reads and writes plain text files.

What stands between the pieces is kept, so that a text comes back byte for byte, translated or not.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Literal, Protocol

from appkit_tasks.translation.formats.encoding import Raw
from appkit_tasks.translation.formats.segments import Counts, Document, Edit, Plan, Segment, Translation
from appkit_tasks.translation.spans import find

__all__ = [
    "LIMIT",
    "Block",
    "Pieces",
    "column_count",
    "has_words",
    "make_document",
    "open_text",
    "require_text",
    "segment",
    "unwrap",
    "wrap",
]

LIMIT = 600
"""characters of a piece, about 150 tokens of English: longer ones are split at the ends of sentences"""

NARROWEST = 40
"""columns; texts of narrower lines are lists or verse, not wrapped prose"""

LINE_BREAKS = "\r\n\x85\u2028\u2029"
SPACE = re.compile(r"\s+")
SENTENCE_END = re.compile(
    r"(?<![.!?…؟۔।॥።։])[.!?…؟۔।॥።։]+[\"'”’»)\]*_]*(?=\s)"  # with space behind it
    r"|[。！？｡]+[」』）”’]*"
)
SENTENCE_SIGNS = frozenset(".!?…:;؟۔।॥።։。！？｡：；")
CLAUSE_END = re.compile(r"[;:,،؛](?=\s)|[；：，、]")
ABBREVIATION = re.compile(
    r"(?:^|[\s(\[])(?:[^\W\d_]|[Dd]r|[Mm]rs?|[Mm]s|[Pp]rof|St|[Nn]o|[Nn]r|vs|etc|ca|cf|approx|[Ff]ig|[Vv]ol|[Pp]p?"
    r"|bzw|usw|evtl|ggf|vgl|Abs|Art|env|[Cc]hap|e\.g|i\.e|z\.B|d\.h|u\.a|p\.ex|[Mm]me|[Mm]lle|[Ss]r|[Ss]ra)\Z"
)
"""what a dot at the end of does not end a sentence; single letters are initials"""


@dataclass(frozen=True)
class Pieces:
    """A text in pieces, with the white space between them."""

    texts: tuple[str, ...]
    """without white space at their ends; a line break inside one only wraps prose"""
    between: tuple[str, ...]
    """what stands before, between and behind the pieces: one more than `texts`"""

    def join(self, texts: Sequence[str]) -> str:
        """Puts pieces, as they are or translated, where those of the text were."""
        if len(texts) != len(self.texts):
            raise ValueError(f"a text of {len(self.texts)} pieces needs as many, got {len(texts)}")
        joined = [part for pair in zip(self.between, texts, strict=False) for part in pair]
        return "".join([*joined, self.between[-1]])


def segment(text: str, limit: int = LIMIT) -> Pieces:
    """Splits a text into lines, and lines of more than `limit` characters into sentences that fit together.

    Lines that only wrap prose stay together. A sentence that is longer than `limit` is split behind a clause, else
    between words; a word never is, nor a placeholder, tag, URL or code. `segment(text).join(texts of it) == text`.
    """
    if limit < 1:
        raise ValueError(f"limit must be at least 1 character, got {limit}")
    may_be_cut = len(text) > limit or any(sign in text for sign in LINE_BREAKS)
    spans = [(span.start, span.end) for span in find(text)] if may_be_cut else []
    cuts = _line_cuts(text, spans)
    bounds = []
    for start, end in _between(cuts, len(text)):
        if end - start > limit:
            bounds += _between(_sentence_cuts(text, start, end, spans, limit), end, start)
        elif end > start:
            bounds.append((start, end))
    texts = tuple(text[start:end] for start, end in bounds)
    edges = [0, *(place for bound in bounds for place in bound), len(text)]
    between = tuple(text[edges[place] : edges[place + 1]] for place in range(0, len(edges), 2))
    return Pieces(texts, between)


def _between(cuts: Sequence[tuple[int, int]], end: int, start: int = 0) -> list[tuple[int, int]]:
    """Lists what lies between cuts, which are sorted; nothing where two meet."""
    result = []
    for cut_start, cut_end in [*cuts, (end, end)]:
        if cut_start > start:
            result.append((start, cut_start))
        start = cut_end
    return result


def _line_cuts(text: str, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Finds the white space at the text's ends and at line breaks, but where they wrap prose or lie in a span."""
    cuts = []
    inside = _Inside(spans)
    for match in SPACE.finditer(text):
        at_end = not match.start() or match.end() == len(text)
        if at_end or (any(sign in LINE_BREAKS for sign in match[0]) and not inside.holds(match.start())):
            cuts.append(match.span())
    lines = _between(cuts, len(text))
    wraps: set[int] = set()
    first = 0
    for place in range(1, len(lines) + 1):
        # a blank line ends a paragraph
        gap = text[lines[place - 1][1] : lines[place][0]] if place < len(lines) else "\n\n"
        if _break_count(gap) > 1:
            if flows([text[start:end] for start, end in lines[first:place]]):
                wraps.update(end for _, end in lines[first : place - 1])
            first = place
    return [cut for cut in cuts if cut[0] not in wraps]


def _break_count(space: str) -> int:
    return len(re.findall(rf"\r\n|[{LINE_BREAKS}]", space))


class _Inside:
    """Tells whether a place lies in a span; places must be asked for in ascending order."""

    def __init__(self, spans: Sequence[tuple[int, int]]) -> None:
        self._spans, self._at = spans, 0

    def holds(self, place: int) -> bool:
        while self._at < len(self._spans) and self._spans[self._at][1] <= place:
            self._at += 1
        return self._at < len(self._spans) and self._spans[self._at][0] < place


def _sentence_cuts(
    text: str, start: int, end: int, spans: Sequence[tuple[int, int]], limit: int
) -> list[tuple[int, int]]:
    """Cuts text[start:end] into parts of at most `limit` characters, at the best places there are."""
    ranked: list[list[tuple[int, int]]] = []
    for pattern in (SENTENCE_END, CLAUSE_END, SPACE):
        inside, cuts = _Inside(spans), []
        for match in pattern.finditer(text, start, end):
            if pattern is SENTENCE_END and match[0][0] == "." and _abbreviates(text, match.start()):
                continue
            space = match if pattern is SPACE else SPACE.match(text, match.end(), end)
            cut = space.span() if space else (match.end(), match.end())
            if start < cut[0] and cut[1] < end and not inside.holds(cut[0]):
                cuts.append(cut)
        ranked.append(cuts)
    return _pack(start, end, ranked, limit)


def _abbreviates(text: str, dot: int) -> bool:
    return ABBREVIATION.search(text, max(dot - 8, 0), dot) is not None


def _pack(
    start: int, end: int, ranked: Sequence[Sequence[tuple[int, int]]], limit: int
) -> list[tuple[int, int]]:
    """Fills parts up to `limit`: cuts at the last place of the first rank that has one within it, else at the next."""
    chosen: list[tuple[int, int]] = []
    starts = [[cut[0] for cut in cuts] for cuts in ranked]
    while end - start > limit:
        cut = None
        for cuts, places in zip(ranked, starts, strict=True):
            last = bisect_right(places, start + limit) - 1
            if last >= 0 and places[last] > start:
                cut = cuts[last]
                break
        else:
            after = [
                cuts[place]
                for cuts, places in zip(ranked, starts, strict=True)
                if (place := bisect_right(places, start)) < len(cuts)
            ]
            if not after:
                break
            cut = min(after)
        chosen.append(cut)
        start = cut[1]
    return chosen


def has_words(text: str) -> bool:
    """Tells whether anything is to be translated: a letter outside placeholders, tags, URLs and code."""
    at = 0
    for span in find(text):
        if any(map(str.isalpha, text[at : span.start])) or span.kind == "icu":
            return True
        at = span.end
    return any(map(str.isalpha, text[at:]))


def _is_wide(sign: str) -> bool:
    """Tells whether a sign is of a script that writes no space at a line's end; Hangul does."""
    return unicodedata.east_asian_width(sign) in "WF" and not "\uac00" <= sign <= "\ud7a3"


def column_count(text: str) -> int:
    """Counts columns: two for a wide sign, none for a combining one."""
    if text.isascii():
        return len(text)
    return sum(
        (unicodedata.east_asian_width(sign) in "WF") + (not unicodedata.combining(sign)) for sign in text
    )


def flows(lines: Sequence[str]) -> bool:
    """Tells whether lines wrap one paragraph: each but the last is full, and a sentence runs on over a line's end."""
    if len(lines) < 2:
        return False
    widest = max(map(column_count, lines))
    if widest < NARROWEST or any(re.search(r"\S(?: {3,}|\t)\S", line) for line in lines):  # a table
        return False
    runs_on = False
    for line, following in pairwise(lines):
        words = following.split(maxsplit=1)
        if re.match(r"[-*•+>#|]\s|\d{1,3}[.)]\s", following):
            return False
        first = column_count(words[0]) if not _is_wide(following[0]) else 2
        if column_count(line) + 1 + first <= widest:
            return False
        runs_on = runs_on or line.rstrip("\"'”’»)]*_」』）")[-1:] not in SENTENCE_SIGNS
    return runs_on


def unwrap(text: str) -> str:
    """Writes a wrapped paragraph on one line; between signs of scripts without spaces none is added."""

    def glue(space: re.Match[str]) -> str:
        if not any(sign in LINE_BREAKS for sign in space[0]):
            return space[0]
        before, behind = text[: space.start()][-1:], text[space.end() :][:1]
        return "" if before and behind and _is_wide(before) and _is_wide(behind) else " "

    return SPACE.sub(glue, text)


def wrap(text: str, width: int) -> list[str]:
    """Breaks a line at single spaces into lines of at most `width` columns, where words allow."""
    lines, line = [], ""
    for word in text.split(" "):
        if line and column_count(line) + 1 + column_count(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return [*lines, line]


@dataclass(frozen=True)
class Block:
    """A text in a file: a line, part of one, or lines that wrap a paragraph."""

    line: int
    """number of its first line, from 1"""
    spans: tuple[tuple[int, int], ...]
    """bytes of its lines, without indentation, marks such as those of quotes, and white space at their ends"""
    form: Literal["text", "heading", "cell"] = "text"
    """of Markdown: | ends the cell of a table, and `#` a heading"""

    def lines(self, data: bytes) -> list[str]:
        return [data[start:end].decode() for start, end in self.spans]

    def edit(self, data: bytes, lines: Sequence[str]) -> Edit:
        """Replaces its lines; each new one begins as the second of the old ones does."""
        glue = b""
        if len(self.spans) > 1:
            glue = data[self.spans[0][1] : self.spans[1][0]].lstrip(b" \t")
        return Edit(self.spans[0][0], self.spans[-1][1], glue.join(line.encode() for line in lines))


class Refuse(Protocol):
    """Says why a translation cannot stand where its source does; "" if it can."""

    def __call__(self, block: Block, source: str, lines: Sequence[str]) -> str: ...


def make_document(
    path: Path,
    raw: Raw,
    blocks: Sequence[Block],
    counts: Counts,
    languages: tuple[str, str],
    refuse: Refuse | None = None,
) -> Document:
    """Makes a document of blocks of text; those without words, such as `---`, are passed over.

    languages: source and target. refuse: on the lines of a translation; wrapped ones are asked for on one line too.
    """
    segments, used = [], []
    for block in blocks:
        text = unwrap("\n".join(block.lines(raw.data)))
        if not has_words(text):
            counts.leave_out("no words", f"line {block.line}")
            continue
        used.append(block)
        place = f"line {block.line}"
        segments.append(
            Segment(
                place, text, source_language=languages[0], target_language=languages[1], document=path.name
            )
        )
    return Document(path, tuple(segments), counts, raw, partial(_plan, raw.data, used, segments, refuse))


def _plan(
    data: bytes,
    blocks: Sequence[Block],
    segments: Sequence[Segment],
    refuse: Refuse | None,
    translations: Mapping[int, Translation],
) -> Plan:
    plan = Plan()
    for index, translation in translations.items():
        block, text = blocks[index], translation.text
        if any(sign in text for sign in "\r\n"):
            plan.refused[index] = "the translation has a line break where the source has none"
            continue
        widest = max(map(column_count, block.lines(data)))
        candidates = [[text]] if len(block.spans) == 1 else [wrap(text, widest), [text]]
        reasons = [refuse(block, segments[index].source, lines) if refuse else "" for lines in candidates]
        if all(reasons):
            plan.refused[index] = reasons[-1]
            continue
        plan.edits.append(block.edit(data, candidates[reasons.index("")]))
        if translation.doubtful:
            plan.doubts[index] = translation.reason
    return plan


def open_text(path: Path, source_language: str, target_language: str) -> Document:
    """Opens a text file: each line is a segment, but where lines wrap one paragraph.

    Raises ValueError for a file that is not text.
    """
    raw = Raw.read(path)
    require_text(raw)
    blocks: list[Block] = []
    paragraph: list[tuple[int, int]] = []
    at = first = 0
    for number, line in enumerate([*raw.lines(), b""], 1):
        inner = line.strip()
        if inner:
            first = first if paragraph else number
            start = at + line.index(inner)
            paragraph.append((start, start + len(inner)))
        elif paragraph:
            lines = [raw.data[start:end].decode() for start, end in paragraph]
            if flows(lines):
                blocks.append(Block(first, tuple(paragraph)))
            else:
                blocks += [Block(first + place, (span,)) for place, span in enumerate(paragraph)]
            paragraph = []
        at += len(line)
    return make_document(path, raw, blocks, Counts(), (source_language, target_language))


def require_text(raw: Raw) -> None:
    """Raises ValueError for a file with NUL characters, which is binary, or UTF-16 without byte order mark."""
    if b"\0" in raw.data:
        raise ValueError("it holds NUL characters, so it is no text in UTF-8; convert it to UTF-8")
