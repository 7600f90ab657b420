"""Defines what every format reads and writes: segments, translations, and counts of what was left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from appkit_tasks.translation.formats.encoding import Raw, unwritable, write_atomically

__all__ = [
    "Counts",
    "Document",
    "Doubt",
    "Edit",
    "Pairs",
    "Plan",
    "Segment",
    "State",
    "Translation",
    "Written",
]

State = Literal["translated", "untranslated", "doubtful"]
"""doubtful: fuzzy in PO, needs-review in XLIFF and TMX"""


@dataclass(frozen=True)
class Segment:
    """A text that is translated as a whole, with what its file says about it."""

    place: str
    """for messages: "line 12", "unit 'a1'\""""
    source: str
    """white space as in the file; inline elements of XLIFF and TMX as their tags, other text unescaped"""
    target: str = ""
    """written as `source` is; "" when untranslated"""
    state: State = "untranslated"
    context: str = ""
    """tells equal sources apart: msgctxt of PO, resname or name of XLIFF"""
    note: str = ""
    """the file's comments for translators, one a line"""
    source_language: str = ""
    target_language: str = ""
    """both as they were asked for, normalized"""
    document: str = ""
    """the file's name, or the name of the original that it says it holds"""


@dataclass
class Counts:
    """Counts what a reader or writer leaves out; it grows while the file is read."""

    left_out: dict[str, int] = field(default_factory=dict)
    """reason -> how many"""
    first: dict[str, str] = field(default_factory=dict)
    """reason -> place of the first"""
    notes: list[str] = field(default_factory=list)
    """what was assumed or overlooked, a sentence each"""

    def leave_out(self, reason: str, place: str) -> None:
        """Counts one for `reason`; the reason must not hold text of the file, or there is no end of reasons."""
        self.left_out[reason] = self.left_out.get(reason, 0) + 1
        self.first.setdefault(reason, place)

    def note(self, sentence: str) -> None:
        """Adds a sentence unless it is there."""
        if sentence not in self.notes:
            self.notes.append(sentence)


class Translation(NamedTuple):
    """What a segment's target becomes."""

    text: str
    """the whole target, white space at its ends included; "": none was made, and the segment stays as it is"""
    doubtful: bool = False
    reason: str = ""
    """why it is doubtful"""


class Edit(NamedTuple):
    """Replaces bytes start to end (exclusive) of a file's text in UTF-8."""

    start: int
    end: int
    text: bytes


class Doubt(NamedTuple):
    """A segment that was marked for review."""

    place: str
    reason: str


@dataclass(frozen=True)
class Written:
    """Says what `Document.write` did."""

    translated: int
    """segments with a new target, doubtful ones included"""
    doubts: tuple[Doubt, ...]
    """new targets that are marked for review where the format has a mark; .txt and .md have none"""
    counts: Counts
    """translations that were not written"""


class Pairs(Iterator[Segment]):
    """Iterates over the translated segments of a file; `counts` is complete when it is exhausted."""

    def __init__(self, segments: Iterator[Segment], counts: Counts) -> None:
        self._segments, self.counts = segments, counts

    def __next__(self) -> Segment:
        return next(self._segments)


@dataclass(frozen=True)
class Plan:
    """What a format does with translations."""

    edits: list[Edit] = field(default_factory=list)
    doubts: dict[int, str] = field(default_factory=dict)
    """index of a segment -> why its new target is marked for review"""
    refused: dict[int, str] = field(default_factory=dict)
    """index of a segment -> why its translation is not written"""


@dataclass(frozen=True)
class Document:
    """A file that can be written again with translations in it; what is not translated keeps its bytes."""

    path: Path
    segments: tuple[Segment, ...]
    """what a translator sees, in the file's order"""
    counts: Counts
    """what a translator does not see"""
    raw: Raw
    plan: Callable[[Mapping[int, Translation]], Plan]
    """translations that are not empty and can be encoded, in order -> the edits that write them"""
    is_xml: bool = False
    """so that characters which its encoding lacks can be written as references"""

    def write(self, path: Path, translations: Mapping[int, Translation]) -> Written:
        """Writes the file with `translations` (index of a segment -> its target) to `path`, which may be the same.

        The file is replaced in one step: a reader sees the old or the new one, whole. Raises ValueError for an index
        without a segment, or if `path` cannot be written.
        """
        if wrong := [index for index in translations if not 0 <= index < len(self.segments)]:
            raise ValueError(
                f"{self.path} has {len(self.segments)} segments, got a translation for number {wrong[0]}; count from 0"
            )
        counts = Counts()
        writable = {}
        for index in sorted(translations):
            text = translations[index].text
            reason = (
                unwritable(text, self.raw.encoding.name, self.is_xml) if text else "the translation is empty"
            )
            if reason:
                counts.leave_out(reason, self.segments[index].place)
            else:
                writable[index] = translations[index]
        plan = self.plan(writable)
        for index, reason in plan.refused.items():
            counts.leave_out(reason, self.segments[index].place)
        content = self.raw.encode(_apply(self.raw.data, plan.edits), self.is_xml)
        try:
            write_atomically(path, content, self.path)
        except OSError as error:
            raise ValueError(f"{path} cannot be written: {error.strerror}; choose another place") from None
        doubts = [Doubt(self.segments[index].place, reason) for index, reason in plan.doubts.items()]
        return Written(len(writable) - len(plan.refused), tuple(doubts), counts)


def _apply(data: bytes, edits: list[Edit]) -> bytes:
    """Replaces parts of `data`; edits must not overlap. Those at one place are made in their order."""
    pieces, at = [], 0
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        pieces += [data[at : edit.start], edit.text]
        at = edit.end
    return b"".join([*pieces, data[at:]])
