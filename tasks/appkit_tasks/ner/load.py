"""Defines the schema of a row and the data set that comes with the pack."""

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
    """A row is a text with its entities: tokens with tags, a text with spans, or, to be answered, without either.

    `text` and `entities` are always filled, if need be from tokens and tags. The digest covers them and the tokens.
    """

    model_config = ConfigDict(validate_default=True)  # a field that is left out is made from the others

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
    def _require_columns(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        absent = {name for name in ("text", "tokens", "entities", "tags") if values.get(name) is None}
        if absent >= {"text", "tokens"}:
            remedy = "name their column: data.columns.text= or data.columns.tokens="
            raise ValueError(
                f"has neither text nor tokens; {'give one' if _is_input_schema(cls) else remedy}"
            )
        if absent >= {"entities", "tags"} and not _is_input_schema(cls):
            raise ValueError(
                "has neither entities nor tags; name their column (data.columns.entities= or "
                "data.columns.tags=), or write an empty list where the text has none"
            )
        return values

    @field_validator("tokens", "tags", mode="before")
    @classmethod
    def _check_texts(cls, value: Any) -> Any:
        """Gives one reason for the list, where pydantic would give one for each item."""
        for place, item in enumerate(value if isinstance(value, list | tuple) else (), 1):
            if not isinstance(item, str):
                raise ValueError(
                    f"must be texts, number {place} is {item!r}; write the names that numbers stand for"
                )
            if not item.strip():
                raise ValueError(f"must not be empty, number {place} is; leave it out")
        return value

    @field_validator("tags")
    @classmethod
    def _check_tags(cls, tags: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        if tags is None or _is_input_schema(cls) or "tokens" not in info.data:
            return tags
        tokens = info.data["tokens"]
        if tokens is None:
            raise ValueError("need tokens to belong to; name their column: data.columns.tokens=")
        entities_of(tags, [(0, 0)] * len(tokens))
        return tags

    @field_validator("text")
    @classmethod
    def _check_text(cls, text: str, info: ValidationInfo) -> str:
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
    def _check_entities(cls, value: Any, info: ValidationInfo) -> Sequence[Entity]:
        fields = info.data
        if _is_input_schema(cls) or not fields.keys() >= {"text", "tokens", "tags"}:
            return ()  # nothing to say beyond what is wrong with the others
        words = _spans(fields["text"], fields["tokens"])
        tagged = None if fields["tags"] is None else entities_of(fields["tags"], words)
        if tagged is not None and not value:
            return tagged
        if not isinstance(value, list | tuple):
            raise ValueError("must be a list (a CSV cell cannot hold one; use JSONL or Parquet)")
        entities = sorted(_entity(item, place, fields["text"]) for place, item in enumerate(value, 1))
        _check_places(entities, fields["text"], words)
        if tagged is not None and tagged != entities:
            raise ValueError("say something else than the tags; leave one of them out")
        return entities


def _is_input_schema(schema: type[NerRow]) -> bool:
    """Tells whether `schema` is that of `Task.input_row`, which puts Any in the place of the target."""
    return schema.model_fields["entities"].annotation is Any


def _entity(value: Any, place: int, text: str) -> Entity:
    """Reads an entity from {start, end, type} or [start, end, type]; space at its ends is cut off.

    A `text` beside the offsets must be what they enclose. Raises ValueError for an entity that does not fit `text`.
    """
    which = f"number {place}"
    start, end, kind = _parts(value, which)
    if start >= end:
        raise ValueError(
            f"cannot be empty: {which} starts at {start} and ends at {end}; the end is exclusive"
        )
    if start < 0 or end > len(text):
        raise ValueError(
            f"reach out of the text: {which} is {start} to {end}, the text has {len(text)} characters {UNITS}"
        )
    enclosed = text[start:end]
    quoted = value.get("text") if isinstance(value, Mapping) else None
    if quoted is not None and quoted != enclosed:
        raise ValueError(
            f"do not fit the text: {which} is said to be {shortened(quoted)}, but {start} to {end} is "
            f"{shortened(enclosed)} {UNITS}"
        )
    if not enclosed.strip():
        raise ValueError(f"cannot be space alone: {which} is {start} to {end}")
    start += len(enclosed) - len(enclosed.lstrip())
    return Entity(start, start + len(enclosed.strip()), kind)


def _parts(value: Any, which: str) -> tuple[int, int, str]:
    """Reads start, end and type; `label` is the type too, as annotation tools write it."""
    if isinstance(value, Mapping):
        start, end, kind = value.get("start"), value.get("end"), value.get("type", value.get("label"))
    elif isinstance(value, list | tuple) and len(value) == 3:
        start, end, kind = value
    else:
        raise ValueError(f"must each have start, end and type, {which} is {shortened(value)}")
    if type(start) is not int or type(end) is not int:  # a bool is an int to isinstance
        raise ValueError(f"need whole numbers for start and end, {which} is {shortened(value)}")
    if not isinstance(kind, str):
        raise ValueError(f"need a text for the type, {which} is {shortened(value)}")
    if why := type_fault(kind):
        raise ValueError(f"cannot be read: {which} {why}")
    return start, end, kind.strip()


def _check_places(entities: Sequence[Entity], text: str, words: Sequence[tuple[int, int]]) -> None:
    """Raises ValueError where two entities overlap or one begins or ends inside a word."""
    for entity, following in pairwise(entities):
        if following.start < entity.end:
            raise ValueError(
                f"overlap: {entity.type} {entity.start} to {entity.end} and {following.type} {following.start} to "
                f"{following.end}; keep one of them"
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
    """Finds start and end of each word of the row's text: its tokens, or where it has none, our own splitting."""
    return _spans(row.text, row.tokens)


def load(options: NerConfig) -> Shipped:
    """Names the shipped files: English sentences with six types, written for appkit, CC0."""
    return Shipped("appkit_data", {"train": "entities/train.jsonl", "test": "entities/test.jsonl"})
