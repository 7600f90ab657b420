"""Reads glossaries, finds their entries in texts, and chooses the entries that a training row shows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from appkit_tasks.translation.glossary_files import SUFFIXES, Line, NoEntries, read_lines
from appkit_tasks.translation.matching import Matcher, Term, contains
from appkit_tasks.translation.words import keeps_case, reduce_words

__all__ = ["Entry", "Glossary", "Match", "choose_terms", "contains", "load_glossary"]

LARGEST = 100 * 2**20
"""bytes of a glossary file"""

LONGEST = 500
"""characters of a term; longer ones are sentences"""


@dataclass(frozen=True)
class Entry:
    """A term and what it may be translated as."""

    source: str
    targets: tuple[str, ...]
    """in the order of the file; the first is preferred"""
    noun: bool = False
    """the file says so: an English noun is not found in verb forms"""

    @property
    def target(self) -> str:
        """The preferred translation."""
        return self.targets[0]


class Match(NamedTuple):
    """An entry in a text."""

    term: Entry
    start: int
    """first character of the text, from 0"""
    end: int
    """one past the last"""


@dataclass(frozen=True)
class Glossary:
    """Entries from one language into another, each source once."""

    source_language: str
    target_language: str
    entries: tuple[Entry, ...]
    """in the order of the file"""
    notes: tuple[str, ...] = ()
    """for the user: what was left out or joined, counted"""

    @cached_property
    def _matcher(self) -> Matcher:
        terms = [Term(entry.source, self.source_language, entry.noun) for entry in self.entries]
        return Matcher(terms, self.source_language)

    @cached_property
    def _by_letter(self) -> Mapping[str, tuple[Entry, ...]]:
        letters: dict[str, list[Entry]] = {}
        for entry in self.entries:
            letters.setdefault(self._letter(entry), []).append(entry)
        return {letter: tuple(entries) for letter, entries in letters.items()}

    def _letter(self, entry: Entry) -> str:
        return reduce_words(entry.source, self.source_language)[0].surface[:1]

    def alike(self, entries: Iterable[Entry]) -> list[Entry]:
        """Lists the entries that begin with the letter of any of those given."""
        return [
            entry for letter in sorted(set(map(self._letter, entries))) for entry in self._by_letter[letter]
        ]

    def find(self, text: str) -> list[Match]:
        """Lists the entries in a text of the source language, in order, none over another; longer ones go first.

        Inflected words count, parts of words do not, nor does what stands in placeholders, tags, URLs or code.
        """
        return [Match(self.entries[number], start, end) for number, start, end in self._matcher.find(text)]


def choose_terms(
    text: str, matches: Sequence[Match], glossary: Glossary, *, share: float, distractors: int, seed: int
) -> tuple[Entry, ...]:
    """Chooses the entries that the prompt of a training row shows: of a share of rows, what matches and distractors.

    A distractor is an entry that is not in the text, if possible one that begins with the letter of an entry that
    is; there are 0 to `distractors`, so that the number gives nothing away. The order is mixed. A row without a
    match shows nothing, as at inference. The choice is a function of the arguments alone.

    Args:
        text: the row's source.
        matches: of the glossary in the text.
        glossary: where distractors come from.
        share: of rows that show entries, 0 to 1.
        distractors: most of a row.
        seed: another one gives another choice.
    """
    if not matches or _draw(seed, text, "share") >= share:
        return ()
    entries = list(dict.fromkeys(match.term for match in matches))
    alike = glossary.alike(entries)
    wanted = len(entries) + int(_draw(seed, text, "count") * (distractors + 1))
    for attempt in range(4 * distractors):  # entries of the text are drawn in vain
        if len(entries) >= wanted:
            break
        pool = alike if attempt < 2 * distractors else glossary.entries
        entry = pool[int(_draw(seed, text, f"entry {attempt}") * len(pool))]
        if entry not in entries and not contains(text, entry.source, glossary.source_language):
            entries.append(entry)
    return tuple(sorted(entries, key=lambda entry: _draw(seed, text, f"place {entry.source}")))


def _draw(seed: int, text: str, what: str) -> float:
    """Computes a number in [0, 1) that looks random and depends on the arguments alone."""
    digest = hashlib.sha256(f"{seed}\0{what}\0{text}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def load_glossary(path: str | Path, source_language: str, target_language: str) -> Glossary:
    """Reads a glossary: .csv, .tsv or .txt, .jsonl or .ndjson, .tbx or .xml; languages are BCP 47.

    Columns or keys are those of `glossary_files.PAIRS`, or codes or English names of both languages. Entries of
    one source are joined, their targets in the order of the file. What is left out is counted in the notes.

    Raises ValueError for a file that cannot be read, NoEntries for one without an entry of these languages.
    """
    from appkit_tasks.translation.languages import normalize

    path = Path(path)
    source_language, target_language = normalize(source_language), normalize(target_language)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"a glossary is a .csv, .tsv, .jsonl or .tbx file, got {path.name!r}; convert it")
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= LARGEST else b""
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error}); check the path") from None
    if size > LARGEST:
        raise ValueError(f"{path.name} has {size} bytes, a glossary at most {LARGEST}; split it")
    lines = read_lines(data, path.name, suffix, source_language, target_language)
    entries, notes = _join(lines, source_language)
    if not entries:
        raise NoEntries(
            f"{path.name} has no entry from {source_language} to {target_language} "
            f"({'; '.join(notes) or 'it is empty'}); check its languages and columns"
        )
    return Glossary(
        source_language, target_language, entries, tuple(f"{path.name}: {note}" for note in notes)
    )


def _join(lines: Iterable[Line], language: str) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
    """Joins pairs of one source; returns the entries, and notes on what was left out or joined."""
    left_out: dict[str, list[str]] = {}
    targets: dict[tuple[str, ...], dict[str, None]] = {}
    spelling: dict[tuple[str, ...], str] = {}
    verbs: set[tuple[str, ...]] = set()
    for line in lines:
        source, target = (text.strip() if text else "" for text in (line.source, line.target))
        key = _key(source, language)
        reason = line.reason or _objection(source, target)
        if not reason and target in targets.get(key, ()):
            reason = "the same as another"
        if reason:
            left_out.setdefault(reason, []).append(line.place)
            continue
        spelling.setdefault(key, source)
        if not line.noun:
            verbs.add(key)
        targets.setdefault(key, {})[target] = None
    notes = [
        f"{len(places)} {'entries' if len(places) > 1 else 'entry'} left out: {reason} (first: {places[0]})"
        for reason, places in left_out.items()
    ]
    several = [spelling[key] for key, alternatives in targets.items() if len(alternatives) > 1]
    if several:
        notes.append(
            f"{len(several)} {'terms have' if len(several) > 1 else 'term has'} several translations, the first "
            f"is preferred and all count as right (first: {several[0][:40]!r})"
        )
    entries = (Entry(spelling[key], tuple(targets[key]), key not in verbs) for key in targets)
    return tuple(entries), tuple(notes)


def _key(source: str, language: str) -> tuple[str, ...]:
    """Writes a term so that spellings of one term are equal: without case, unless that tells terms apart."""
    forms = reduce_words(source, language)
    return tuple(form.written if keeps_case(form.written) else form.surface for form in forms)


def _objection(source: str, target: str) -> str:
    """Says why a pair is no entry; "" for one that is."""
    if not source and not target:
        return "no text"
    if not source or not target:
        return f"no {'source' if target else 'translation'}"
    if max(len(source), len(target)) > LONGEST:
        return f"a term of more than {LONGEST} characters"
    if not any(map(str.isalnum, source)):
        return "no letter or digit"
    return ""
