"""Splits text into words and reduces them to forms in which inflected words agree.

A word of a script without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese) is one character with its marks.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Any, NamedTuple

__all__ = [
    "PLAIN_VOWELS",
    "SPACELESS",
    "Form",
    "agrees",
    "is_known",
    "keeps_case",
    "lemma_language",
    "reduce_word",
    "reduce_words",
    "split",
]

JOINERS = "\u00ad\u200c\u200d\u2060"
"""soft hyphen, zero-width non-joiner and joiner, word joiner: inside words, no part of what they say"""

SPACELESS = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\u30fc"
"""letters of scripts without spaces between words, and the Japanese sign of length, for a pattern's brackets"""

LONGEST = 60
"""characters of the longest word that is reduced: longer ones are data, and reducing takes time by length"""

SHARED_DICTIONARIES = {"no": "nb", "bs": "hbs", "hr": "hbs", "sr": "hbs"}
"""language -> the one whose dictionary simplemma has for it"""

PLURAL_S = frozenset({"en", "es", "fr", "pt"})
"""languages in which an unknown word that ends in -s is taken for a plural"""

KOREAN_PARTICLES = re.compile(
    "(?<=..)(?:에서|에게|한테|으로|까지|부터|처럼|보다|을|를|이|가|은|는|에|의|도|로|와|과|만)$"
)

STEMMED = frozenset({"de", "es", "fr", "pt"})
"""languages whose words have a stem besides the lemma"""

GERMAN_ENDINGS = re.compile("(?<=....)(?:e[nm]?|(?<=[lr])n)?(?:(?<!s)s)?$")
PLAIN_VOWELS = str.maketrans("äöü", "aou")
"""German plurals often change the vowel: Plan, Pläne"""

ROMANCE_PLURAL = re.compile("(?<=...)[sx]$")
FRENCH_PARTICIPLE = re.compile("(?<=..)(?:ée?|e[rz])$")
"""infecté, infectée and infectez of infecter"""

IRREGULAR_PLURAL = re.compile("(?:men|ren|eet|eeth|ice|eese|people|a|ae|i)$")
"""endings of English plurals without -s: women, children, feet, mice, criteria"""

VARIANTS: dict[str, dict[int, Any]] = {
    "az": str.maketrans({"I": "ı", "İ": "i"}),
    "tr": str.maketrans({"I": "ı", "İ": "i"}),
    "hi": str.maketrans({"\u093c": None, "\u0901": "\u0902"}),
}
"""signs that a language writes in two ways, or folds in its own: dotless i; nukta and candrabindu"""


class Form(NamedTuple):
    """A word as written (NFKC, without joiners), and what is left of it where case and inflection do not count."""

    written: str
    surface: str
    """without case"""
    lemma: str
    """of the word in lower case, by simplemma"""
    cased_lemma: str
    """of the word as written: German `Arbeiten` is no verb"""
    stem: str
    """without regular endings, in languages of which simplemma knows too few words; elsewhere the lemma"""


@lru_cache(maxsize=1)
def _pattern() -> Any:
    import regex

    letter = rf"[[\p{{L}}\p{{M}}\p{{N}}_{JOINERS}]--[{SPACELESS}]]"
    return regex.compile(
        rf"(?V1)(?P<word>{letter}+(?:[.@·]{letter}+)*(?:\+\+|\#)?"  # file.txt, ada@example.org, C++ are words
        rf"|[{SPACELESS}][\p{{M}}{JOINERS}]*)"
        rf"|(?P<joint>(?<={letter})[-‐‑'’ʼ](?={letter}))"
        r"|(?P<sign>\S)"
    )


def split(text: str) -> list[tuple[int, int]]:
    """Finds start and end of each word or other sign of a text.

    Hyphens and apostrophes between two words only part them, as a space does.
    """
    return [match.span() for match in _pattern().finditer(text) if match.lastgroup != "joint"]


def reduce_words(text: str, language: str) -> tuple[Form, ...]:
    """Splits a text and reduces each word and sign; language: BCP 47."""
    return tuple(reduce_word(text[start:end], language) for start, end in split(text))


@lru_cache(maxsize=1 << 17)
def reduce_word(word: str, language: str) -> Form:
    """Reduces a word or sign; language: BCP 47. Languages that simplemma does not know have no lemmas of their own."""
    written = unicodedata.normalize("NFKC", word.translate(dict.fromkeys(map(ord, JOINERS))))
    written = "".join(written.split()) or word
    primary = language.partition("-")[0]
    surface = _fold(written, primary)
    if len(written) > LONGEST or not any(map(str.isalpha, written)):
        return Form(written, surface, surface, surface, surface)
    stem = _stem(surface, primary)
    if re.fullmatch(r"[A-Z][A-Z0-9]+s", written):  # APIs, URLs
        return Form(written, surface, surface[:-1], surface[:-1], surface[:-1])
    code = lemma_language(primary)
    if code is None:
        return Form(written, surface, stem, stem, stem)
    spellings = [surface if primary in ("az", "tr") else written.lower(), written]
    if primary == "de":
        spellings = list(map(_spell_german, spellings))
    lemma, cased_lemma = (_fold(_lemma(spelling, code), primary) for spelling in spellings)
    return Form(written, surface, lemma, cased_lemma, stem if primary in STEMMED else lemma)


def _stem(surface: str, primary: str) -> str:
    """Takes regular endings off a word of the languages in STEMMED and of Korean.

    simplemma has no German compounds (Gießpläne), and French plurals that may be verbs it takes for these
    (sauvegardes). German -er stays, since Drucker is no form of drucken.
    """
    if primary == "ko":
        return KOREAN_PARTICLES.sub("", surface)
    if primary == "de":
        stem = GERMAN_ENDINGS.sub("", surface)
        return surface if stem == surface else stem.translate(PLAIN_VOWELS)
    if primary in STEMMED:
        stem = ROMANCE_PLURAL.sub("", surface)
        return FRENCH_PARTICIPLE.sub("é", stem) if primary == "fr" else stem
    return surface


def _spell_german(word: str) -> str:
    """Writes ß for ss where that makes a word of the dictionary: Swiss text and capitals have none."""
    sharp = word.replace("ss", "ß")
    return sharp if sharp != word and is_known(sharp, "de") else word


def _fold(text: str, primary: str) -> str:
    if primary in VARIANTS:
        text = unicodedata.normalize("NFD", text) if primary == "hi" else text
        text = text.translate(VARIANTS[primary])
    return unicodedata.normalize("NFKC", text.casefold())


@lru_cache(maxsize=256)
def lemma_language(language: str) -> str | None:
    """Returns the code of simplemma's dictionary for a language, None if it has none."""
    from simplemma import is_known

    primary = language.partition("-")[0]
    code = SHARED_DICTIONARIES.get(primary, primary)
    try:
        is_known("a", code)
    except ValueError:
        return None
    return code


def _lemma(word: str, code: str) -> str:
    from simplemma import lemmatize

    lemma = "".join(lemmatize(word, code).split())
    plural = (
        code in PLURAL_S and len(word) >= 4 and word.endswith("s") and not word.endswith(("ss", "us", "is"))
    )
    if lemma.lower() == word.lower() and plural and not is_known(word, code):
        return word[:-1]
    return lemma or word


@lru_cache(maxsize=1 << 16)
def is_known(word: str, language: str) -> bool:
    """Tells whether a word stands in simplemma's dictionary of the language, in either case; False without one."""
    from simplemma import is_known as in_dictionary

    code = lemma_language(language)
    return bool(word) and code is not None and in_dictionary(word, code)


def agrees(term: Form, word: Form, language: str, *, noun: bool = False) -> bool:
    """Tells whether a text's word is the word of a term, inflected or not.

    Case counts only where the term's word is all capitals (AIDS, C) or has inner ones (iPhone); these may take
    an -s. An English term that is inflected itself has no other inflections but its singular: `logging` is not
    in `logs`, though `log` is in `logging`. noun: an English term is no verb, so `build` is not in `built`.
    """
    if keeps_case(term.written):
        return word.written in (term.written, term.written + "s")
    if term.surface == word.surface:
        return True
    primary = language.partition("-")[0]
    lemmas = (word.surface, word.lemma, word.cased_lemma)
    if primary == "en":
        if noun and not word.surface.endswith("s") and not IRREGULAR_PLURAL.search(word.surface):
            return term.surface.endswith("s") and term.lemma == word.surface
        if term.surface != term.lemma:
            is_singular = term.surface.endswith("s") and term.lemma == word.surface
            return term.surface in lemmas or word.surface == term.surface + "s" or is_singular
    if term.surface in lemmas or term.lemma in lemmas or term.cased_lemma in lemmas:
        return True
    # a German noun is no form of a verb of its stem: Suche, suchen
    is_other_class = primary == "de" and term.written[:1].isupper() and word.written[:1].islower()
    return term.stem == word.stem and not is_other_class


@lru_cache(maxsize=1 << 16)
def keeps_case(written: str) -> bool:
    """Tells whether a term's word is another in other case: all capitals (AIDS, C), or inner ones (iPhone)."""
    letters = [letter for letter in written if letter.isalpha()]
    capitals = sum(map(str.isupper, letters))
    return capitals > 0 and (capitals == len(letters) or any(map(str.isupper, letters[1:])))
