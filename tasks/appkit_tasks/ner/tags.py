"""Turns tags of words into entities of a text, and back. Tags are IOB2 ("BIO") unless stated otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Entity", "entities_of", "tags_of", "type_fault"]

OUTSIDE = "O"
BEGIN, INSIDE, END, SINGLE = "B", "I", "EL", "SU"
"""E and S of BIOES, L and U of BILOU: the last word of an entity, and an entity of one word"""


class Entity(NamedTuple):
    """An entity is a span of a text and its type. start, end: characters, the end exclusive."""

    start: int
    end: int
    type: str


def type_fault(name: str) -> str | None:
    """Says why `name` cannot be the name of a type; None if it can."""
    if not name.strip():
        return "has a type without name"
    prefix, dash, rest = name.partition("-")
    if dash and prefix in (BEGIN, INSIDE, *END, *SINGLE):
        return f"has the tag {name!r} for a type; write {rest!r}"
    return None


def entities_of(tags: Sequence[str], words: Sequence[tuple[int, int]]) -> list[Entity]:
    """Turns the tags of words (IOB2, BIOES or BILOU) into entities, in order.

    Raises ValueError with the reason if the tags are not legal, or not as many as the words.
    """
    if len(tags) != len(words):
        raise ValueError(f"are {len(tags)} for {len(words)} tokens; each token needs one")
    explicit_ends = any(tag[:1] in (*END, *SINGLE) and tag[1:2] == "-" for tag in tags)
    entities = []
    current: tuple[int, str] | None = None  # start and type of the entity that is being read
    for place, tag in enumerate([*tags, OUTSIDE]):
        prefix, name = _parts(tag, place)
        if prefix in (INSIDE, *END):
            if current is None or current[1] != name:
                raise ValueError(
                    f"begin an entity with {tag!r} at token {place + 1}; in IOB2 an entity begins with B-: of IOB1, "
                    "turn each I- that follows O or another type into B-"
                )
            if prefix in END:
                entities.append(Entity(current[0], words[place][1], name))
                current = None
            continue
        if current is not None:
            if explicit_ends:
                raise ValueError(
                    f"leave the {current[1]!r} before token {place + 1} open; in BIOES and BILOU it ends with E- or L-"
                )
            entities.append(Entity(current[0], words[place - 1][1], current[1]))
            current = None
        if prefix == BEGIN:
            current = (words[place][0], name)
        elif prefix in SINGLE:
            entities.append(Entity(*words[place], name))
    return entities


def _parts(tag: str, place: int) -> tuple[str, str]:
    """Splits a tag into prefix and type; `O` has no type."""
    if tag == OUTSIDE:
        return OUTSIDE, ""
    prefix, dash, name = tag.partition("-")
    if not dash or prefix not in (BEGIN, INSIDE, *END, *SINGLE):
        raise ValueError(
            f"hold {tag!r} at token {place + 1}; a tag is O, or B- or I- and a type, such as B-person"
        )
    if why := type_fault(name):
        raise ValueError(f"hold {tag!r} at token {place + 1}, which {why}")
    return prefix, name


def tags_of(entities: Sequence[Entity], words: Sequence[tuple[int, int]]) -> list[str]:
    """Turns sorted entities that begin and end with words into the IOB2 tag of each word."""
    tags = [OUTSIDE] * len(words)
    at = 0
    for entity in entities:
        while words[at][0] < entity.start:
            at += 1
        prefix = BEGIN
        while at < len(words) and words[at][1] <= entity.end:
            tags[at] = f"{prefix}-{entity.type}"
            prefix = INSIDE
            at += 1
    return tags
