"""Reads TBX, the exchange format of term bases (ISO 30042): martif of 2008 and tbx of 2019, in either style.

No entity is expanded, no DTD or other file is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

__all__ = ["Concept", "TbxTerm", "read_tbx"]

ROOTS = ("martif", "tbx")
CONCEPTS = ("termEntry", "conceptEntry")
SECTIONS = ("langSet", "langSec")
GROUPS = ("tig", "ntig", "termSec")
STATUS = "administrativeStatus"
WORD_CLASS = "partOfSpeech"
LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"


class TbxTerm(NamedTuple):
    """A term of a concept in one language."""

    text: str
    preferred: bool
    """its status is preferredTerm"""
    deprecated: bool
    """its status is deprecatedTerm or supersededTerm"""
    word_class: str = ""
    """such as noun"""


@dataclass(frozen=True)
class Concept:
    """What the terms of some languages all name."""

    place: str
    """in the file, such as `line 12`"""
    terms: Mapping[str, Sequence[TbxTerm]]
    """language code as the file writes it -> terms, in order"""


def read_tbx(data: bytes, name: str) -> Iterator[Concept]:
    """Yields the concepts of a TBX file in order. name: of the file, for messages.

    Raises ValueError for a file that is not well-formed, declares entities, or is no TBX.
    """
    root = _parse(data, name)
    if _local(root) not in ROOTS:
        raise ValueError(
            f"{name} is no TBX: its root is {_local(root)[:40]!r}, not martif or tbx; export it as TBX"
        )
    for element in root.iter():
        if _local(element) in CONCEPTS:
            yield Concept(f"line {element.sourceline}", _terms(element))


def _parse(data: bytes, name: str) -> Any:
    from lxml import etree

    # huge_tree off keeps libxml2's bounds: depth 256, and how far entities in attributes may grow
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise ValueError(
            f"{name} is no well-formed XML ({' '.join(str(error).split())[:120]}); export it again"
        ) from None
    dtd = root.getroottree().docinfo.internalDTD
    entity = next(dtd.iterentities(), None) if dtd is not None else None
    if entity is not None:
        raise ValueError(
            f"{name} declares the entity {entity.name[:40]!r}, and entities are not read; export it without DOCTYPE"
        )
    return root


def _local(element: Any) -> str:
    """The name without namespace; "" for comments and the like, whose tag is no text."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _terms(concept: Any) -> dict[str, list[TbxTerm]]:
    terms: dict[str, list[TbxTerm]] = {}
    for section in concept.iter():
        if _local(section) not in SECTIONS:
            continue
        listed = terms.setdefault(section.get(LANGUAGE) or section.get("lang") or "", [])
        for group in section:
            if _local(group) not in GROUPS:
                continue
            statuses = _notes(group, STATUS)
            classes = _notes(group, WORD_CLASS)
            listed += [
                TbxTerm(
                    _text(element),
                    any(status.startswith("preferred") for status in statuses),
                    any(status.startswith(("deprecated", "superseded")) for status in statuses),
                    next(iter(classes), ""),
                )
                for element in group.iter()
                if _local(element) == "term"
            ]
    return terms


def _notes(group: Any, name: str) -> list[str]:
    """The notes of a name: `<termNote type="name">`, or an element of that name."""
    return [_text(note) for note in group.iter() if name in (_local(note), note.get("type"))]


def _text(element: Any) -> str:
    """The text of an element and those in it, with single spaces."""
    return " ".join("".join(element.itertext()).split())
