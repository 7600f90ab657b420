"""Turns a question with numbered passages into messages, its answer into the target, and the text into an answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from appkit.task import Message, Parsed, Text
from appkit_tasks.qa.config import QaConfig
from appkit_tasks.qa.load import NOWHERE, QaRow, supporting

__all__ = ["GRAMMAR", "answer", "cited", "few_shot", "prompt", "target"]

ANSWER = re.compile(r"(?P<text>[^\[\]\n]*[^\[\]\n\s])\s*(?P<cited>(\[\d{1,2}\]\s*)+)")
GRAMMAR = f"""\
root ::= "{NOWHERE}" | words cited{{1,3}}
words ::= [^\\[\\] \\n] [^\\[\\]\\n]{{0,199}}
cited ::= " "? "[" [1-9] [0-9]? "]"
"""


def prompt(row: QaRow, options: QaConfig) -> list[Message]:
    """Writes each passage as one line, so that no passage can open another one, or a question of its own."""
    lines = [f"[{number}] {' '.join(text.split())}" for number, text in enumerate(row.passages, 1)]
    question = f"Question: {' '.join(row.question.split())}"
    return [Message.of("system", options.instruction), Message.of("user", "\n".join([*lines, question]))]


def target(row: QaRow, options: QaConfig) -> Text:
    """Returns the answer that the row's passages support, or that it is not there if none of them holds it."""
    supports = supporting(row)
    if not supports:
        return Text(NOWHERE)
    passage = " ".join(row.passages[supports[0] - 1].split()).casefold()
    words = next((answer for answer in row.answers if answer.casefold() in passage), row.answers[0])
    return Text(f"{words} [{supports[0]}]")


def answer(text: str) -> Parsed:
    """Reads `words [2]` or `not in the documents` as {"answer": words or None, "cites": [2]}; all else is an error."""
    match = ANSWER.fullmatch(text.strip())
    if (match["text"] if match else text).strip(" .\n").casefold() == NOWHERE:
        return Parsed({"answer": None, "cites": []})
    if match is None:
        return Parsed(
            None, f"neither an answer with the number of its passage, such as `1912 [2]`, nor {NOWHERE!r}"
        )
    numbers = [int(number) for number in re.findall(r"\d+", match["cited"])]
    return Parsed({"answer": match["text"], "cites": list(dict.fromkeys(numbers))})


def cited(value: Any) -> list[int]:
    """Returns the numbers of the passages that an answer cites."""
    return list(value["cites"])


def few_shot(rows: Sequence[QaRow], options: QaConfig) -> list[QaRow]:
    """Chooses short rows for a prompt: with an answer and without in turn, as long as there are both."""
    ordered = sorted(rows, key=lambda row: (sum(map(len, row.passages)), row.question))
    answered = [row for row in ordered if supporting(row)]
    unanswered = [row for row in ordered if not supporting(row)]
    return [row for pair in zip(answered, unanswered, strict=False) for row in pair] or ordered[:8]
