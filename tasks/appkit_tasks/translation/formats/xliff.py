"""Reads XLIFF 1.2 and 2.x: units with their sources, targets and states, and where they lie in the file.

Beside trans-unit (1.2) and segment (2.x), with their own source, seg-source and target, everything is passed over:
matches of translation memories, metadata, other namespaces.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from appkit.errors import shortened
from appkit_tasks.translation.formats.closeness import closeness
from appkit_tasks.translation.formats.encoding import XML_DECLARATION, Raw, read_chunks
from appkit_tasks.translation.formats.inline import Builder, Content
from appkit_tasks.translation.formats.scanner import Element, Scanner, local_name, prefix_of
from appkit_tasks.translation.formats.segments import Counts, Segment, State

__all__ = ["File", "Part", "Unit", "read_document", "read_pairs"]

YES = frozenset(("yes", "true", "1", "locked"))
NOT_STARTED = frozenset(("new", "needs-translation"))
FINAL = frozenset(("final", "signed-off"))
"""states after which nobody changes a target"""

SUBFLOW = "text inside a code (sub), which stays as it is"


@dataclass
class File:
    """What says the languages of its units: file in XLIFF 1.2, the root in 2.x."""

    element: Element
    attributes: dict[str, str]
    version: int
    """1 or 2"""
    name: str
    """of the original"""

    @property
    def source_language(self) -> str:
        return self.attributes.get("source-language" if self.version == 1 else "srcLang", "")

    @property
    def target_language(self) -> str:
        return self.attributes.get("target-language" if self.version == 1 else "trgLang", "")


@dataclass
class Part:
    """A source, seg-source or target."""

    element: Element
    name: str
    """as in the file, with prefix"""
    attributes: dict[str, str]
    content: Content


@dataclass
class Unit:
    """A trans-unit of XLIFF 1.2, or a segment of 2.x with what its unit says."""

    file: File
    name: str
    """of its element, as in the file, with prefix"""
    element: Element
    attributes: dict[str, str]
    place: str
    context: str
    fixed: str
    """why it must not be changed; "" if it may"""
    is_for_translation: bool
    notes: list[str]
    parts: dict[str, Part] = field(default_factory=dict)
    """by local name"""

    @property
    def source(self) -> Content:
        """What is translated: where a tool has marked the sentences, the text with its marks."""
        segmented = self.parts.get("seg-source")
        source = segmented if segmented and segmented.content.text.strip() else self.parts.get("source")
        return source.content if source else Content("", (), False)

    @property
    def target(self) -> Content:
        return self.parts["target"].content if "target" in self.parts else Content("", (), False)

    @property
    def state(self) -> State:
        if not self.target.text.strip():
            return "untranslated"
        holder = self.parts["target"].attributes if self.file.version == 1 else self.attributes
        state = holder.get("state", "")
        if self.file.version == 1:
            if state in NOT_STARTED:
                return "untranslated"
            return "doubtful" if state.startswith("needs-") else "translated"
        return "doubtful" if state == "initial" else "translated"

    def segment(self, source_language: str, target_language: str) -> Segment:
        return Segment(
            place=self.place,
            source=self.source.text,
            target=self.target.text,
            state=self.state,
            context=self.context,
            note="\n".join(self.notes),
            source_language=source_language,
            target_language=target_language,
            document=self.file.name,
        )


class _Reader:
    """Collects units from the scanner's reports."""

    def __init__(self, shows_sentences: bool) -> None:
        self.scanner = Scanner(self._start, self._end, self._text)
        self._shows_sentences = shows_sentences
        self.units: list[Unit] = []
        self.files: list[File] = []
        self._path: list[str] = []
        """local names of the open elements, up to a source or target"""
        self._translate: list[bool] = []
        """for each of them, whether it is for translation"""
        self._version = 0
        self._unit: Unit | None = None
        self._unit_depth = 0
        """elements open in the unit, itself included"""
        self._outer: dict[str, str] = {}
        """attributes of the unit around segments, of XLIFF 2"""
        self._notes: list[str] = []
        self._note: list[str] | None = None
        self._builder: Builder | None = None
        self._part: tuple[str, dict[str, str], int] = ("", {}, 0)
        self._depth = 0
        """open elements inside the builder's"""

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
        local, parent = local_name(name), self._path[-1] if self._path else ""
        if not self._path:
            self._open_root(local, attributes, place)
        self._path.append(local)
        inherited = self._translate[-1] if self._translate else True
        self._translate.append({"no": False, "yes": True}.get(attributes.get("translate", ""), inherited))
        if self._unit is not None:
            self._open_in_unit(name, local, attributes, place)
        elif local == "file" and parent == "xliff":
            self._open_file(attributes, place)
        elif local == "trans-unit" and self._version == 1:
            self._open_trans_unit(name, attributes, place)
        elif local == "unit" and self._version == 2:
            self._outer, self._notes = attributes, []
        elif local == "segment" and parent == "unit" and self._version == 2:
            self._open_segment(name, attributes, place)
        elif local == "note" and parent == "notes" and self._path[-3] == "unit":
            self._note = []

    def _open_root(self, local: str, attributes: dict[str, str], place: int) -> None:
        if local != "xliff":
            raise ValueError(f"its root element is {shortened(local)}, not xliff; is the file XLIFF?")
        version = attributes.get("version", "")
        if version[:2] not in ("1.", "2."):
            raise ValueError(f"its version is {shortened(version)}; XLIFF 1.2 and 2.x are read")
        self._version = int(version[0])
        if self._version == 2:
            self.files.append(File(Element(place, place), attributes, 2, ""))

    def _open_file(self, attributes: dict[str, str], place: int) -> None:
        name = attributes.get("original", attributes.get("id", ""))
        if self._version == 1:
            self.files.append(File(Element(place, place), attributes, 1, name))
        else:
            self.files[0].name = name

    def _open_trans_unit(self, name: str, attributes: dict[str, str], place: int) -> None:
        if not self.files:
            raise ValueError(
                f"line {self.scanner.line}: a trans-unit stands outside any file element; move it there"
            )
        self._unit_depth = len(self._path)
        fixed = "approved" if attributes.get("approved") == "yes" else ""
        self._unit = Unit(
            file=self.files[-1],
            name=name,
            element=Element(place, place),
            attributes=attributes,
            place=f"unit {shortened(attributes.get('id', ''))}",
            context=attributes.get("resname", ""),
            fixed=_locked(attributes) or fixed,
            is_for_translation=self._translate[-1],
            notes=[],
        )

    def _open_segment(self, name: str, attributes: dict[str, str], place: int) -> None:
        self._unit_depth = len(self._path)
        inner = f", segment {shortened(attributes['id'])}" if "id" in attributes else ""
        self._unit = Unit(
            file=File(self.files[0].element, self.files[0].attributes, 2, self.files[0].name),
            name=name,
            element=Element(place, place),
            attributes=attributes,
            place=f"unit {shortened(self._outer.get('id', ''))}{inner}",
            context=self._outer.get("name", ""),
            fixed="final" if attributes.get("state") == "final" else _locked(self._outer),
            is_for_translation=self._translate[-1],
            notes=self._notes,
        )

    def _open_in_unit(self, name: str, local: str, attributes: dict[str, str], place: int) -> None:
        assert self._unit is not None
        self._unit.fixed = self._unit.fixed or _locked(attributes)
        if len(self._path) != self._unit_depth + 1:
            return
        if local == "note":
            self._note = []
        elif local in ("source", "seg-source", "target") and prefix_of(name) == prefix_of(self._unit.name):
            self._builder, self._part, self._depth = (
                Builder(self._shows_sentences),
                (name, attributes, place),
                0,
            )

    def _end(self, name: str) -> None:
        place = self.scanner.place
        if self._builder is not None:
            if self._depth:
                self._depth -= 1
                self._builder.end(name, place)
                return
            self._close_part(place)
        self._path.pop()
        self._translate.pop()
        if self._note is not None and local_name(name) == "note":
            notes = self._unit.notes if self._unit else self._notes
            notes += filter(None, [" ".join("".join(self._note).split())])
            self._note = None
        elif self._unit is not None and len(self._path) < self._unit_depth:
            self._unit.element = Element(self._unit.element.start, place)
            self.units.append(self._unit)
            self._unit = None

    def _close_part(self, place: int) -> None:
        assert self._builder is not None
        assert self._unit is not None
        name, attributes, start = self._part
        local = local_name(name)
        if local in self._unit.parts:
            raise ValueError(
                f"{self._unit.place} has more than one {local}; XLIFF allows one, so take the others out"
            )
        content = self._builder.content()
        self._unit.parts[local] = Part(Element(start, place), name, attributes, content)
        if local == "target" and self._unit.file.version == 1 and attributes.get("state") in FINAL:
            self._unit.fixed = self._unit.fixed or "final"
        self._builder = None

    def _text(self, text: str) -> None:
        if self._builder is not None:
            self._builder.text(text)
        elif self._note is not None:
            self._note.append(text)


def _locked(attributes: dict[str, str]) -> str:
    """Says "locked" where a tool's own attribute does: sdl:seg locked="true", mq:locked="locked"."""
    for name, value in attributes.items():
        if local_name(name) == "locked" and value.lower() in YES:
            return "locked"
    return ""


def _fits(unit: Unit, source_language: str, target_language: str) -> str:
    """Says why a unit is not of the languages asked for; "" if it is, or if nothing says of which it is."""
    file, target = unit.file, unit.parts.get("target")
    if file.source_language and not closeness(file.source_language, source_language):
        return f"of a file with another source language than {source_language}"
    language = file.target_language or (target.attributes.get("xml:lang", "") if target else "")
    if language and not closeness(language, target_language):
        return f"of a file with another target language than {target_language}"
    return ""


def _require_fit(files: Iterable[File], source_language: str, target_language: str) -> None:
    """Raises ValueError if every file is of other languages, since a wrong option is more likely than an empty file."""
    languages = list(dict.fromkeys((file.source_language, file.target_language) for file in files))
    for ours, theirs in languages:
        if (not ours or closeness(ours, source_language)) and (
            not theirs or closeness(theirs, target_language)
        ):
            return
    if languages:
        pairs = ", ".join(f"{ours or '?'} to {theirs or '?'}" for ours, theirs in languages[:5])
        raise ValueError(
            f"its languages are {shortened(pairs)}, got {source_language} to {target_language}; name its languages, or "
            "correct source-language and target-language (srcLang and trgLang) in the file"
        )


def read_pairs(path: Path, source_language: str, target_language: str, counts: Counts) -> Iterator[Segment]:
    """Yields the translated units of the two languages; the others are counted."""
    reader = _Reader(shows_sentences=False)
    for unit in reader.read(read_chunks(path, XML_DECLARATION)):
        segment = unit.segment(source_language, target_language)
        if reason := _fits(unit, source_language, target_language):
            counts.leave_out(reason, unit.place)
        elif not unit.is_for_translation:
            counts.leave_out("not for translation (translate=no)", unit.place)
        elif not segment.source.strip():
            counts.leave_out("the source is empty", unit.place)
        elif segment.state == "untranslated":
            counts.leave_out("not translated", unit.place)
        elif segment.state == "doubtful":
            counts.leave_out("needs review", unit.place)
        else:
            yield segment
    _require_fit(reader.files, source_language, target_language)


def read_document(
    raw: Raw, source_language: str, target_language: str, counts: Counts
) -> list[tuple[Unit, Segment]]:
    """Lists the units that may be changed, with their segments; the others are counted."""
    reader, result = _Reader(shows_sentences=True), []
    for unit in reader.read([raw.data]):
        segment = unit.segment(source_language, target_language)
        if reason := _fits(unit, source_language, target_language):
            counts.leave_out(reason, unit.place)
        elif not unit.is_for_translation:
            counts.leave_out("not for translation (translate=no)", unit.place)
        elif unit.fixed:
            counts.leave_out(f"{unit.fixed}, so left alone", unit.place)
        elif not segment.source.strip():
            counts.leave_out("the source is empty", unit.place)
        else:
            if unit.source.has_subflow:
                counts.leave_out(SUBFLOW, unit.place)
            result.append((unit, segment))
    _require_fit(reader.files, source_language, target_language)
    return result
