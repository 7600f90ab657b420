"""Says what a language code means, and in which of some languages a text is written.

The language of a text is told by its script, then by py3langid: naive Bayes over byte n-grams, offline. Many texts
are read at once, so that the n-grams of all are found by one walk in numpy: 20 times faster than text by text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from appkit.errors import shortened
from appkit_tasks.translation import ngrams
from appkit_tasks.translation.codes import (
    base_of,
    is_right_to_left,
    is_spaceless,
    name_of,
    normalize,
    script_of,
)
from appkit_tasks.translation.scripts import find_plain_words, plausible

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "COMMON",
    "base_of",
    "find_other_language",
    "find_plain_words",
    "identify",
    "identify_all",
    "is_right_to_left",
    "is_spaceless",
    "name_of",
    "normalize",
    "script_of",
]

COMMON = (
    "ar", "cs", "da", "de", "en", "es", "fi", "fr", "hu", "id", "it", "ja", "ko", "nl", "no", "pl", "pt", "ro",
    "ru", "sv", "tr", "uk", "vi", "zh",
)  # fmt: skip
"""languages to compare with where any may stand in the place of the right one"""

NATS, NATS_PER_ROOT = 10.0, 2.0
"""A language is named if its log-likelihood is above the next by so many nats, and per root of the bytes read.

Measured on 71 000 texts of en, fr, de and hi, told apart in pairs: Python's documentation, Debian, TICO-19, interface
texts, and cuts of 1 to 8 words of them. Of 11 to 20 letters 0.03 % are named wrongly and 28 % not named, of 21 to 40
0.04 % and 11 %, of 41 to 80 0.02 % and 3 %, of more 0.005 % and 0.2 %. Most wrong ones are English names in German.
"""
LINGUA_NATS = 2.0
"""of lingua's log-probabilities: 7 to 1.

Measured on 4,729 texts of en, fr and de among COMMON (interface texts, Python's documentation, Debian): it names none
wrongly, and leaves 73 % of those of 4 to 20 letters unnamed, 7 % of 21 to 80 and 0.2 % of more; py3langid leaves 63 %,
1.3 % and none.
"""

BATCH = 2048
"""texts that are read at once"""

LABELS = {"fil": "tl", "nb": "no"}
"""names of languages in py3langid"""
LINGUA_LABELS = {"fil": "tl", "no": "nb"}
"""names of languages in lingua"""
TWO_SCRIPTS = frozenset({"sr", "zh"})
"""languages that it knows in more than their default script"""


def identify(text: str, among: Sequence[str], *, detector: str = "py3langid") -> str | None:
    """Returns the one of some normalized codes in whose language a text is written.

    None where the text does not tell: it is short, made of names, placeholders and numbers, or might be two of them
    (en-US and en-GB always). A text in a script that none is written in gives `und-` and the script: `und-Cyrl`.
    detector: py3langid or lingua. Raises ValueError for another one, or if it is not installed.
    """
    return identify_all([text], among, detector=detector)[0]


def identify_all(
    texts: Sequence[str], among: Sequence[str], *, detector: str = "py3langid"
) -> list[str | None]:
    """Does for many texts what `identify` does for one."""
    return _name_all(texts, tuple(dict.fromkeys(among)), None, detector)


def find_other_language(
    texts: Sequence[str], expected: str, among: Sequence[str] = COMMON, *, detector: str = "py3langid"
) -> list[str | None]:
    """Returns for each text the language it is written in, one of `among` or `und-Cyrl`, if it is not `expected`.

    None where it is, or where the text does not tell. Raises ValueError as `identify` does.
    """
    rivals = [code for code in among if base_of(code) != base_of(expected)]
    return _name_all(texts, (expected, *rivals), expected, detector)


def _name_all(
    texts: Sequence[str], codes: tuple[str, ...], expected: str | None, detector: str
) -> list[str | None]:
    """Names languages by the texts' scripts, and by the detector where these allow more than one."""
    if detector not in DETECTORS:
        raise ValueError(f"detector must be one of {', '.join(DETECTORS)}, got {shortened(detector)}")
    names: list[str | None] = []
    undecided: dict[tuple[str, ...], list[tuple[int, str]]] = {}
    for place, text in enumerate(texts):
        words = find_plain_words(text)
        allowed, other = plausible(words, codes)
        if len(allowed) > 1:
            undecided.setdefault(allowed, []).append((place, words))
        elif allowed:
            other = allowed[0] if allowed[0] != expected else None
        names.append(other)
    for allowed, items in undecided.items():
        for start in range(0, len(items), BATCH):
            batch = items[start : start + BATCH]
            scores = DETECTORS[detector]([words for _, words in batch], allowed)
            if scores is not None:
                for (place, _), name in zip(batch, _name(scores, allowed, expected), strict=True):
                    names[place] = name
    return names


class Scores(NamedTuple):
    """What a detector says of N texts and K languages."""

    likelihoods: np.ndarray
    """(N, K) in nats"""
    margins: np.ndarray
    """(N,) nats by which a language must lead to be named"""


def _name(scores: Scores, codes: tuple[str, ...], expected: str | None) -> list[str | None]:
    """Names the likeliest language where it leads: over the expected one, if that is possible, or over the next."""
    import numpy as np

    likelihoods, margins = scores
    best, top = likelihoods.argmax(axis=1), likelihoods.max(axis=1)
    if expected in codes:
        lead = top - likelihoods[:, codes.index(expected)]
        unsure = None
    else:
        lead = top - np.partition(likelihoods, -2, axis=1)[:, -2]
        unsure = None if expected is None else f"und-{script_of(codes[0])}"  # not expected, so much is sure
    return [
        codes[place] if leads else unsure
        for place, leads in zip(best.tolist(), (lead >= margins).tolist(), strict=True)
    ]


def _score_py3langid(texts: Sequence[str], codes: tuple[str, ...]) -> Scores | None:
    import numpy as np

    labels = [_label(code) for code in codes]
    if not ngrams.labels().issuperset(labels):
        return None
    encoded = [ngrams.encode(text) for text in texts]
    roots = np.sqrt([len(text) for text in encoded])
    return Scores(ngrams.score(encoded, labels), np.maximum(NATS, NATS_PER_ROOT * roots))


@lru_cache(maxsize=1024)
def _label(code: str) -> str:
    """Returns the model's name of a language; empty where the model knows it in another script."""
    base = base_of(code)
    if script_of(code) != script_of(base) and base not in TWO_SCRIPTS:
        return ""
    return LABELS.get(base, base)


def _score_lingua(texts: Sequence[str], codes: tuple[str, ...]) -> Scores | None:
    import numpy as np

    bases = [LINGUA_LABELS.get(base_of(code), base_of(code)) for code in codes]
    detector, languages = _lingua(tuple(sorted(set(bases))))
    if not languages.keys() >= set(bases):
        return None
    likelihoods = np.empty((len(texts), len(codes)))
    for row, text in zip(likelihoods, texts, strict=True):
        shares = {value.language: value.value for value in detector.compute_language_confidence_values(text)}
        row[:] = [shares[languages[base]] for base in bases]
    return Scores(np.log(np.maximum(likelihoods, 1e-12)), np.full(len(texts), LINGUA_NATS))


@lru_cache(maxsize=8)
def _lingua(bases: tuple[str, ...]) -> tuple[Any, dict[str, Any]]:
    """Builds lingua's detector of some languages; returns it with its languages by code."""
    try:
        import lingua
    except ModuleNotFoundError:
        raise ValueError(
            "task.language_detector=lingua needs lingua; pip install 'appkit[lingua]', or take py3langid"
        ) from None
    known = {language.iso_code_639_1.name.lower(): language for language in lingua.Language.all()}
    languages = {base: known[base] for base in bases if base in known}
    if len(languages) < 2:
        return None, {}
    return lingua.LanguageDetectorBuilder.from_languages(*languages.values()).build(), languages


DETECTORS: dict[str, Callable[[Sequence[str], tuple[str, ...]], Scores | None]] = {
    "py3langid": _score_py3langid,
    "lingua": _score_lingua,
}
