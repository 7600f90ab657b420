"""Reads the pairs of terms of a glossary file: a table, JSON lines or TBX.

Columns or keys are those of PAIRS, or codes or English names of both languages.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from appkit.errors import shortened
from appkit_tasks.translation.tbx import TbxTerm, read_tbx

__all__ = ["SUFFIXES", "Line", "NoEntries", "read_lines"]

TABLES = (".csv", ".tsv", ".txt")
JSON_LINES = (".jsonl", ".ndjson")
TBX = (".tbx", ".xml")
SUFFIXES = (*TABLES, *JSON_LINES, *TBX)

PAIRS = (
    ("source", "target"),
    ("src", "tgt"),
    ("term", "translation"),
    ("sourcestring", "targetstring"),
    ("sourceterm", "targetterm"),
    ("sourcetext", "targettext"),
)
"""names of columns, without case, spaces, `-` and `_`; the first pair that a file has"""

LANGUAGES = (
    ("sourcelang", "targetlang"),
    ("srclang", "tgtlang"),
    ("sourcelanguage", "targetlanguage"),
)
"""names of the columns with the languages of an entry"""

WORD_CLASS = ("pos", "partofspeech", "wordclass")
NOUN = frozenset({"n", "n.", "noun", "nouns", "propernoun", "proper noun"})

DELIMITERS = "\t;,|"


class NoEntries(ValueError):
    """Says that a glossary can be read but has no entry from one language to another."""


@dataclass(frozen=True)
class Line:
    """A pair of terms as a file has it; a text that is None is not there."""

    place: str
    """in the file, such as `line 3`"""
    source: str | None
    target: str | None
    reason: str = ""
    """why it is left out, if the file says so"""
    noun: bool = False
    """the source is a noun, says the file"""


def read_lines(
    data: bytes, name: str, suffix: str, source_language: str, target_language: str
) -> Iterator[Line]:
    """Yields the pairs of a file in its order; suffix: one of SUFFIXES. Languages are BCP 47, normalized.

    Raises ValueError for a file that cannot be read, NoEntries for one without columns of these languages.
    """
    if suffix in TBX:
        for concept in read_tbx(data, name):
            yield from _concept_lines(concept.place, concept.terms, source_language, target_language)
        return
    text = _decode(data, name)
    rows = _json_rows(text, name) if suffix in JSON_LINES else _table_rows(text, name)
    yield from _row_lines(list(rows), name, source_language, target_language)


def _decode(data: bytes, name: str) -> str:
    """Decodes UTF-8, or UTF-16 with a byte order mark as Excel writes it. Raises ValueError for anything else."""
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{name} is not {encoding.upper().removesuffix('-SIG')} (byte {error.start}: "
            f"{data[error.start : error.start + 4]!r}); save it as UTF-8"
        ) from None
    if "\0" in text:
        raise ValueError(
            f"{name} has NUL characters, as UTF-16 without a byte order mark has; save it as UTF-8"
        )
    return text


def _table_rows(text: str, name: str) -> Iterator[tuple[str, Mapping[str, Any] | None]]:
    """Yields (place, cells by column), None for a row with more cells than columns."""
    header = text.lstrip("\r\n").partition("\n")[0]
    delimiter = max(DELIMITERS, key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns: list[str] = []
    try:
        for cells in reader:
            place = f"line {reader.line_num}"
            if not columns:
                columns = cells
                if len({_plain(column) for column in columns}) < len(columns):
                    raise ValueError(f"{name} has two columns of one name: {shortened(columns)}; rename one")
            elif cells:
                yield place, dict(zip(columns, cells, strict=False)) if len(cells) <= len(columns) else None
    except csv.Error as error:
        raise ValueError(
            f"{name} line {reader.line_num} is no table row ({error}); double the quotes in a cell and close them"
        ) from None


def _json_rows(text: str, name: str) -> Iterator[tuple[str, Mapping[str, Any] | None]]:
    for number, line in enumerate(text.split("\n"), 1):  # str.splitlines would cut texts at U+2028 too
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"{name} line {number} is no JSON ({str(error)[:80]}): {shortened(line)}; correct it"
            ) from None
        if not isinstance(value, dict):
            raise ValueError(
                f"{name} line {number} is no JSON object: {shortened(line)}; write one object a line"
            )
        yield f"line {number}", value


def _row_lines(
    rows: Sequence[tuple[str, Mapping[str, Any] | None]],
    name: str,
    source_language: str,
    target_language: str,
) -> Iterator[Line]:
    """Reads pairs from rows. Raises NoEntries if the columns do not say which text is which."""
    if not rows:
        return
    columns = list(dict.fromkeys(column for _, row in rows for column in row or ()))
    source, target = _text_columns(columns, name, source_language, target_language)
    plain = {_plain(column): column for column in columns}
    word_class = next((plain[name] for name in WORD_CLASS if name in plain), "")
    of_languages = next(((plain[a], plain[b]) for a, b in LANGUAGES if a in plain and b in plain), None)
    for place, row in rows:
        if row is None:
            yield Line(place, None, None, "more cells than the table has columns")
            continue
        texts = (row.get(source), row.get(target))
        if not all(text is None or isinstance(text, str) for text in texts):
            raise ValueError(
                f"{name} {place} has a term that is no text: {shortened(texts)}; write it in quotes"
            )
        codes = tuple(row.get(column) for column in of_languages or ())
        fits = map(_fits, codes, (source_language, target_language))
        noun = str(row.get(word_class, "")).strip().casefold() in NOUN
        yield Line(place, *texts, "" if all(fits) else "of other languages", noun)


def _text_columns(
    columns: Sequence[str], name: str, source_language: str, target_language: str
) -> tuple[str, str]:
    plain = {_plain(column): column for column in columns}
    for source, target in PAIRS:
        if source in plain and target in plain:
            return plain[source], plain[target]
    pair = tuple(_language_column(columns, language) for language in (source_language, target_language))
    if pair[0] is None or pair[1] is None or pair[0] == pair[1]:
        raise NoEntries(
            f"{name} has the columns {shortened(columns)}; name two of them source and target, or "
            f"{source_language} and {target_language}, in the first line"
        )
    return pair[0], pair[1]


def _language_column(columns: Sequence[str], language: str) -> str | None:
    """Picks the column of a language: one of its very code, else one that fits, else one of its English name."""
    from appkit_tasks.translation.languages import name_of

    exact = [column for column in columns if _code(column) == language]
    fitting = [column for column in columns if _fits(column, language)]
    named = [column for column in columns if column.strip().casefold() == name_of(language).casefold()]
    return next(iter(exact + fitting + named), None)


def _plain(column: str) -> str:
    return "".join(letter for letter in column.casefold() if letter not in " -_")


def _code(text: Any) -> str | None:
    """Normalizes a language code; None for what is none."""
    from appkit_tasks.translation.languages import normalize

    try:
        return normalize(text)
    except (ValueError, TypeError, AttributeError):
        return None


def _fits(text: Any, language: str) -> bool:
    """Tells whether a file's code is of a language: pt for pt-BR and the reverse, but not pt-PT for pt-BR."""
    code = _code(text)
    return code is not None and (
        f"{code}-".startswith(f"{language}-") or f"{language}-".startswith(f"{code}-")
    )


def _concept_lines(
    place: str, terms: Mapping[str, Sequence[TbxTerm]], source_language: str, target_language: str
) -> Iterator[Line]:
    """Pairs each term of a concept in the source language with each in the target language, preferred ones first."""
    sources = _terms_of(terms, source_language)
    targets = _terms_of(terms, target_language)
    usable = sorted((term for term in targets if not term.deprecated), key=lambda term: not term.preferred)
    if not sources and not targets:
        yield Line(place, None, None, "of other languages")
    elif targets and not usable:
        yield Line(place, None, None, "only deprecated translations")
    elif not sources or not usable:
        yield Line(place, sources[0].text if sources else None, usable[0].text if usable else None)
    for source in sources:
        for target in usable:
            yield Line(place, source.text, target.text, noun=source.word_class.casefold() in NOUN)


def _terms_of(terms: Mapping[str, Sequence[TbxTerm]], language: str) -> Sequence[TbxTerm]:
    """Picks the terms of a concept in a language: under its very code, else under all codes that fit."""
    exact = [term for code in terms if _code(code) == language for term in terms[code]]
    return exact or [term for code in terms if _fits(code, language) for term in terms[code]]
