"""Finds terms in texts, inflected or not: many at once in a source, or one in a translation.

Words that placeholders, tags, URLs or code hold are never a term's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

from appkit_tasks.translation.german import has_separated, is_part
from appkit_tasks.translation.words import (
    Form,
    agrees,
    keeps_case,
    reduce_word,
    reduce_words,
    split,
)

__all__ = ["Matcher", "Place", "Term", "contains"]

SURFACE, LEMMA, CASED_LEMMA, STEM = map(Form._fields.index, ("surface", "lemma", "cased_lemma", "stem"))

HYPHENS = ("-", "‐", "‑")

REMARK = re.compile(r"(?<=\w)\s*\([^()]{1,200}\)\s*$")
"""a remark at the end of a term: `appelable (*callable*)`, `compte (m.)`"""

CLOSED = Form("", "", "", "", "")
"""the form of words that are no text"""


class Place(NamedTuple):
    """Where a term stands in a text."""

    term: int
    """its number, from 0"""
    start: int
    """first character"""
    end: int
    """one past the last"""


def _read(text: str, language: str) -> tuple[list[tuple[int, int]], tuple[Form, ...]]:
    """Splits a text; the words of what is to survive as it is have the form CLOSED."""
    spans = split(text)
    forms = [reduce_word(text[start:end], language) for start, end in spans]
    at = 0
    for closed_start, closed_end in _closed(text, 0):
        while at < len(spans) and spans[at][1] <= closed_start:
            at += 1
        while at < len(spans) and spans[at][0] < closed_end:
            forms[at] = CLOSED
            at += 1
    return spans, tuple(forms)


def _closed(text: str, offset: int) -> Iterator[tuple[int, int]]:
    """Yields start and end of what is no text, in order; the messages of an ICU plural or select are text."""
    from appkit_tasks.translation.icu import parse_choice
    from appkit_tasks.translation.protected import find

    for span in find(text):
        at = span.start
        choice = parse_choice(text, at) if span.kind == "icu" else None
        for branch in choice.branches if choice else ():
            yield offset + at, offset + branch.start
            yield from _closed(text[branch.start : branch.end], offset + branch.start)
            at = branch.end
        yield offset + at, offset + span.end


class Term:
    """A term, split and reduced."""

    def __init__(self, text: str, language: str, noun: bool = False) -> None:
        """Reads a term. noun: an English term is no verb. language: BCP 47."""
        spans = split(text)
        self.forms = tuple(reduce_word(text[start:end], language) for start, end in spans)
        self.language = language
        self._noun = noun
        self._surfaces = tuple(form.surface for form in self.forms)
        self._case = any(keeps_case(form.written) for form in self.forms)
        # of `plug-in` only `in` may be inflected: `plugged in` is no plug-in
        self._fixed = [text[end : end + 1] in HYPHENS for _, end in spans[:-1]] + [False]

    def unlike(self, words: Sequence[Form]) -> int | None:
        """Counts the words that the term has otherwise, inflected; None if these, as many as it has, are not its."""
        if not self._case and self._surfaces == tuple([word.surface for word in words]):
            return 0
        for form, word, fixed in zip(self.forms, words, self._fixed, strict=True):
            if fixed and form.surface != word.surface:
                return None
            if not agrees(form, word, self.language, noun=self._noun):
                return None
        return sum(form.surface != word.surface for form, word in zip(self.forms, words, strict=True))

    def is_in(self, words: Sequence[Form]) -> bool:
        """Tells whether the term stands anywhere in words."""
        length = len(self.forms)
        return any(
            self.unlike(words[first : first + length]) is not None for first in range(len(words) - length + 1)
        )


class Matcher:
    """Finds all of many terms in one pass over a text (Aho and Corasick 1975)."""

    def __init__(self, terms: Sequence[Term], language: str) -> None:
        """Builds the automaton. terms: with a word or sign each; language: BCP 47, of terms and texts."""
        import ahocorasick

        self.language = language
        self.terms = terms
        patterns: dict[str, list[int]] = {}
        for number, term in enumerate(self.terms):
            for key in {_key(term.forms, field) for field in (SURFACE, LEMMA, CASED_LEMMA, STEM)}:
                patterns.setdefault(key, []).append(number)
        self._automaton = ahocorasick.Automaton()
        for key, numbers in patterns.items():
            self._automaton.add_word(key, (key.count(" ") - 1, numbers))
        self._automaton.make_automaton()

    def find(self, text: str) -> list[Place]:
        """Lists the terms of a text in order: the longest first choose their place, and no two overlap.

        Of equally long ones the earlier in the text comes first. Of several terms at one place the one that is
        written so wins, then the one of the lower number.
        """
        if not self.terms:
            return []
        spans, forms = _read(text, self.language)
        hits: dict[tuple[int, int], list[int]] = {}
        # of words of one surface there is one lemma
        for key, field in {_key(forms, field): field for field in (LEMMA, CASED_LEMMA, STEM)}.items():
            lasts = _lasts(forms, field)
            for end, (length, numbers) in self._automaton.iter(key):
                last = lasts[end]
                hits.setdefault((last - length, last), []).extend(numbers)
        taken = bytearray(len(spans))
        places = []
        for words in sorted(hits, key=lambda words: (spans[words[0]][0] - spans[words[1] - 1][1], words)):
            first, last = words
            if any(taken[first:last]):
                continue
            number = self._choose(hits[words], forms[first:last])
            if number is not None:
                taken[first:last] = b"\1" * (last - first)
                places.append(Place(number, spans[first][0], spans[last - 1][1]))
        return sorted(places, key=lambda place: place.start)

    def _choose(self, numbers: Sequence[int], words: Sequence[Form]) -> int | None:
        """Chooses the term that is written as the words, else an inflected one; None where none is theirs."""
        ranked = [(self.terms[number].unlike(words), number) for number in numbers]
        return min(((unlike, number) for unlike, number in ranked if unlike is not None), default=(0, None))[
            1
        ]


def _key(forms: Sequence[Form], field: int) -> str:
    """Writes one form of each word, each between spaces: so the automaton sees the borders of words."""
    return f" {' '.join([form[field] for form in forms])} "


def _lasts(forms: Sequence[Form], field: int) -> dict[int, int]:
    """Maps the place of each space in a key to the number of words before it."""
    places = accumulate(len(form[field]) + 1 for form in forms)
    return {place: number for number, place in enumerate(places, 1)}


@lru_cache(maxsize=1 << 15)
def contains(text: str, term: str, language: str) -> bool:
    """Tells whether a term stands in a text, inflected or not, outside of what is to survive as it is.

    A remark in parentheses at the term's end need not stand there. Of German, nouns count inside compounds, and
    separable verbs with their prefix at the end of the clause. language: BCP 47, of both. It is False for a term
    without a word or sign.
    """
    plain = REMARK.sub("", term)
    if plain != term and contains(text, plain, language):
        return True
    wanted = Term(term, language)
    # a term may have code itself
    words = reduce_words(text, language) if CLOSED in _forms(term, language) else _forms(text, language)
    if not wanted.forms:
        return False
    if wanted.is_in(words):
        return True
    if language.partition("-")[0] != "de":
        return False
    if wanted.forms[0].surface == "sich" and len(wanted.forms) > 1:
        return contains(text, term.strip()[len("sich") :], language)
    if len(wanted.forms) > 1:
        return False
    noun_or_verb = wanted.forms[0]
    return has_separated(noun_or_verb, words) or any(is_part(noun_or_verb, word) for word in words)


@lru_cache(maxsize=4096)
def _forms(text: str, language: str) -> tuple[Form, ...]:
    return _read(text, language)[1]
