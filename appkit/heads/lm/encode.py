"""Turns rows into token examples, checks what is supervised in each, and shows some before step 0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from appkit.data.rows import Record
from appkit.errors import DataError
from appkit.heads.audit import SHOWN, fenced
from appkit.models.batch import Example
from appkit.models.chat import Chat
from appkit.task import Task

__all__ = ["audit", "encode", "render"]


def encode(
    task: Task, options: Any, chat: Chat, records: Sequence[Record], max_length: int, on_long: str
) -> tuple[list[Example], list[Record], list[str]]:
    """Turns records into token examples; returns these, the record of each, and a line for each row dropped.

    A row over `max_length` tokens is refused (DataError) or dropped whole: its target is never cut.
    """
    examples, sources, long = [], [], []
    for record in records:
        answer = task.answer_text(record.value, options)
        example = chat.example(task.prompt(record.value, options), answer)
        if len(example.tokens) > max_length:
            long.append(f"{record.place}: {len(example.tokens)} tokens, data.max_length is {max_length}")
            continue
        examples.append(example)
        sources.append(record)
    if long and on_long == "refuse":
        raise DataError(
            f"{len(long)} rows are longer than data.max_length={max_length} tokens; first: {long[0]}; "
            "raise data.max_length, shorten them, or leave them out with data.on_long=drop"
        )
    return examples, sources, [f"dropped, too long: {line}" for line in long]


def audit(
    task: Task, options: Any, chat: Chat, examples: Sequence[Example], records: Sequence[Record]
) -> None:
    """Checks that in every row something is learned, the end of the turn is learned, and the answer reads back.

    Raises DataError for the first row that fails, with what to do.
    """
    for example, record in zip(examples, records, strict=True):
        answer = example.tokens[example.supervised :]
        if len(answer) < 2:
            raise DataError(
                f"{record.place}: nothing is supervised but the end of the turn; the row's {task.output} is empty "
                "after the pack's own formatting; correct or drop the row"
            )
        if answer[-1] not in chat.stop:
            raise DataError(
                f"{record.place}: the end of the turn is not supervised (last token {answer[-1]}); "
                "the model would never stop; check the chat template"
            )
        expected = task.answer_text(record.value, options)
        if (read := chat.decode(answer)).strip() != expected.strip():
            raise DataError(
                f"{record.place}: the tokenizer does not round-trip the answer: {expected!r} reads back as {read!r}; "
                "choose another base or normalize the data"
            )


def render(chat: Chat, examples: Sequence[Example], records: Sequence[Record]) -> str:
    """Renders a few rows as text: what is learned stands between ⟦ and ⟧, every token with its id below."""
    parts = [
        "# Label audit\n\nWhat stands between ⟦ and ⟧ is learned; all else is only read.\n",
    ]
    for example, record in list(zip(examples, records, strict=True))[:SHOWN]:
        prompt = chat.tokenizer.decode(list(example.tokens[: example.start]))
        answer = chat.tokenizer.decode(list(example.tokens[example.start :]))
        pieces = " ".join(
            f"{token}:{chat.tokenizer.decode([token])!r}" for token in example.tokens[example.start :]
        )
        parts.append(
            f"\n## {record.place}\n\n{len(example.tokens)} tokens, {example.targets} supervised\n\n"
            f"{fenced(f'{prompt}⟦{answer}⟧')}\n\n{fenced(pieces)}\n"
        )
    return "".join(parts)
