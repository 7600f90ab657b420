"""A question with numbered passages as messages, the answer with its citation, and the answer read back."""

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
    """A passage is one line: what stands in it cannot open another one, or a question of its own."""
    lines = [f"[{number}] {' '.join(text.split())}" for number, text in enumerate(row.passages, 1)]
    asked = f"Question: {' '.join(row.question.split())}"
    return [Message.of("system", options.instruction), Message.of("user", "\n".join([*lines, asked]))]


def target(row: QaRow, options: QaConfig) -> Text:
    """What the passages of the row allow to say: that the answer is not there, where it is in none of them."""
    held = supporting(row)
    if not held:
        return Text(NOWHERE)
    inside = " ".join(row.passages[held[0] - 1].split()).casefold()
    said = next((one for one in row.answers if one.casefold() in inside), row.answers[0])
    return Text(f"{said} [{held[0]}]")


def answer(text: str) -> Parsed:
    """`words [2]` or `not in the documents` -> {"answer": words or None, "cites": [2]}; all else is an error."""
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
    """The passages that a reading refers to."""
    return list(value["cites"])


def few_shot(rows: Sequence[QaRow], options: QaConfig) -> list[QaRow]:
    """Short rows for a prompt: with an answer and without in turn, as long as there are both."""
    ordered = sorted(rows, key=lambda row: (sum(map(len, row.passages)), row.question))
    told = [row for row in ordered if supporting(row)]
    left = [row for row in ordered if not supporting(row)]
    return [row for pair in zip(told, left, strict=False) for row in pair] or ordered[:8]
