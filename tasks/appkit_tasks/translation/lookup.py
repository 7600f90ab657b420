"""Looks terms up in entries that somebody typed, and in the glossary that comes with appkit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from appkit.errors import shortened
from appkit_tasks.translation.codes import normalize
from appkit_tasks.translation.load import Term, open_glossary

if TYPE_CHECKING:
    from appkit_tasks.translation.glossary import Glossary, Match

__all__ = ["Entries", "Lookup", "Shipped", "open_lookup"]

MAX_ENTRIES = 2000

Entries = Annotated[
    tuple[Term, ...], Field(max_length=MAX_ENTRIES, description="a glossary of your own; it goes first")
]
Shipped = Annotated[bool, Field(description="use the glossary of interface words that comes with appkit too")]


@dataclass(frozen=True)
class Lookup:
    """Two glossaries of one direction."""

    own: Glossary
    shipped: Glossary | None
    note: str = ""
    """why there are no shipped terms though they were asked for"""

    def find(self, text: str) -> list[Match]:
        """Lists the terms in a text, in order; a shipped one never over an entry of one's own."""
        own = self.own.find(text)
        further = self.shipped.find(text) if self.shipped else []
        free = [
            match
            for match in further
            if all(match.end <= other.start or other.end <= match.start for other in own)
        ]
        return sorted([*own, *free], key=lambda match: match.start)

    def row_terms(self, text: str) -> list[dict[str, str]]:
        """Lists the terms in a text as the field `terms` of a row has them."""
        entries = dict.fromkeys(match.term for match in self.find(text))
        return [{"source": entry.source, "target": target} for entry in entries for target in entry.targets]


def open_lookup(entries: Iterable[Term], shipped: bool, source_language: str, target_language: str) -> Lookup:
    """Makes the lookup of a direction. Raises ValueError for an entry without a word, and for an unknown language."""
    from appkit_tasks.translation.glossary import Entry, Glossary

    source_language, target_language = normalize(source_language), normalize(target_language)
    targets: dict[str, dict[str, None]] = {}
    for number, entry in enumerate(entries, 1):
        for side, text in (("source", entry.source), ("target", entry.target)):
            if not any(map(str.isalnum, text)):
                raise ValueError(
                    f"term {number}: its {side} has no letter or digit, got {shortened(text)}; write a word"
                )
        targets.setdefault(entry.source.strip(), {})[entry.target.strip()] = None
    own = tuple(Entry(source, tuple(translations)) for source, translations in targets.items())
    glossary, note = None, ""
    if shipped:
        try:
            glossary = open_glossary("shipped", source_language, target_language)
        except ValueError:
            note = f"The glossary of appkit has no terms from {source_language} to {target_language}."
    return Lookup(Glossary(source_language, target_language, own), glossary, note)
