"""Writes translations into XLIFF 1.2 and 2.x: targets, their states, and the target language where a file names none.

XLIFF 1.2: `state` of the target is `translated` or `needs-review-translation`. XLIFF 2: `state` of the segment is
`translated`, or `initial` with `subState="appkit:needs-review"`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from appkit_tasks.translation.formats.encoding import XML_DECLARATION, Raw, line_end
from appkit_tasks.translation.formats.inline import put_back
from appkit_tasks.translation.formats.scanner import escape, prefix_of, with_attribute, without_attribute
from appkit_tasks.translation.formats.segments import Counts, Document, Edit, Plan, Translation
from appkit_tasks.translation.formats.xliff import Unit, read_document

__all__ = ["TAGS_LOST", "indentation", "open_xliff"]

TAGS_LOST = (
    "the inline elements of the source are not all there, or not well nested; they are written as text"
)
NEEDS_REVIEW = "appkit:needs-review"


def open_xliff(path: Path, source_language: str, target_language: str) -> Document:
    """Opens an XLIFF file; ValueError if it is none, or of other languages."""
    raw, counts = Raw.read(path, XML_DECLARATION), Counts()
    pairs = read_document(raw, source_language, target_language, counts)
    units = [unit for unit, _ in pairs]
    return Document(
        path=path,
        segments=tuple(segment for _, segment in pairs),
        counts=counts,
        raw=raw,
        plan=partial(_plan, raw.data, units, target_language),
        is_xml=True,
    )


def indentation(data: bytes, start: int) -> bytes:
    """Returns the line end and white space before an element; nothing if it does not begin its line."""
    match = re.search(rb"(?:\r\n|\r|\n)[ \t]*\Z", data[max(start - 500, 0) : start])
    return match[0] if match else b""


def _plan(
    data: bytes, units: list[Unit], target_language: str, translations: Mapping[int, Translation]
) -> Plan:
    plan, named = Plan(), set()
    new_line = line_end(data)
    for index, translation in translations.items():
        unit = units[index]
        content = put_back(unit.source, translation.text, data, new_line)
        if content is None:
            plan.doubts[index] = TAGS_LOST
        elif translation.doubtful:
            plan.doubts[index] = translation.reason
        written = escape(translation.text, new_line) if content is None else content
        plan.edits.append(_target(data, unit, written, index in plan.doubts, target_language))
        if unit.file.version == 2:
            plan.edits.append(_segment_state(data, unit, index in plan.doubts))
        file = unit.file
        if not file.target_language and file.element.start not in named:
            named.add(file.element.start)
            span = file.element.span(data)
            name = "target-language" if file.version == 1 else "trgLang"
            tag = with_attribute(data[span.start : span.inside], name, target_language)
            plan.edits.append(Edit(span.start, span.inside, tag))
    return plan


def _target(data: bytes, unit: Unit, content: bytes, is_doubtful: bool, target_language: str) -> Edit:
    """Replaces the target, or adds one behind the source, where the schemas want it."""
    target, source = unit.parts.get("target"), unit.parts["source"]
    if target is not None:
        span = target.element.span(data)
        tag = data[span.start : span.inside]
        if tag.endswith(b"/>"):
            tag = tag[:-2].rstrip() + b">"
        start, end, before, name = span.start, span.end, b"", target.name
    else:
        # seg-source stands between source and target
        last = unit.parts.get("seg-source", source).element.span(data).end
        name = f"{prefix_of(source.name)}target"
        start, end, before, tag = last, last, indentation(data, source.element.start), f"<{name}>".encode()
        if "xml:lang" in source.attributes:
            tag = with_attribute(tag, "xml:lang", target_language)
        if "xml:space" in source.attributes:
            tag = with_attribute(tag, "xml:space", source.attributes["xml:space"])
    if unit.file.version == 1:
        tag = with_attribute(tag, "state", "needs-review-translation" if is_doubtful else "translated")
        if target is not None and "state-qualifier" in target.attributes:
            # it said where the former target came from
            tag = with_attribute(tag, "state-qualifier", "mt-suggestion")
    return Edit(start, end, before + tag + content + f"</{name}>".encode())


def _segment_state(data: bytes, unit: Unit, is_doubtful: bool) -> Edit:
    """Sets the state of a segment of XLIFF 2; a subState belongs to the state before, so it goes."""
    span = unit.element.span(data)
    tag = without_attribute(data[span.start : span.inside], "subState")
    tag = with_attribute(tag, "state", "initial" if is_doubtful else "translated")
    if is_doubtful:
        tag = with_attribute(tag, "subState", NEEDS_REVIEW)
    return Edit(span.start, span.inside, tag)
