"""Schema says what an index's files may hold: an index comes from a stranger, and is checked once, when it is read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from appkit.data.objects import make_object
from appkit.task import Passage

__all__ = ["PREFIX", "SCHEMA", "read_about", "read_passages", "read_vectors"]

SCHEMA = 2
PREFIX = re.compile(r"appkit-[0-9a-f]{8}-")
"""of the collections on a server"""
LONGEST = 100_000
"""characters of a text; `rag index` cuts passages of 20,000 at most"""
Text = Annotated[str, Field(max_length=LONGEST)]
Count = Annotated[int, Field(ge=0, le=2**31)]


class _Part(BaseModel):
    """Types as they are; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", strict=True)


class _Options(_Part):
    embeddings: Text
    size: Count
    overlap: Count
    store: Text = "faiss"
    """indexes of older versions name none"""


class _About(_Part):
    """index.json"""

    number: Literal[2] = Field(alias="schema")
    options: _Options
    files: Annotated[dict[Text, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]], Field(min_length=1)]
    """file -> sha256"""
    passages: Annotated[int, Field(ge=1, le=2**31)]
    collections: Text | None = None
    """prefix of the collections on a server"""

    @model_validator(mode="after")
    def _check_collections(self) -> Self:
        if "=" in self.options.store and self.collections is None:
            raise ValueError("it names a server and no collections")
        return self


class _Passage(_Part):
    """A line of passages.jsonl."""

    id: Text
    text: Annotated[str, Field(min_length=1, max_length=LONGEST)]
    file: Text
    place: Text
    start: Count


def read_about(path: Path) -> dict[str, Any]:
    """Read index.json; of another schema only its number. Raises ValueError with the first thing that does not fit."""
    about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=make_object)
    if not isinstance(about, dict):
        raise ValueError(f"{path.name} holds no object")
    if type(about.get("schema")) is not int or about["schema"] == SCHEMA:  # the keys of another are unknown
        _check(_About, about, path.name)
    return about


def read_passages(path: Path, about: dict[str, Any]) -> list[Passage]:
    """Read passages.jsonl, whose files must be those of index.json. Raises ValueError as `read_about` does."""
    passages = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            values = json.loads(line, object_pairs_hook=make_object)
            _check(_Passage, values, f"{path.name}:{number}")
            passage = Passage(**values)
            if passage.file not in about["files"]:
                raise ValueError(
                    f"{path.name}:{number} is of {passage.file[:80]!r}, which index.json does not list"
                )
            passages.append(passage)
    if len(passages) != about["passages"]:
        raise ValueError(f"{len(passages)} passages, {about['passages']} recorded")
    return passages


def read_vectors(path: Path, count: int) -> np.ndarray:
    """Read vectors.npy, (count, d) finite fp32. Raises ValueError for another shape or type."""
    # mapped first: a header may declare more than the file holds, and than memory does
    mapped = np.load(path, allow_pickle=False, mmap_mode="r")
    if mapped.ndim != 2 or len(mapped) != count or not mapped.shape[1] or mapped.dtype != np.float32:
        raise ValueError(f"{count} passages, vectors {mapped.shape} of {mapped.dtype}")
    vectors = np.array(mapped)
    if not np.isfinite(vectors).all():
        raise ValueError("a vector holds numbers that are not finite")
    return vectors


def _check(model: type[BaseModel], values: Any, place: str) -> None:
    try:
        model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise ValueError(f"{place}: {f'{key}: ' if key else ''}{first['msg']}"[:300]) from None
