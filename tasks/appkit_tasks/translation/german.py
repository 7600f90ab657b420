"""Recognizes German terms where the language takes them apart or builds them into longer words."""

from __future__ import annotations

from collections.abc import Sequence

from appkit_tasks.translation.words import PLAIN_VOWELS, Form, agrees, is_known, reduce_word

__all__ = ["has_separated", "is_part"]

PREPOSITIONS = (
    *(
        "ab",
        "an",
        "auf",
        "aus",
        "bei",
        "durch",
        "ein",
        "fort",
        "her",
        "hin",
        "los",
        "mit",
        "nach",
        "über",
        "um",
    ),
    *("unter", "vor", "weg", "wieder", "zu", "zurück", "zusammen"),
)
"""no nouns: what they begin is another word, as Vorbild is no Bild"""

SEPARABLE = (
    *PREPOSITIONS,
    *("bereit", "fertig", "fest", "frei", "heraus", "herunter", "hinzu", "hoch", "statt", "teil", "weiter"),
    "wiederher",
)
"""verb prefixes that stand at the end of the clause: `Melden Sie sich ab`"""

LINKS = ("", "s", "es", "n", "en", "er", "e", "ens")
"""letters between the parts of a compound: Einstellung-s-dialog"""

SHORTEST_TERM = 4
SHORTEST_REST = 3
"""letters of what stands before or after a term in a compound: `be` in `Benachrichtigung` is no noun"""

CLAUSE_ENDS = frozenset(",.;:!?…–—()")


def is_part(term: Form, word: Form) -> bool:
    """Tells whether a noun is a part of a compound: Konto of Benutzerkonten, Kontostand; not Rolle of Kontrolle.

    What is before and after the noun must be words of the dictionary, no verb prefix, and not too short. A noun
    that is a compound itself is also in one whose last part is inflected: Eingabefeld in Eingabefelder.
    """
    noun, compound = term.surface, word.surface
    if len(noun) < SHORTEST_TERM or not noun.isalpha():
        return False
    return _is_last(term, compound) or _is_first(noun, compound) or _is_inflected(noun, compound)


def _is_last(term: Form, compound: str) -> bool:
    """Tells whether a compound ends with the noun, inflected or not: Benutzerkonten."""
    beginning = _plain(term.surface[:3])
    return any(
        _plain(compound[cut : cut + 3]) == beginning
        and agrees(term, reduce_word(compound[cut:].capitalize(), "de"), "de")
        and _is_noun_part(compound[:cut])
        for cut in range(SHORTEST_REST, len(compound) - SHORTEST_REST + 1)
    )


def _is_first(noun: str, compound: str) -> bool:
    """Tells whether a compound has the noun, itself or without -e, before its last part: Kontostand, Adressbuch."""
    for stem in [noun, noun[:-1]] if noun.endswith("e") and len(noun) > SHORTEST_TERM else [noun]:
        at = compound.find(stem)
        if at < 0 or (at > 0 and not _is_noun_part(compound[:at])):
            continue
        rest = compound[at + len(stem) :]
        lasts = [rest[len(link) :] for link in LINKS if rest.startswith(link)]
        if any(len(last) >= SHORTEST_REST and is_known(last, "de") for last in lasts):
            return True
    return False


def _is_inflected(noun: str, compound: str) -> bool:
    """Tells whether both are one compound but for the form of the last part: Eingabefeld, Eingabefelder."""
    cuts = range(SHORTEST_REST, len(noun) - SHORTEST_REST + 1)
    return noun[:SHORTEST_REST] == compound[:SHORTEST_REST] and any(
        noun[:cut] == compound[:cut]
        and is_known(noun[cut:], "de")
        and _noun_lemma(noun[cut:]) == _noun_lemma(compound[cut:])
        for cut in cuts
    )


def _noun_lemma(part: str) -> str:
    return reduce_word(part.capitalize(), "de").cased_lemma


def _plain(start: str) -> str:
    return start.translate(PLAIN_VOWELS)


def _is_noun_part(start: str) -> bool:
    """Tells whether a compound can start so: with a word, linked to the next by LINKS, or with a verb's stem."""
    if len(start) < SHORTEST_REST or start in PREPOSITIONS:
        return False
    stems = [start.removesuffix(link) for link in LINKS if start.endswith(link)]
    if any(len(stem) >= SHORTEST_REST and is_known(stem, "de") for stem in stems):
        return True
    infinitive = start + "en"  # Ausleih-verlauf
    is_verb = is_known(infinitive, "de") and reduce_word(infinitive, "de").lemma == infinitive
    return len(start) > SHORTEST_REST and is_verb


def has_separated(verb: Form, words: Sequence[Form]) -> bool:
    """Tells whether a separable verb stands in two: `meldet sich ab` for abmelden.

    words: all words and signs of the text, in order. The prefix must follow in the same clause.
    """
    for prefix in SEPARABLE:
        base = verb.surface.removeprefix(prefix)
        if (
            base == verb.surface
            or len(base) < SHORTEST_TERM
            or not base.endswith("n")
            or not is_known(base, "de")
        ):
            continue
        end = "her" if prefix == "wiederher" else prefix  # stellt wieder her
        pending = False
        for word in words:
            if pending and word.surface == end:
                return True
            if word.surface in CLAUSE_ENDS:
                pending = False
            elif base in (word.surface, word.lemma):
                pending = True
    return False
