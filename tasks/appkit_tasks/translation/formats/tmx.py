"""Reads and writes TMX (1.1 to 1.4): translation units with a variant for each language.

A variant that needs review holds `<prop type="x-appkit-state">needs-review</prop>`: TMX has no state of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from appkit.errors import shortened
from appkit_tasks.translation.formats.closeness import closeness
from appkit_tasks.translation.formats.encoding import XML_DECLARATION, Raw, line_end, read_chunks
from appkit_tasks.translation.formats.inline import Builder, Content, put_back
from appkit_tasks.translation.formats.scanner import Element, Scanner, escape
from appkit_tasks.translation.formats.segments import (
    Counts,
    Document,
    Edit,
    Plan,
    Segment,
    State,
    Translation,
)
from appkit_tasks.translation.formats.xliff import SUBFLOW
from appkit_tasks.translation.formats.xliff_write import TAGS_LOST, indentation

__all__ = ["open_tmx", "read_pairs"]

STATE, NEEDS_REVIEW = "x-appkit-state", "needs-review"
PROP = f'<prop type="{STATE}">{NEEDS_REVIEW}</prop>'.encode()
EMPTY = Content("", (), False)


@dataclass
class Variant:
    """A tuv: the text of a unit in one language."""

    element: Element
    attributes: dict[str, str]
    segment: Element | None = None
    content: Content = EMPTY
    marks: list[Element] = field(default_factory=list)
    """our props that mark it for review"""

    @property
    def language(self) -> str:
        # lang is the name before TMX 1.4
        return self.attributes.get("xml:lang", self.attributes.get("lang", ""))


@dataclass
class Unit:
    """A tu."""

    place: str
    notes: list[str] = field(default_factory=list)
    variants: list[Variant] = field(default_factory=list)


@dataclass
class Pair:
    """The variants of a unit that were chosen for source and target."""

    unit: Unit
    source: Variant
    target: Variant | None

    def segment(self, source_language: str, target_language: str, document: str) -> Segment:
        text = self.target.content.text if self.target else ""
        state: State = "untranslated"
        if self.target and text.strip():
            state = "doubtful" if self.target.marks else "translated"
        return Segment(
            place=self.unit.place,
            source=self.source.content.text,
            target=text,
            state=state,
            note="\n".join(self.unit.notes),
            source_language=source_language,
            target_language=target_language,
            document=document,
        )


UNIT = "/tmx/body/tu"
VARIANT = f"{UNIT}/tuv"


class _Reader:
    """Collects units from the scanner's reports."""

    def __init__(self) -> None:
        self.scanner = Scanner(self._start, self._end, self._text)
        self.units: list[Unit] = []
        self.header_language = ""
        self._path = ""
        """of the open elements, up to a seg: /tmx/body/tu"""
        self._unit = Unit("")
        self._builder: Builder | None = None
        self._begin = 0
        """byte of the seg, prop or note that is being read"""
        self._depth = 0
        self._words: list[str] | None = None
        """text of a note or of our prop"""

    def read(self, chunks: Iterable[bytes]) -> Iterator[Unit]:
        for _ in self.scanner.scan(chunks):
            yield from self.units
            self.units.clear()

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        place = self.scanner.place
        if self._builder is not None:
            self._depth += 1
            self._builder.start(name, attributes, place)
            return
        if not self._path and name != "tmx":
            raise ValueError(f"its root element is {shortened(name)}, not tmx; is the file TMX?")
        self._path += f"/{name}"
        if self._path == UNIT:
            identity = f" {shortened(attributes['tuid'])}" if "tuid" in attributes else ""
            self._unit = Unit(f"line {self.scanner.line}, tu{identity}")
        elif self._path == VARIANT:
            self._unit.variants.append(Variant(Element(place, place), attributes))
        elif self._path == f"{VARIANT}/seg":
            self._builder, self._begin, self._depth = Builder(), place, 0
        elif self._path in (f"{UNIT}/note", f"{VARIANT}/note", f"{VARIANT}/prop"):
            is_read = name == "note" or attributes.get("type") == STATE
            self._words, self._begin = [] if is_read else None, place
        elif name == "header":
            self.header_language = attributes.get("srclang", "")

    def _end(self, name: str) -> None:
        place = self.scanner.place
        if self._builder is not None:
            if self._depth:
                self._depth -= 1
                self._builder.end(name, place)
                return
            variant = self._unit.variants[-1]
            variant.segment, variant.content = Element(self._begin, place), self._builder.content()
            self._builder = None
        elif self._path == VARIANT:
            variant = self._unit.variants[-1]
            variant.element = Element(variant.element.start, place)
        elif self._path == UNIT:
            self.units.append(self._unit)
        elif self._words is not None and name in ("note", "prop"):
            words, self._words = " ".join("".join(self._words).split()), None
            if name == "note":
                self._unit.notes += filter(None, [words])
            elif words == NEEDS_REVIEW:
                self._unit.variants[-1].marks.append(Element(self._begin, place))
        self._path = self._path.rpartition("/")[0]

    def _text(self, text: str) -> None:
        if self._builder is not None:
            self._builder.text(text)
        elif self._words is not None:
            self._words.append(text)


def _pair(unit: Unit, source_language: str, target_language: str, counts: Counts) -> Pair | None:
    """Chooses the variants: the closest language, then the first. None, with its reason counted, without a source."""
    sources, targets = (
        sorted(
            (variant for variant in unit.variants if closeness(variant.language, language)),
            key=lambda variant: -closeness(variant.language, language),
        )
        for language in (source_language, target_language)
    )
    if not sources:
        counts.leave_out(f"no {source_language}", unit.place)
        return None
    source = sources[0]
    targets = [variant for variant in targets if variant is not source]
    for language, variants in ((source_language, sources), (target_language, targets)):
        for _ in variants[1:]:
            counts.leave_out(f"further variants in {language}", unit.place)
    if not source.content.text.strip():
        counts.leave_out("the source is empty", unit.place)
        return None
    return Pair(unit, source, targets[0] if targets else None)


def _note_direction(reader: _Reader, source_language: str, counts: Counts) -> None:
    language = reader.header_language
    if language and language.lower() != "*all*" and not closeness(language, source_language):
        counts.note(
            f"the header says that texts were translated from {shortened(language)}; they are read from "
            f"{source_language}, against that direction"
        )


def read_pairs(path: Path, source_language: str, target_language: str, counts: Counts) -> Iterator[Segment]:
    """Yields the units that have both languages; the others are counted."""
    reader = _Reader()
    for unit in reader.read(read_chunks(path, XML_DECLARATION)):
        pair = _pair(unit, source_language, target_language, counts)
        if pair is None:
            continue
        segment = pair.segment(source_language, target_language, path.name)
        if pair.target is None:
            counts.leave_out(f"no {target_language}", unit.place)
        elif segment.state == "untranslated":
            counts.leave_out("the target is empty", unit.place)
        elif segment.state == "doubtful":
            counts.leave_out("needs review", unit.place)
        else:
            yield segment
    _note_direction(reader, source_language, counts)


def open_tmx(path: Path, source_language: str, target_language: str) -> Document:
    """Opens a TMX file; ValueError if it is none."""
    raw, counts, reader = Raw.read(path, XML_DECLARATION), Counts(), _Reader()
    pairs = []
    for unit in reader.read([raw.data]):
        pair = _pair(unit, source_language, target_language, counts)
        if pair is not None:
            pairs.append(pair)
            if pair.source.content.has_subflow:
                counts.leave_out(SUBFLOW, unit.place)
    _note_direction(reader, source_language, counts)
    return Document(
        path=path,
        segments=tuple(pair.segment(source_language, target_language, path.name) for pair in pairs),
        counts=counts,
        raw=raw,
        plan=partial(_plan, raw.data, pairs, target_language),
        is_xml=True,
    )


def _plan(
    data: bytes, pairs: list[Pair], target_language: str, translations: Mapping[int, Translation]
) -> Plan:
    plan, new_line = Plan(), line_end(data)
    for index, translation in translations.items():
        pair = pairs[index]
        content = put_back(pair.source.content, translation.text, data, new_line)
        if content is None:
            plan.doubts[index] = TAGS_LOST
        elif translation.doubtful:
            plan.doubts[index] = translation.reason
        written = escape(translation.text, new_line) if content is None else content
        mark = PROP if index in plan.doubts else b""
        segment = b"<seg>" + written + b"</seg>"
        if pair.target is None:
            source = pair.source
            name = "xml:lang" if "xml:lang" in source.attributes else "lang"
            tag = f'<tuv {name}="{target_language}">'.encode()
            at = source.element.span(data).end
            before = indentation(data, source.element.start)
            plan.edits.append(Edit(at, at, before + tag + mark + segment + b"</tuv>"))
            continue
        plan.edits.extend(_change(data, pair.target, mark, segment))
    return plan


def _change(data: bytes, target: Variant, mark: bytes, segment: bytes) -> list[Edit]:
    """Replaces the seg of a variant, and sets or takes away its mark."""
    edits = [Edit(span.start, span.end, b"") for span in (element.span(data) for element in target.marks)]
    if target.segment is not None:
        span = target.segment.span(data)
        return [*edits, Edit(span.start, span.end, mark + segment)]
    variant = target.element.span(data)
    if variant.inside == variant.end:  # <tuv/>
        tag = data[variant.start : variant.end - 2].rstrip() + b">"
        return [Edit(variant.start, variant.end, tag + mark + segment + b"</tuv>")]
    return [*edits, Edit(variant.inside_end, variant.inside_end, mark + segment)]
