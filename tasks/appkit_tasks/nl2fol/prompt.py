"""A sentence as messages, its formula as the answer, and the answer read back."""

from __future__ import annotations

from collections.abc import Sequence

from appkit.task import Message, Parsed, Text
from appkit_tasks.nl2fol.config import Nl2FolConfig
from appkit_tasks.nl2fol.load import FolRow
from appkit_tasks.nl2fol.parser import FormulaError, parse
from appkit_tasks.nl2fol.syntax import connectives, quantifiers, to_text

__all__ = ["answer", "few_shot", "prompt", "target"]


def prompt(row: FolRow, options: Nl2FolConfig) -> list[Message]:
    return [Message.of("system", options.instruction), Message.of("user", row.sentence)]


def target(row: FolRow, options: Nl2FolConfig) -> Text:
    return Text(to_text(parse(row.formula)) if options.normalize else row.formula)


def answer(text: str) -> Parsed:
    """The model's text -> the formula in normal form, or where and why it does not parse."""
    try:
        return Parsed(to_text(parse(text)))
    except FormulaError as error:
        return Parsed(None, str(error))


def few_shot(rows: Sequence[FolRow], options: Nl2FolConfig) -> list[FolRow]:
    """Training rows in the order in which they help a prompt: short ones first, each of another shape.

    Shapes are told apart by their quantifiers and connectives; ties go by the sentence.
    """
    seen: set[tuple[int, int]] = set()
    chosen = []
    for row in sorted(rows, key=lambda row: (len(row.formula), row.sentence)):
        formula = parse(row.formula)
        shape = (quantifiers(formula), connectives(formula))
        if shape not in seen and 5 <= len(row.sentence.split()) <= 16:
            seen.add(shape)
            chosen.append(row)
    # from plain to nested: spread over the range instead of taking only the shortest
    return chosen[1::2] or chosen
