"""Defines the schema of a row, reads the field's own files, and fills rows with terms and examples."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from appkit.task import FileRows, Finding, Row, Shipped
from appkit_tasks.translation.codes import base_of, normalize
from appkit_tasks.translation.config import TranslationConfig

__all__ = ["Example", "Term", "TranslationRow", "complete", "inspect", "load", "put_examples", "read_file"]

OWN_SUFFIXES = (".po", ".pot", ".tmx", ".xlf", ".xliff", ".sdlxliff", ".mqxliff", ".mxliff")
COMMON_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".gz")
SHIPPED = ("fr", "de")
"""target languages of the shipped sets"""


class Term(BaseModel):
    """A glossary's entry, for a prompt."""

    model_config = ConfigDict(frozen=True)

    source: str = Field(min_length=1, max_length=500)
    target: str = Field(min_length=1, max_length=500)


class Example(BaseModel):
    """A translated text, for a prompt."""

    model_config = ConfigDict(frozen=True)

    source: str = Field(min_length=1)
    target: str = Field(min_length=1)


class TranslationRow(Row):
    """A row is a text and its translation."""

    source: str = Field(min_length=1, max_length=100_000, description="the text")
    target: str = Field("", max_length=100_000, description="its translation")
    source_language: str | None = Field(
        None, description="BCP 47 code, such as en; none: task.source_language"
    )
    target_language: str | None = Field(
        None, description="BCP 47 code, such as pt-BR; none: task.target_language"
    )
    document: str | None = Field(
        None,
        description="the document that it is a part of: documents are not split, and intervals are over them",
    )
    domain: str | None = Field(None, description="what it is about; in the prompt with task.domain=true")
    context: str | None = Field(
        None, max_length=2000, description="tells equal texts apart, such as msgctxt of PO"
    )
    terms: tuple[Term, ...] = Field(
        (), description="entries of a glossary that stand in the text; none: found by task.glossary"
    )
    examples: tuple[Example, ...] = Field(
        (), description="similar pairs for the prompt; none: found by task.examples"
    )
    shows_terms: bool = Field(
        True, description="whether the prompt shows the terms; they are measured anyway"
    )

    @field_validator("source_language", "target_language")
    @classmethod
    def _normalize(cls, code: str | None) -> str | None:
        return None if code is None or not code.strip() else normalize(code)


def load(options: TranslationConfig) -> Shipped | None:
    """Names the shipped files: interface texts of invented programs, written for appkit, CC0; French, or German."""
    target = options.target_language or SHIPPED[0]
    if options.source_language != "en" or target not in SHIPPED:
        return None
    return Shipped("appkit_data", {side: f"interface/en-{target}.{side}.jsonl" for side in ("train", "test")})


def read_file(path: Path, options: TranslationConfig) -> FileRows | None:
    """Reads PO, TMX, XLIFF and parallel files (corpus.en beside corpus.fr); None for any other.

    Raises ValueError for one that cannot be read, or where no target language is named.
    """
    suffix = path.suffix.lower()
    parallel = suffix not in (*OWN_SUFFIXES, *COMMON_SUFFIXES) and _is_side(suffix, options.source_language)
    if suffix not in OWN_SUFFIXES and not parallel:
        return None
    if options.target_language is None:
        raise ValueError(f"{path}: name the language that it is translated into: task.target_language=fr")
    from appkit_tasks.translation.formats import read_pairs

    pairs = read_pairs(path, options.source_language, options.target_language)
    return FileRows(_as_rows(pairs, path), pairs.counts.left_out, pairs.counts.notes)


def _is_side(suffix: str, language: str) -> bool:
    """Tells whether a suffix is the source's language, in any of its regions: corpus.en_US is English."""
    try:
        return len(suffix) > 1 and base_of(normalize(suffix[1:])) == base_of(language)
    except ValueError:
        return False


def _as_rows(pairs: Iterable[Any], path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, segment in enumerate(pairs, 1):
        line = re.match(r"line (\d+)", segment.place)
        yield (
            int(line[1]) if line else number,
            {
                "source": segment.source,
                "target": segment.target,
                "source_language": segment.source_language,
                "target_language": segment.target_language,
                # a file is no document of its own: all its rows would be on one side
                "document": segment.document if segment.document not in ("", path.name, path.stem) else None,
                "context": segment.context or None,
            },
        )


def inspect(rows: Sequence[TranslationRow], options: TranslationConfig) -> Iterator[tuple[int, Finding]]:
    """Yields the number and finding of each row that a check finds something in.

    Raises ValueError for a row without a target language, and where the detector of languages is not installed.
    """
    from appkit_tasks.translation.clean import check_pairs

    pairs = ((row.source, row.target, *_languages(row, options)) for row in rows)
    checked = check_pairs(pairs, deviations=options.deviations, detector=options.language_detector)
    for number, findings in checked:
        for finding in findings:
            # what a context tells apart is no repetition
            if not (rows[number].context and finding.kind in ("duplicate", "many_targets")):
                yield number, Finding(finding.kind, finding.reason)


def _languages(row: TranslationRow, options: TranslationConfig) -> tuple[str, str]:
    """Returns the codes of a row. Raises ValueError where neither it nor the options name the target's."""
    source, target = (
        row.source_language or options.source_language,
        row.target_language or options.target_language,
    )
    if target is None:
        raise ValueError(
            "no target language: the row has no target_language, and task.target_language is not set; name one, such "
            "as task.target_language=fr"
        )
    return source, target


def complete(
    parts: Mapping[str, Sequence[TranslationRow]], options: TranslationConfig, seed: int
) -> dict[str, list[TranslationRow]]:
    """Fills the rows of all splits: languages, and the glossary's terms.

    Training rows show their terms in a share of cases, among entries of no use; other rows all of theirs. Rows in a
    direction that the glossary lacks get none. Raises ValueError for a row without a target language, and for a
    glossary that cannot be read or has an entry in none of the directions.
    """
    filled = {
        name: [
            row.model_copy(
                update=dict(
                    zip(("source_language", "target_language"), _languages(row, options), strict=True)
                )
            )
            for row in rows
        ]
        for name, rows in parts.items()
    }
    if options.glossary:
        waiting = [row for rows in filled.values() for row in rows if not row.terms]
        glossaries = _open_glossaries(options.glossary, waiting)
        filled = {
            name: [_put_terms(row, glossaries, options, seed, training=name == "train") for row in rows]
            for name, rows in filled.items()
        }
    return filled


def _open_glossaries(path: str, rows: Iterable[TranslationRow]) -> dict[tuple[str | None, str | None], Any]:
    """Opens a glossary in each direction of some rows; leaves out those it lacks. Raises ValueError if it lacks all."""
    from appkit_tasks.translation.glossary_files import NoEntries

    directions = dict.fromkeys((row.source_language, row.target_language) for row in rows)
    glossaries, lacking = {}, []
    for source, target in directions:
        try:
            glossaries[source, target] = open_glossary(path, str(source), str(target))
        except NoEntries as error:
            lacking.append(error)
    if lacking and not glossaries:
        raise lacking[0]
    return glossaries


def _put_terms(
    row: TranslationRow,
    glossaries: Mapping[tuple[str | None, str | None], Any],
    options: TranslationConfig,
    seed: int,
    *,
    training: bool,
) -> TranslationRow:
    from appkit_tasks.translation.glossary import choose_terms

    glossary = glossaries.get((row.source_language, row.target_language))
    if row.terms or glossary is None:
        return row
    matches = glossary.find(row.source)
    entries: Sequence[Any] = list(dict.fromkeys(match.term for match in matches))
    if training:
        entries = choose_terms(
            row.source,
            matches,
            glossary,
            share=options.terms_share,
            distractors=options.distractors,
            seed=seed,
        )
    terms = tuple(Term(source=entry.source, target=target) for entry in entries for target in entry.targets)
    return row.model_copy(update={"terms": terms})


@lru_cache(maxsize=8)
def open_glossary(path: str, source_language: str, target_language: str) -> Any:
    """Opens a glossary once; `shipped` is that of the shipped sets. Raises as `load_glossary`."""
    from appkit_tasks.translation.glossary import load_glossary

    if path == "shipped":
        from importlib.resources import files

        path = str(files("appkit_data").joinpath("interface", "glossary.csv"))
    return load_glossary(path, source_language, target_language)


def put_examples(row: TranslationRow, pairs: Sequence[TranslationRow]) -> TranslationRow:
    """Returns the row with similar pairs for its prompt."""
    examples = tuple(Example(source=pair.source, target=pair.target) for pair in pairs)
    return row.model_copy(update={"examples": examples})
