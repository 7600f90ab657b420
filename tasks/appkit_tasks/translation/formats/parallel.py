"""Reads parallel files, `corpus.en` beside `corpus.fr`, line by line, as Moses has them. Writes one translated."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Literal

from appkit.errors import shortened
from appkit_tasks.translation.formats.closeness import closeness
from appkit_tasks.translation.formats.encoding import HEAD, Raw, read_lines
from appkit_tasks.translation.formats.segments import Counts, Document, Edit, Plan, Segment, Translation

__all__ = ["is_parallel", "open_lines", "read_pairs"]


def is_parallel(path: Path, source_language: str) -> bool:
    """Tells whether the suffix of a file is the source language."""
    return bool(path.suffix) and closeness(path.suffix[1:], source_language) > 0


def _sibling(path: Path, target_language: str) -> Path:
    """Finds the file of the same name whose suffix fits the target language best."""
    others = [
        (-closeness(other.suffix[1:], target_language), other.name, other)
        for other in path.parent.iterdir()
        if other.stem == path.stem and other != path and closeness(other.suffix[1:], target_language)
    ]
    if not others:
        raise ValueError(
            f"there is no file {path.stem}.{target_language} beside it; parallel files have one name, with the "
            "language as suffix"
        )
    return min(others)[2]


def _separator(head: bytes) -> Literal["\n", "\r"]:
    """Says what ends the lines. Texts from the web hold a CR here and there, which must not move one file's lines."""
    return "\r" if b"\r" in head and b"\n" not in head else "\n"


def _lines(path: Path) -> Iterator[str]:
    with path.open("rb") as stream:
        return read_lines(path, newline=_separator(stream.read(HEAD)))


def read_pairs(path: Path, source_language: str, target_language: str, counts: Counts) -> Iterator[Segment]:
    """Yields the pairs of lines; those with an empty side are counted.

    Raises ValueError, after the last pair, if one file has more lines than the other.
    """
    other = _sibling(path, target_language)
    ours = theirs = 0
    for source, target in zip_longest(_lines(path), _lines(other)):
        ours += source is not None
        theirs += target is not None
        if source is None or target is None:
            continue
        place = f"line {ours}"
        source, target = source.rstrip("\r\n"), target.rstrip("\r\n")
        if "\0" in source + target:
            raise ValueError(f"{place} holds NUL characters; is the file text in UTF-8?")
        if not source.strip() or not target.strip():
            reason = (
                "both lines are empty" if source.strip() == target.strip() else "one of the lines is empty"
            )
            counts.leave_out(reason, place)
            continue
        yield Segment(
            place=place,
            source=source,
            target=target,
            state="translated",
            source_language=source_language,
            target_language=target_language,
            document=path.name,
        )
    if ours != theirs:
        raise ValueError(
            f"it has {ours} lines, and {shortened(other.name)} has {theirs}; the lines of parallel files belong "
            "together, so make both the same"
        )


def open_lines(path: Path, source_language: str, target_language: str) -> Document:
    """Opens the source file of a parallel pair: each line that is not blank is a segment."""
    raw = Raw.read(path)
    spans, segments, at = [], [], 0
    separator = _separator(raw.data[:HEAD]).encode()
    for number, line in enumerate(re.findall(rb"[^%b]*%b|[^%b]+" % ((separator,) * 3), raw.data), 1):
        text = line.decode().rstrip("\r\n")
        if text.strip():
            spans.append((at, at + len(text.encode())))
            segments.append(
                Segment(
                    place=f"line {number}",
                    source=text,
                    source_language=source_language,
                    target_language=target_language,
                    document=path.name,
                )
            )
        at += len(line)

    def plan(translations: Mapping[int, Translation]) -> Plan:
        result = Plan()
        for index, translation in translations.items():
            if {"\r", "\n"} & set(translation.text) - set(segments[index].source):
                result.refused[index] = (
                    "the translation has a line break, which would move the lines below it"
                )
                continue
            if translation.doubtful:
                result.doubts[index] = translation.reason
            result.edits.append(Edit(*spans[index], translation.text.encode()))
        return result

    return Document(path, tuple(segments), Counts(), raw, plan)
