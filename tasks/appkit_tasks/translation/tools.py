"""Answers what pages and clients ask about translations, at `/v1/tasks/{alias}/tools/{name}`.

Tools are plain functions of JSON values: the gateway makes a request model of each signature. They know no options of
a bundle, so languages and glossary are arguments. Places are characters, from 0, the end exclusive. What cannot be
done raises a ValueError of one line. The length of texts, lists and files bounds the work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from appkit.errors import shortened
from appkit_tasks.translation.codes import normalize
from appkit_tasks.translation.file_tools import Language, read_document, write_document
from appkit_tasks.translation.lookup import Entries, Shipped, open_lookup

if TYPE_CHECKING:
    from appkit_tasks.translation.protected import Span

__all__ = ["TOOLS", "check", "difference", "spans", "terms"]

MAX_CHARS = 20_000
MAX_PAIRS = 64
AMONG_OTHERS = frozenset({"duplicate", "many_targets"})
"""findings about other pairs, which are none of this one's"""

Text = Annotated[str, Field(max_length=MAX_CHARS)]


class Pair(BaseModel):
    """A text and its translation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Text
    target: Text


def spans(text: Text) -> dict[str, Any]:
    """Finds what a translation must keep: placeholders, tags, URLs, code; kind, text and place of each."""
    from appkit_tasks.translation.protected import find

    return {"spans": _describe(find(text))}


def terms(
    text: Text,
    source_language: Language,
    target_language: Language,
    entries: Entries = (),
    shipped: Shipped = False,
    translation: Text = "",
) -> dict[str, Any]:
    """Finds the terms in a text, and whether and where its translation has them.

    places: of the term in the text. kept: whether the translation has one of the targets, null without a translation.
    translated: places of the targets, where they stand as words of their own; a part of a compound has none.
    """
    from appkit_tasks.translation.glossary import contains
    from appkit_tasks.translation.matching import Matcher
    from appkit_tasks.translation.matching import Term as Word

    target_language = normalize(target_language)
    lookup = open_lookup(entries, shipped, source_language, target_language)
    places: dict[Any, list[list[int]]] = {}
    for match in lookup.find(text):
        places.setdefault(match.term, []).append([match.start, match.end])
    words = [
        (number, target) for number, entry in enumerate(places) for target in entry.targets if translation
    ]
    matcher = Matcher([Word(target, target_language) for _, target in words], target_language)
    translated: dict[int, list[list[int]]] = {}
    for place in matcher.find(translation):
        translated.setdefault(words[place.term][0], []).append([place.start, place.end])
    return {
        "terms": [
            {
                "source": entry.source,
                "targets": list(entry.targets),
                "places": places[entry],
                "kept": any(contains(translation, target, target_language) for target in entry.targets)
                if translation
                else None,
                "translated": translated.get(number, []),
            }
            for number, entry in enumerate(places)
        ],
        "note": lookup.note,
    }


def difference(source: Text, target: Text) -> dict[str, Any]:
    """Compares what a translation must keep with its source.

    missing: spans of the source. extra, reordered, unbalanced: spans of the target. text: all in a line, "" for none.
    """
    from appkit_tasks.translation.protected import compare

    result = compare(source, target)
    return {
        "missing": _describe(result.missing),
        "extra": _describe(result.extra),
        "reordered": _describe(result.reordered),
        "unbalanced": _describe(result.unbalanced),
        "text": str(result),
    }


def check(
    pairs: Annotated[tuple[Pair, ...], Field(min_length=1, max_length=MAX_PAIRS)],
    source_language: Language,
    target_language: Language,
) -> dict[str, Any]:
    """Finds what is wrong with translations: a list of findings for each, with kind and reason.

    Kinds are those of the check of training rows, and over-generation: the answer goes on after the translation.
    """
    from appkit_tasks.translation.clean import check_pairs
    from appkit_tasks.translation.repair import trim

    languages = normalize(source_language), normalize(target_language)
    findings: list[list[dict[str, str]]] = [[] for _ in pairs]
    for number, reasons in check_pairs((pair.source, pair.target, *languages) for pair in pairs):
        findings[number] = [
            {"kind": kind, "reason": reason} for kind, reason in reasons if kind not in AMONG_OTHERS
        ]
    for pair, entries in zip(pairs, findings, strict=True):
        if pair.target.strip() and (end := trim(pair.source, pair.target)) != pair.target:
            reason = f"target goes on after the translation, which is {shortened(end)}"
            entries.append({"kind": "over-generation", "reason": reason})
    return {"findings": findings}


def _describe(parts: Iterable[Span]) -> list[dict[str, Any]]:
    return [dict(span._asdict()) for span in parts]


TOOLS: dict[str, Callable[..., dict[str, Any]]] = {
    "spans": spans,
    "terms": terms,
    "difference": difference,
    "check": check,
    "read_document": read_document,
    "write_document": write_document,
}
