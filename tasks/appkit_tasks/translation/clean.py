"""Finds pairs that should not be trained on: wrong language, wrong length, lost placeholders, debris, duplicates.

Nothing is changed or dropped here; each finding says why. A million pairs stream through one process: what is kept
of a pair is two digests.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from math import sqrt
from statistics import median
from typing import NamedTuple

from appkit.errors import shortened
from appkit_tasks.translation.languages import (
    COMMON,
    base_of,
    find_other_language,
    find_plain_words,
    is_spaceless,
    name_of,
)
from appkit_tasks.translation.protected import compare

__all__ = ["KINDS", "Finding", "Pair", "check_pair", "check_pairs"]

KINDS = {
    "empty": "source or target has no text",
    "identical": "target is the source, though it has words to translate",
    "language": "source or target is written in another language",
    "ratio": "target is far longer or shorter than the source lets expect",
    "protected": "placeholders, tags, URLs or marks differ",
    "debris": "damaged encoding, control characters, cut or doubly escaped markup",
    "duplicate": "the same pair stands before",
    "many_targets": "the same source stands before with another target",
    "newline": "source and target have different numbers of line breaks",
    "long": "source or target is longer than a segment should be",
}

BATCH = 8192
CALIBRATION = 200
"""pairs of a direction from which its usual length is taken; with fewer LENGTHS serves"""
SHORT = 20
"""characters; lengths of shorter texts say nothing"""

LENGTHS = {
    "ar": 0.85, "bg": 1.18, "ca": 1.21, "da": 1.05, "de": 1.19, "el": 1.22, "en": 1.0, "es": 1.19, "fi": 1.1,
    "fr": 1.22, "gl": 1.17, "he": 0.87, "hu": 1.12, "it": 1.2, "ja": 0.62, "ko": 0.64, "ml": 1.23, "nl": 1.14,
    "pa": 0.91, "pl": 1.13, "pt": 1.12, "ro": 1.17, "ru": 1.14, "sq": 1.14, "uk": 1.13, "yue": 0.4, "zh": 0.42,
}  # fmt: skip
"""characters for one of English: medians over messages of free software; OTHER for any other language"""
OTHER = 1.05
SPREAD, LEAST_SPREAD, MOST_SPREAD = 1.5, 1.0, 2.0
"""of the length, in roots of characters, before it is measured; 1.1 to 1.6 in all directions that were"""

UNEVEN = 0.05
"""standard deviation between texts, as a share of the length"""

CONTROL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\ufeff\ufffd\ufffe\uffff\ue000-\uf8ff\ud800-\udfff]"
)
NAMES = {"\u00ad": "soft hyphen", "\ufeff": "byte order mark", "\ufffd": "replacement character"}
HIGH = "[\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122]"
"""what the bytes 80 to BF are in Latin-1 and Windows-1252"""
SUSPECT = re.compile(f"[\u00c2\u00c3\u00d0\u00d1\u00e0\u00e2\u00ef]{HIGH}")
MOJIBAKE = re.compile(
    f"[\u00c2\u00c3]{HIGH}|\u00e2[\u0080\u20ac]{HIGH}|\u00ef\u00bb\u00bf|\u00e0[\u00a4\u00a5]{HIGH}|(?:[\u00d0\u00d1]{HIGH}){{2}}"
)
"""UTF-8 read as one of those, by what it makes of accents, quotes, a byte order mark, Devanagari and Cyrillic"""
ESCAPED = re.compile(
    r"&amp;(?:[A-Za-z]{2,8}|#\d{2,6}|#x[0-9A-Fa-f]{2,5});|&(?:amp|lt|gt|quot|nbsp|#\d{2,6})(?![;\w])"
)
CUT = re.compile(
    r"<[A-Za-z][\w:-]*\s[^<>]{0,300}=[^<>]{0,300}\Z|</[\w:-]*\Z|\A[\w:-]{1,40}=\"[^\"<>]{0,300}\"\s*/?>"
    r"|\]\([^()\s]{0,300}\Z|<!\[CDATA\[|\]\]>|_x000[AD]_"
)
CUT_SIGNS = ("<", ">", "](", "_x000")
CUT_ROLE = re.compile(r":[a-z]{2,12}:`[^`]{0,300}\Z")

EMPTY = " \t\r\n\f\v\u00a0\u200b\u2060\u3000\ufeff"

Pair = tuple[str, str, str, str]
"""source, target, and their normalized language codes"""


class Finding(NamedTuple):
    """A reason not to train on a pair."""

    kind: str
    """one of KINDS"""
    reason: str
    """one line; numbers of rows count from 1"""


@dataclass(frozen=True)
class Length:
    """What a direction's lengths are like."""

    ratio: float
    """characters of the target for one of the source"""
    spread: float
    """standard deviation of the target's length, in roots of the mean of expected and real characters"""

    def deviations(self, source: str, target: str) -> float:
        """Returns by how many standard deviations the target is too long; below 0, too short.

        The variance grows with the length (Gale and Church 1993) and, as texts differ in how wordy they are, with its
        square.
        """
        expected = self.ratio * len(source)
        mean = (expected + len(target)) / 2 or 1.0
        return (len(target) - expected) / sqrt(self.spread**2 * mean + (UNEVEN * mean) ** 2)


def check_pair(
    source: str,
    target: str,
    source_language: str,
    target_language: str,
    *,
    deviations: float = 5.0,
    longest: int = 5000,
    detector: str = "py3langid",
) -> list[Finding]:
    """Finds what is wrong with one pair; duplicates and the usual lengths of its kind show only among others.

    deviations: standard deviations of the length from what is usual. longest: characters.
    """
    pair = (source, target, source_language, target_language)
    checked = check_pairs([pair], deviations=deviations, longest=longest, detector=detector)
    return next((findings for _, findings in checked), [])


def check_pairs(
    pairs: Iterable[Pair],
    *,
    deviations: float = 5.0,
    longest: int = 5000,
    languages: Sequence[str] = COMMON,
    detector: str = "py3langid",
) -> Iterator[tuple[int, list[Finding]]]:
    """Yields the number, from 0, and the findings of each pair that has any.

    deviations: standard deviations of the length from what is usual. longest: characters. languages: normalized codes
    that may stand in the place of the right one. Raises ValueError without the detector's library.
    """
    lengths: dict[tuple[str, str], Length] = {}
    seen = _Seen()
    number = 0
    for batch in _in_batches(pairs):
        _calibrate(batch, lengths)
        others = _find_others(batch, languages, detector)
        for pair, other in zip(batch, others, strict=True):
            length = lengths.get(pair[2:]) or _usual(*pair[2:])
            findings = _check(pair, other, length, deviations, longest) + seen.check(pair, number)
            if findings:
                yield number, findings
            number += 1


class _Seen:
    """Remembers pairs and sources by digests of 8 bytes: two in a million pairs collide once in 37 million runs."""

    def __init__(self) -> None:
        self.pairs: dict[int, int] = {}
        self.sources: dict[int, int] = {}

    def check(self, pair: Pair, number: int) -> list[Finding]:
        """Says where the pair, or its source with another target, stood before."""
        source, target, *codes = pair
        of_source = _digest(source, *codes)
        first = self.pairs.setdefault(_digest(source, target, *codes), number)
        if first != number:
            return [Finding("duplicate", f"the same pair stands in row {first + 1}")]
        first = self.sources.setdefault(of_source, number)
        if first == number:
            return []
        return [Finding("many_targets", f"the same source stands in row {first + 1} with another target")]


def _digest(*texts: str) -> int:
    joined = "\0".join(texts).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(joined, digest_size=8).digest(), "big")


def _in_batches(pairs: Iterable[Pair]) -> Iterator[list[Pair]]:
    remaining = iter(pairs)
    while batch := list(islice(remaining, BATCH)):
        yield batch


def _calibrate(batch: Sequence[Pair], lengths: dict[tuple[str, str], Length]) -> None:
    """Takes the usual length of a direction from the first batch with enough of its pairs; medians bear errors."""
    directions = defaultdict(list)
    for source, target, *codes in batch:
        direction = (codes[0], codes[1])
        if direction not in lengths and len(source) >= SHORT and target.strip():
            directions[direction].append((len(source), len(target)))
    for direction, sizes in directions.items():
        if len(sizes) >= CALIBRATION:
            ratio = median(target / source for source, target in sizes)
            off = [
                abs(target - ratio * source) / sqrt((ratio * source + target) / 2) for source, target in sizes
            ]
            # 1.48 medians of the absolute values are a standard deviation. Copies alone would have none, and a file
            # whose sides are shifted so much that nothing in it were odd.
            lengths[direction] = Length(ratio, min(max(1.48 * median(off), LEAST_SPREAD), MOST_SPREAD))


def _usual(source_language: str, target_language: str) -> Length:
    """Returns what a direction's lengths are like before any are measured."""
    source, target = base_of(source_language), base_of(target_language)
    return Length(LENGTHS.get(target, OTHER) / LENGTHS.get(source, OTHER), SPREAD)


def _find_others(
    batch: Sequence[Pair], languages: Sequence[str], detector: str
) -> list[tuple[str | None, str | None]]:
    """Returns the language that source and target are written in, where it is not theirs."""
    sides = []
    for side in (0, 1):
        by_language = defaultdict(list)
        for place, pair in enumerate(batch):
            by_language[pair[side + 2]].append(place)
        others: list[str | None] = [None] * len(batch)
        for language, places in by_language.items():
            texts = [batch[place][side] for place in places]
            rivals = tuple({*languages, *(batch[place][3 - side] for place in places)})
            for place, other in zip(
                places, find_other_language(texts, language, sorted(rivals), detector=detector), strict=True
            ):
                others[place] = other
        sides.append(others)
    return list(zip(*sides, strict=True))


def _check(
    pair: Pair, others: tuple[str | None, str | None], length: Length, deviations: float, longest: int
) -> list[Finding]:
    """Finds what is wrong with a pair on its own."""
    source, target, source_language, target_language = pair
    findings = []
    copied = source_language != target_language and _is_copy(source, target, source_language, target_language)
    if copied:
        findings.append(Finding("identical", f"target is the source: {shortened(target)}"))
    for side, text, language, other in (
        ("source", source, source_language, others[0]),
        ("target", target, target_language, others[1]),
    ):
        if not text or not text.strip(EMPTY):
            return [Finding("empty", f"{side} is empty")]
        if len(text) > longest:
            findings.append(Finding("long", f"{side} has {len(text)} characters, more than {longest}"))
        if other is not None and not (copied and text is target):
            findings.append(Finding("language", _other_language(side, text, language, other)))
        if damage := _find_damage(text):
            findings.append(Finding("debris", f"{side} has {damage}"))
    if max(len(source), len(target)) >= SHORT and not copied:
        off = length.deviations(source, target)
        if abs(off) > deviations:
            usual = f"about {length.ratio * len(source):.0f} are usual for {len(source)} of the source"
            findings.append(
                Finding("ratio", f"target has {len(target)} characters, {usual} ({off:+.1f} deviations)")
            )
    if difference := compare(source, target):
        findings.append(Finding("protected", f"target {difference}"))
    breaks, their_breaks = _count_breaks(source), _count_breaks(target)
    if breaks != their_breaks:
        findings.append(Finding("newline", f"source has {breaks} line breaks, target {their_breaks}"))
    return findings


def _is_copy(source: str, target: str, source_language: str, target_language: str) -> bool:
    """Tells whether the target repeats a source that has words to translate, not only names and code."""
    if len(source) != len(target) or source.casefold() != target.casefold():
        return False
    if base_of(source_language) == base_of(target_language):
        return False
    words = find_plain_words(source).split()
    letters = sum(map(len, words))
    return letters >= 4 if is_spaceless(source_language) else letters >= 8 and len(words) >= 2


def _other_language(side: str, text: str, language: str, other: str) -> str:
    written = f"in the script {other[4:]}" if other.startswith("und-") else f"in {name_of(other)}"
    return f"{side} is written {written}, not in {name_of(language)}: {shortened(text)}"


def _find_damage(text: str) -> str | None:
    """Names the first damage of a text and shows it."""
    if (not text.isprintable() or "\ufffd" in text) and (match := CONTROL.search(text)):
        name = NAMES.get(match[0], "control character")
        return f"a {name} (U+{ord(match[0]):04X}) at character {match.start()}"
    if not text.isascii() and SUSPECT.search(text) and (match := MOJIBAKE.search(text)):
        return f"text decoded wrongly: {shortened(text[max(match.start() - 8, 0) : match.end() + 8])}"
    if "&" in text and (match := ESCAPED.search(text)):
        return f"a doubly escaped or cut entity: {shortened(match[0])}"
    if any(sign in text for sign in CUT_SIGNS) and (match := CUT.search(text)):
        return f"cut markup: {shortened(match[0])}"
    if text.count("`") % 2 and (match := CUT_ROLE.search(text)):
        return f"cut markup: {shortened(match[0])}"
    return None


def _count_breaks(text: str) -> int:
    """Counts line breaks; CR LF is one."""
    return text.count("\n") + text.count("\r") - text.count("\r\n")
