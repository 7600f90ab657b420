"""The schema of a row, and the data set that comes with the pack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any

from pydantic import ConfigDict, Field, StringConstraints, ValidationInfo, field_validator, model_validator

from appkit.errors import shortened
from appkit.task import Row, Shipped
from appkit_tasks.ner.config import NerConfig
from appkit_tasks.ner.tags import Entity, entities_of, type_fault
from appkit_tasks.ner.words import locate, split

__all__ = ["NerRow", "load", "word_spans"]

UNITS = "(offsets count characters, not bytes or UTF-16 units)"


class NerRow(Row):
    """A text and the entities in it: given as tokens with tags, as text with spans, or, to be answered, without.

    Whatever was given, `text` and `entities` are there afterwards, and the digest is of them and the tokens.
    """

    model_config = ConfigDict(validate_default=True)  # for what is left out is made from what is there

    # in this order each validator sees the fields above its own
    tokens: tuple[str, ...] | None = Field(
        None, description="words, if the text is not to be split into words here"
    )
    tags: tuple[str, ...] | None = Field(
        None, exclude=True, description="one for each token: IOB2 (O, B-person, I-person), BIOES or BILOU"
    )
    # not stripped: offsets would move
    text: Annotated[str, StringConstraints(strip_whitespace=False)] = Field(
        "", description="as it is; if left out, the tokens with a space between"
    )
    entities: tuple[Entity, ...] = Field(
        (), description="start, end (characters, end exclusive) and type of each; none overlap"
    )

    @model_validator(mode="before")
    @classmethod
    def _given(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        absent = {name for name in ("text", "tokens", "entities", "tags") if values.get(name) is None}
        if absent >= {"text", "tokens"}:
            remedy = "name their column: data.columns.text= or data.columns.tokens="
            raise ValueError(f"has neither text nor tokens; {'give one' if _answered(cls) else remedy}")
        if absent >= {"entities", "tags"} and not _answered(cls):
            raise ValueError(
                "has neither entities nor tags; name their column (data.columns.entities= or "
                "data.columns.tags=), or write an empty list where the text has none"
            )
        return values

    @field_validator("tokens", "tags", mode="before")
    @classmethod
    def _texts(cls, given: Any) -> Any:
        """One reason for the list, where pydantic would have one for each item."""
        for place, item in enumerate(given if isinstance(given, list | tuple) else (), 1):
            if not isinstance(item, str):
                raise ValueError(
                    f"must be texts, number {place} is {item!r}; write the names that numbers stand for"
                )
            if not item.strip():
                raise ValueError(f"must not be empty, number {place} is; leave it out")
        return given

    @field_validator("tags")
    @classmethod
    def _legal(cls, tags: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        if tags is None or _answered(cls) or "tokens" not in info.data:
            return tags
        tokens = info.data["tokens"]
        if tokens is None:
            raise ValueError("need tokens to belong to; name their column: data.columns.tokens=")
        entities_of(tags, [(0, 0)] * len(tokens))
        return tags

    @field_validator("text")
    @classmethod
    def _of_tokens(cls, text: str, info: ValidationInfo) -> str:
        if "tokens" not in info.data:
            return text  # the tokens are at fault
        tokens = info.data["tokens"]
        text = " ".join(tokens) if tokens and not text else text
        if not text.strip():
            raise ValueError("is empty")
        if tokens is not None:
            locate(text, tokens)
        return text

    @field_validator("entities", mode="before")
    @classmethod
    def _canonical(cls, given: Any, info: ValidationInfo) -> Sequence[Entity]:
        known = info.data
        if _answered(cls) or not known.keys() >= {"text", "tokens", "tags"}:
            return ()  # nothing to say beyond what is wrong with the others
        words = _spans(known["text"], known["tokens"])
        tagged = None if known["tags"] is None else entities_of(known["tags"], words)
        if tagged is not None and not given:
            return tagged
        if not isinstance(given, list | tuple):
            raise ValueError("must be a list (a CSV cell cannot hold one; use JSONL or Parquet)")
        entities = sorted(_entity(one, place, known["text"]) for place, one in enumerate(given, 1))
        _check_places(entities, known["text"], words)
        if tagged is not None and tagged != entities:
            raise ValueError("say something else than the tags; leave one of them out")
        return entities


def _answered(schema: type[NerRow]) -> bool:
    """Whether it is the schema of `Task.input_row`, which puts Any in the place of the target."""
    return schema.model_fields["entities"].annotation is Any


def _entity(given: Any, place: int, text: str) -> Entity:
    """{start, end, type} or [start, end, type] -> the entity, without the space at its ends.

    A `text` beside the offsets has to be what they enclose.
    """
    one = f"number {place}"
    start, end, kind = _parts(given, one)
    if start >= end:
        raise ValueError(f"cannot be empty: {one} starts at {start} and ends at {end}; the end is exclusive")
    if start < 0 or end > len(text):
        raise ValueError(
            f"reach out of the text: {one} is {start} to {end}, the text has {len(text)} characters {UNITS}"
        )
    inside = text[start:end]
    said = given.get("text") if isinstance(given, Mapping) else None
    if said is not None and said != inside:
        raise ValueError(
            f"do not fit the text: {one} is said to be {shortened(said)}, but {start} to {end} is "
            f"{shortened(inside)} {UNITS}"
        )
    if not inside.strip():
        raise ValueError(f"cannot be space alone: {one} is {start} to {end}")
    start += len(inside) - len(inside.lstrip())
    return Entity(start, start + len(inside.strip()), kind)


def _parts(given: Any, one: str) -> tuple[int, int, str]:
    """Start, end and type as they were given; `label` is the type too, as annotation tools have it."""
    if isinstance(given, Mapping):
        start, end, kind = given.get("start"), given.get("end"), given.get("type", given.get("label"))
    elif isinstance(given, list | tuple) and len(given) == 3:
        start, end, kind = given
    else:
        raise ValueError(f"must each have start, end and type, {one} is {shortened(given)}")
    if type(start) is not int or type(end) is not int:  # a bool is an int to isinstance
        raise ValueError(f"need whole numbers for start and end, {one} is {shortened(given)}")
    if not isinstance(kind, str):
        raise ValueError(f"need a text for the type, {one} is {shortened(given)}")
    if why := type_fault(kind):
        raise ValueError(f"cannot be read: {one} {why}")
    return start, end, kind.strip()


def _check_places(entities: Sequence[Entity], text: str, words: Sequence[tuple[int, int]]) -> None:
    """Raises ValueError where two entities overlap or one begins or ends inside a word."""
    for one, other in pairwise(entities):
        if other.start < one.end:
            raise ValueError(
                f"overlap: {one.type} {one.start} to {one.end} and {other.type} {other.start} to {other.end}; "
                "keep one of them"
            )
    starts, ends = {start for start, _ in words}, {end for _, end in words}
    for start, end, kind in entities:
        if start not in starts or end not in ends:
            at = end if start in starts else start
            word = next(text[a:b] for a, b in words if a < at < b)
            raise ValueError(
                f"cut a word: {kind} {start} to {end} has its border inside {word!r}; mark the whole word, or give "
                "the row as tokens and tags"
            )


def _spans(text: str, tokens: Sequence[str] | None) -> list[tuple[int, int]]:
    return split(text) if tokens is None else locate(text, tokens)


def word_spans(row: NerRow) -> list[tuple[int, int]]:
    """Start and end of each word of the row's text: of its tokens if it has them, else by our own splitting."""
    return _spans(row.text, row.tokens)


def load(options: NerConfig) -> Shipped:
    """English sentences with six types, written for appkit, CC0."""
    return Shipped("appkit_data", {"train": "entities/train.jsonl", "test": "entities/test.jsonl"})
