"""Asks for a translation."""

from __future__ import annotations

from collections.abc import Sequence

from appkit.task import Message, Text
from appkit_tasks.translation.codes import name_of
from appkit_tasks.translation.config import TranslationConfig
from appkit_tasks.translation.load import TranslationRow

__all__ = ["few_shot", "prompt", "target"]

SHOWN = 200
"""characters of a text in the base's few-shot prompt, at most"""


def prompt(row: TranslationRow, options: TranslationConfig) -> list[Message]:
    """Writes the direction, what helps (domain, context, terms, examples), and the text last.

    Raises ValueError for a row whose target language is unknown.
    """
    code = row.target_language or options.target_language
    if code is None:
        raise ValueError(
            "no target language: the row has no target_language, and task.target_language is not set; give the row "
            "one, such as fr"
        )
    source = name_of(row.source_language or options.source_language)
    lines = [f"Translate {source} to {name_of(code)}."]
    if options.domain and row.domain:
        lines.append(f"Domain: {row.domain}")
    if row.context:
        lines.append(f"Context: {row.context}")
    if row.terms and row.shows_terms:
        lines.append("Terms: " + "; ".join(f"{term.source} = {term.target}" for term in row.terms))
    for example in row.examples:
        lines.append(f"Example: {example.source}\n=> {example.target}")
    return [Message.of("system", "\n".join(lines)), Message.of("user", row.source)]


def target(row: TranslationRow, options: TranslationConfig) -> Text:
    """Returns the translation to be learned."""
    return Text(row.target)


def few_shot(rows: Sequence[TranslationRow], options: TranslationConfig) -> list[TranslationRow]:
    """Chooses short rows with different beginnings for the base's few-shot prompt."""
    chosen: dict[str, TranslationRow] = {}
    for row in rows:
        if 20 <= len(row.source) <= SHOWN:
            chosen.setdefault(row.source[:8].casefold(), row)
    return [*chosen.values()] or list(rows)
