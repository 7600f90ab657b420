"""Marks terms, placeholders and faults in a text and its translation, as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from appkit_apps.markup import show

__all__ = ["Mark", "mark_source", "mark_target", "write_key", "write_side", "write_text"]

LONGEST_NOTE = 80
FAULTS = {"extra": "added", "reordered": "out of order", "unbalanced": "without partner"}
"""what a difference says of spans of the translation -> how the page says it"""


@dataclass(frozen=True)
class Mark:
    """A part of a text that is marked."""

    start: int
    """first character, from 0"""
    end: int
    """one past the last"""
    look: str
    """keep: it must survive; term: it has an entry in the glossary"""
    note: str = ""
    """shown behind it"""
    wrong: bool = False


def mark_source(
    spans: Sequence[Mapping[str, Any]], terms: Sequence[Mapping[str, Any]], difference: Mapping[str, Any]
) -> list[Mark]:
    """Lists the marks of a text: what must survive, lost or not, and its terms with their translations."""
    lost = {(span["start"], span["end"]) for span in difference["missing"]}
    marks = [
        Mark(span["start"], span["end"], "keep", "lost" if is_lost else "", is_lost)
        for span in spans
        for is_lost in ((span["start"], span["end"]) in lost,)
    ]
    for term in terms:
        unused = term["kept"] is False
        note = f"= {' / '.join(term['targets'])}{', not used' if unused else ''}"
        marks += [Mark(start, end, "term", note, unused) for start, end in term["places"]]
    return marks


def mark_target(
    spans: Sequence[Mapping[str, Any]], terms: Sequence[Mapping[str, Any]], difference: Mapping[str, Any]
) -> list[Mark]:
    """Lists the marks of a translation: what survived or came to it, and the terms of the text."""
    faults = {
        (span["start"], span["end"]): word for name, word in FAULTS.items() for span in difference[name]
    }
    marks = [
        Mark(span["start"], span["end"], "keep", fault, bool(fault))
        for span in spans
        for fault in (faults.get((span["start"], span["end"]), ""),)
    ]
    for term in terms:
        marks += [Mark(start, end, "term", f"= {term['source']}") for start, end in term["translated"]]
    return marks


def write_text(text: str, marks: Iterable[Mark]) -> str:
    """Writes a text with its marks; one may lie in another, and one that crosses another is left out."""
    pieces: list[str] = []
    opened: list[Mark] = []
    at = 0

    def write_until(place: int) -> None:
        nonlocal at
        pieces.append(show(text[at:place]))
        at = place

    def close_until(place: int) -> None:
        while opened and opened[-1].end <= place:
            mark = opened.pop()
            write_until(mark.end)
            note = f"<small> {show(mark.note, LONGEST_NOTE)}</small>" if mark.note else ""
            pieces.append(f"{note}</mark>")

    for mark in sorted(marks, key=lambda mark: (mark.start, -mark.end)):
        close_until(mark.start)
        if not mark.start < mark.end <= (opened[-1].end if opened else len(text)):
            continue
        write_until(mark.start)
        pieces.append(f'<mark class="{mark.look}{" wrong" if mark.wrong else ""}">')
        opened.append(mark)
    close_until(len(text))
    write_until(len(text))
    return "".join(pieces)


def write_side(
    title: str, text: str, language: str, marks: Sequence[Mark], remarks: Sequence[str] | None = None
) -> str:
    """Writes a side: its title, its text, and what is to be checked. remarks: None where nothing was checked."""
    body = write_text(text, marks) or '<span class="note">nothing</span>'
    noted = ""
    if remarks is not None:
        items = "".join(f"<li><strong>Check:</strong> {show(remark)}</li>" for remark in remarks)
        noted = f'<ul class="remarks">{items}</ul>' if items else '<p class="note">No fault was noticed.</p>'
    return (
        f'<section class="side"><h2>{show(title)}</h2>'
        f'<p class="marked" lang="{show(language)}" dir="auto">{body}</p>{noted}</section>'
    )


def write_key(marks: Iterable[Mark]) -> str:
    """Explains the marks that are used; "" for none."""
    looks = set(map(attrgetter("look"), marks))
    parts = []
    if "keep" in looks:
        parts.append('<mark class="keep">framed</mark> must survive as it is')
    if "term" in looks:
        parts.append('<mark class="term">underlined</mark> is a term, its entry behind it')
    return f'<p class="note">{"; ".join(parts)}.</p>' if parts else ""
