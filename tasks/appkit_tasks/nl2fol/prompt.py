"""Turns a sentence into messages, its formula into the target, and the model's text into an answer."""

from __future__ import annotations

from collections.abc import Sequence

from appkit.task import Message, Parsed, Text
from appkit_tasks.nl2fol.config import Nl2FolConfig
from appkit_tasks.nl2fol.load import FolRow
from appkit_tasks.nl2fol.parser import FormulaError, parse
from appkit_tasks.nl2fol.syntax import connectives, quantifiers, to_text
from appkit_tasks.nl2fol.wording import from_words, to_words

__all__ = ["answer", "few_shot", "prompt", "target"]


def prompt(row: FolRow, options: Nl2FolConfig) -> list[Message]:
    return [
        Message.of("system", options.instruction),
        Message.of("user", _with_leading_space(row.sentence, options)),
    ]


def target(row: FolRow, options: Nl2FolConfig) -> Text:
    formula = parse(row.formula)
    if options.notation == "words":
        return Text(_with_leading_space(to_words(formula, row.sentence), options))
    return Text(to_text(formula) if options.normalize else row.formula)


def _with_leading_space(text: str, options: Nl2FolConfig) -> str:
    """Puts a space before a text in words, so that its first word is the same token in sentence and formula.

    To a tokenizer `Ana` at the start of a line and ` Ana` after a word are different tokens, and only equal ones can be
    copied. A template that trims its messages takes the space away and nothing else.
    """
    return f" {text}" if options.notation == "words" else text


def answer(text: str) -> Parsed:
    """Reads the model's text, in either notation: the formula in normal form, or where and why it does not parse."""
    try:
        return Parsed(to_text(parse(from_words(text))))
    except FormulaError as error:
        return Parsed(None, str(error))


def few_shot(rows: Sequence[FolRow], options: Nl2FolConfig) -> list[FolRow]:
    """Chooses eight training rows for a prompt, each of another shape, from plain to nested.

    The order spreads shapes, so that any first few are spread too.

    A shape is the number of quantifiers and of connectives. Each shape is shown by its shortest formula (ties go by the
    sentence), of at most 90 characters, since the base reads all examples for every answer.
    """
    shapes: set[tuple[int, int]] = set()
    chosen = []
    for row in sorted(rows, key=lambda row: (len(row.formula), row.sentence)):
        formula = parse(row.formula)
        shape = (quantifiers(formula), connectives(formula))
        if shape not in shapes and len(row.formula) <= 90:
            shapes.add(shape)
            chosen.append(row)
    spread = [chosen[place * len(chosen) // 8] for place in range(8)] if len(chosen) >= 8 else chosen
    return spread[::2] + spread[1::2]
