"""The schema of a row, which of its passages hold the answer, and the data set that comes with the pack."""

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
    """A question, what may be used to answer it, and the answers that count."""

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
    def _one_or_more(cls, given: object) -> object:
        if isinstance(given, dict) and "text" in given:  # SQuAD's answers, with their places
            given = given["text"]
        return (given,) if isinstance(given, str) else given

    @field_validator("answers")
    @classmethod
    def _open(cls, answers: tuple[str, ...]) -> tuple[str, ...]:
        if any(re.search(r"[\[\]\n]", answer) or not answer for answer in answers):
            raise ValueError("an answer is one line without square brackets, and not empty")
        if NOWHERE in answers and len(answers) > 1:
            raise ValueError(f"{NOWHERE!r} leaves no other answer beside it")
        return answers or (NOWHERE,)

    @property
    def answerable(self) -> bool:
        """False too of a row that is only asked, whose answers nobody knows."""
        return bool(self.answers) and self.answers != (NOWHERE,)


def supporting(row: QaRow) -> list[int]:
    """Numbers of the row's passages that hold its answer, ascending."""
    if not row.answerable:
        return []
    if row.supports is not None:
        return [number for number in row.supports if 1 <= number <= len(row.passages)]
    return [number for number, text in enumerate(row.passages, 1) if _holds(text, row.answers)]


def put(row: QaRow, passages: Sequence[Passage]) -> QaRow:
    """The row with passages that were found for it. One supports the answer if it has its words and is of `source`."""
    supports = [
        number
        for number, one in enumerate(passages, 1)
        if row.answerable and _holds(one.text, row.answers) and _of(one, row.source)
    ]
    return row.model_copy(
        update={"passages": tuple(one.text for one in passages), "supports": tuple(supports)}
    )


def _of(passage: Passage, source: str | None) -> bool:
    return (
        source is None
        or passage.place == source
        or f"/{passage.source}".endswith((f"/{source}", f"#{source}"))
    )


def _holds(text: str, answers: Sequence[str]) -> bool:
    """Whether one of the answers stands in the text, as words of their own."""
    return any(
        re.search(
            rf"(?<!\w){re.escape(' '.join(answer.split()))}(?!\w)", " ".join(text.split()), re.IGNORECASE
        )
        for answer in answers
    )


def load(options: QaConfig) -> Shipped:
    """Written for appkit, CC0: the handbook of a valley that there is not."""
    return Shipped("appkit_data", {"train": "qa/train.jsonl", "test": "qa/test.jsonl"})
