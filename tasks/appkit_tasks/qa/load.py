"""Defines the schema of a row, finds which of its passages hold the answer, and names the shipped data set."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from appkit.task import Row, Shipped
from appkit_tasks.qa.config import QaConfig

if TYPE_CHECKING:
    from appkit.task import Passage

__all__ = ["NOWHERE", "QaRow", "load", "put", "supporting"]

NOWHERE = "not in the documents"
"""the answer to a question that the documents leave open"""


class QaRow(Row):
    """A row is a question, the passages that it is answered from, and the right answers."""

    question: str = Field(min_length=1, max_length=2000, description="one question")
    passages: tuple[str, ...] = Field(
        (), description="texts to answer from, in order; none: they are found by rag=INDEX"
    )
    answers: tuple[str, ...] = Field(
        (),
        description=f"any of them is right, the first is learned; [] or {NOWHERE!r}: the documents leave it open",
    )
    source: str | None = Field(
        None,
        description="the document that holds the answer, as the index names it or the end of that name; none: any that "
        "has the answer's words",
    )
    supports: tuple[int, ...] | None = Field(
        None, description="numbers of the passages that hold the answer, from 1; none: found by its words"
    )

    @field_validator("passages", "answers", mode="before")
    @classmethod
    def _as_texts(cls, value: object) -> object:
        if isinstance(value, dict) and "text" in value:  # SQuAD's answers, with their places
            value = value["text"]
        return (value,) if isinstance(value, str) else value

    @field_validator("answers")
    @classmethod
    def _check_answers(cls, answers: tuple[str, ...]) -> tuple[str, ...]:
        if any(re.search(r"[\[\]\n]", answer) or not answer for answer in answers):
            raise ValueError("an answer is one line without square brackets, and not empty")
        if NOWHERE in answers and len(answers) > 1:
            raise ValueError(f"{NOWHERE!r} leaves no other answer beside it")
        return answers or (NOWHERE,)

    @property
    def answerable(self) -> bool:
        """Tells whether the row has a right answer; False too for a row without known answers, which is only asked."""
        return bool(self.answers) and self.answers != (NOWHERE,)


def supporting(row: QaRow) -> list[int]:
    """Returns the numbers of the row's passages that hold its answer, ascending."""
    if not row.answerable:
        return []
    if row.supports is not None:
        return [number for number in row.supports if 1 <= number <= len(row.passages)]
    return [number for number, text in enumerate(row.passages, 1) if _holds_answer(text, row.answers)]


def put(row: QaRow, passages: Sequence[Passage]) -> QaRow:
    """Returns the row with retrieved passages. A passage supports the answer if it has its words and is of `source`."""
    supports = [
        number
        for number, passage in enumerate(passages, 1)
        if row.answerable and _holds_answer(passage.text, row.answers) and _is_from(passage, row.source)
    ]
    return row.model_copy(
        update={"passages": tuple(passage.text for passage in passages), "supports": tuple(supports)}
    )


def _is_from(passage: Passage, source: str | None) -> bool:
    return (
        source is None
        or passage.place == source
        or f"/{passage.source}".endswith((f"/{source}", f"#{source}"))
    )


def _holds_answer(text: str, answers: Sequence[str]) -> bool:
    """Tells whether one of the answers stands in the text, as whole words."""
    return any(
        re.search(
            rf"(?<!\w){re.escape(' '.join(answer.split()))}(?!\w)", " ".join(text.split()), re.IGNORECASE
        )
        for answer in answers
    )


def load(options: QaConfig) -> Shipped:
    """Names the shipped files: the handbook of an invented valley, written for appkit, CC0."""
    return Shipped("appkit_data", {"train": "qa/train.jsonl", "test": "qa/test.jsonl"})
