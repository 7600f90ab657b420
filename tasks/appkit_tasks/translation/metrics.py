"""Scores translations: BLEU, chrF++ and TER as sacreBLEU computes them, terms, placeholders, length and language.

A statistic of a row to which it does not apply (terminology of a row without terms) raises ValueError: the row is
then counted as not scored, and the interval is over the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from appkit.task import NotApplicable

if TYPE_CHECKING:
    import numpy as np

    from appkit.task import Prediction

__all__ = [
    "LONGEST",
    "SLACK",
    "Segment",
    "bleu",
    "bleu_score",
    "bleu_without_terms",
    "chrf",
    "chrf_score",
    "count_terms",
    "exact",
    "off_target",
    "over_generation",
    "placeholders",
    "sentence_chrf",
    "share",
    "signature",
    "signatures",
    "ter",
    "ter_score",
    "terminology",
    "tokenizer_of",
]

LONGEST = 2.0
"""times the reference's characters that an answer may have"""

SLACK = 20
"""characters that an answer may have beyond that: labels are short, and their translations vary"""


class TermPair(Protocol):
    """A term of the source and its translation."""

    @property
    def source(self) -> str: ...
    @property
    def target(self) -> str: ...


class Segment(Protocol):
    """What the metrics read of a row."""

    @property
    def source(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def source_language(self) -> str | None: ...
    @property
    def target_language(self) -> str | None: ...
    @property
    def terms(self) -> Sequence[TermPair]: ...


def _target_language(row: Segment) -> str:
    if not row.target_language:
        raise ValueError("the row has no target language; name it, such as target_language=fr")
    return row.target_language


def bleu(row: Segment, prediction: Prediction) -> tuple[float, ...]:
    """Counts what a row adds to corpus BLEU: length of answer and reference, matches of 1- to 4-grams, totals of these.

    The tokenizer is that of the row's target language, see `tokenizer_of`.
    """
    return _statistics(_bleu(tokenizer_of(_target_language(row))), prediction.answer, row.target)


def bleu_score(matrix: np.ndarray) -> float:
    """(N, 10) of `bleu` -> corpus BLEU, 0 to 100, as `sacrebleu.corpus_bleu` on the same rows."""
    return float(_bleu("13a")._compute_score_from_stats(list(map(int, matrix.sum(0)))).score)


def bleu_without_terms(row: Segment, prediction: Prediction) -> tuple[float, ...]:
    """Counts as `bleu` does, of rows without terms, where copying terms gains nothing.

    Raises NotApplicable for a row with terms.
    """
    if row.terms:
        raise NotApplicable("the row has terms, BLEU without terms is of the others")
    return bleu(row, prediction)


def chrf(row: Segment, prediction: Prediction) -> tuple[float, ...]:
    """Counts what a row adds to corpus chrF++: n-grams of answer, of reference, and matches, of each of 8 orders."""
    return _statistics(_chrf(), prediction.answer, row.target)


def chrf_score(matrix: np.ndarray) -> float:
    """(N, 24) of `chrf` -> corpus chrF++, 0 to 100, as `sacrebleu.corpus_chrf(word_order=2)` on the same rows."""
    return float(_chrf()._compute_score_from_stats(list(map(int, matrix.sum(0)))).score)


def sentence_chrf(answer: str, reference: str) -> float:
    """Computes chrF++ of one segment, 0 to 100."""
    return float(_chrf().sentence_score(answer, [reference]).score)


def ter(row: Segment, prediction: Prediction) -> tuple[float, ...]:
    """Counts what a row adds to corpus TER: edits, words of the reference. In Chinese and Japanese a sign is a word."""
    return _statistics(_ter(_is_asian(_target_language(row))), prediction.answer, row.target)


def ter_score(matrix: np.ndarray) -> float:
    """(N, 2) of `ter` -> corpus TER in hundredths, as `sacrebleu.corpus_ter`; more than 100 if answers are long."""
    return float(_ter(False)._compute_score_from_stats(matrix.sum(0).tolist()).score)


def _statistics(metric: Any, answer: str, reference: str) -> tuple[float, ...]:
    # sacreBLEU has no public way to a segment's counts; its own bootstrap takes this one
    return tuple(map(float, metric._extract_corpus_statistics([answer], [[reference]])[0]))


@lru_cache(maxsize=8)
def _bleu(tokenizer: str) -> Any:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(tokenize=tokenizer, force=True)


@lru_cache(maxsize=1)
def _chrf() -> Any:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF(word_order=2)


@lru_cache(maxsize=2)
def _ter(asian: bool) -> Any:
    from sacrebleu.metrics.ter import TER

    return TER(normalized=asian, asian_support=asian)


def _is_asian(language: str) -> bool:
    return language.partition("-")[0] in ("ja", "zh")


@lru_cache(maxsize=256)
def tokenizer_of(language: str) -> str:
    """Names sacreBLEU's tokenizer for a target language, as its command line chooses it for its own test sets.

    That is zh for Chinese, MeCab for Japanese and Korean, else 13a. Where MeCab is not installed, Japanese is split
    into characters and Korean by 13a; Thai, Lao, Khmer and Burmese are split into characters, as 13a splits at spaces.
    """
    from appkit_tasks.translation.languages import is_spaceless

    primary = language.partition("-")[0]
    fallback = "char" if is_spaceless(language) else "13a"
    name = {"zh": "zh", "ja": "ja-mecab", "ko": "ko-mecab"}.get(primary, fallback)
    try:
        _bleu(name)
    except RuntimeError:  # MeCab is missing
        return fallback
    return name


def signature(metric: str, target_language: str) -> str:
    """Returns sacreBLEU's signature of a metric, BLEU, chrF++ or TER, for a target language."""
    scorers: dict[str, Callable[[], Any]] = {
        "BLEU": lambda: _bleu(tokenizer_of(target_language)),
        "chrF++": _chrf,
        "TER": lambda: _ter(_is_asian(target_language)),
    }
    scorer = scorers[metric]()
    scorer.num_refs = 1
    return str(scorer.get_signature().format())


def signatures(rows: Iterable[Segment]) -> list[str]:
    """Writes the signatures of rows for the report, one line each, such as `BLEU: nrefs:1|case:mixed|…`.

    Where target languages have several tokenizers, each line has its languages, and another one says that the
    counts of all are added up.
    """
    languages = sorted({_target_language(row) for row in rows})
    lines = []
    for metric in ("BLEU", "chrF++", "TER"):
        groups: dict[str, list[str]] = {}
        for language in languages:
            groups.setdefault(signature(metric, language), []).append(language)
        for text, members in groups.items():
            name = f"{metric} ({', '.join(members)})" if len(groups) > 1 else metric
            lines.append(f"{name}: {text}")
    if len(languages) > 1:
        lines.append(
            f"The rows have {len(languages)} target languages ({', '.join(languages)}): a score is of the counts of "
            "all added up, each row's by the tokenizer of its language. Compare it with the same rows only."
        )
    return lines


def count_terms(terms: Iterable[TermPair], text: str, language: str) -> tuple[int, int]:
    """Counts the terms whose translation stands in a text, inflected or not, and all.

    Pairs of one source are alternatives: the term counts once, and any of its translations is right.
    """
    from appkit_tasks.translation.matching import contains

    alternatives: dict[str, list[str]] = {}
    for term in terms:
        alternatives.setdefault(term.source, []).append(term.target)
    kept = sum(
        any(contains(text, target, language) for target in targets) for targets in alternatives.values()
    )
    return kept, len(alternatives)


def terminology(row: Segment, prediction: Prediction) -> tuple[float, float]:
    """Counts the row's terms that are translated as listed, and all. Raises NotApplicable for a row without terms."""
    kept, total = count_terms(row.terms, prediction.answer, _target_language(row))
    if not total:
        raise NotApplicable("the row has no terms")
    return float(kept), float(total)


def placeholders(row: Segment, prediction: Prediction) -> tuple[float, float]:
    """Counts the source's placeholders, tags, URLs and code that the answer keeps, and all with those that it adds.

    Raises NotApplicable where neither has any.
    """
    from appkit_tasks.translation import protected

    kept, total = protected.share(row.source, prediction.answer)
    if not total:
        raise NotApplicable("the row has no placeholders")
    return float(kept), float(total)


def share(matrix: np.ndarray) -> float:
    """(N, 2) of parts and wholes -> sum of the parts by sum of the wholes."""
    part, whole = matrix.sum(0).tolist()
    return float(part / whole)


def over_generation(row: Segment, prediction: Prediction) -> tuple[float]:
    """Returns 1 for an answer that does not end with the translation, else 0.

    That is one that was cut at the most tokens, that has more than LONGEST times the characters of the reference and
    SLACK more, or that has more lines with text than both reference and source: notes, alternatives, the next pair.
    """
    answer = prediction.answer.strip()
    lines = max(_lines(row.source), _lines(row.target))
    too_long = len(answer) > LONGEST * len(row.target.strip()) + SLACK
    return (float(prediction.truncated or too_long or _lines(answer) > lines),)


def _lines(text: str) -> int:
    return sum(bool(line.strip()) for line in text.splitlines())


def off_target(row: Segment, prediction: Prediction) -> tuple[float]:
    """Returns 1 for an answer that is clearly in another language than it should be, else 0.

    An answer too short to tell is not off target, nor is one where the reference looks as foreign: names, code.
    """
    from appkit_tasks.translation.languages import COMMON, find_other_language

    target = _target_language(row)
    among = tuple(dict.fromkeys((row.source_language or "en", *COMMON)))
    (other,) = find_other_language([prediction.answer], target, among)
    if other is None:
        return (0.0,)
    (reference,) = find_other_language([row.target], target, among)
    return (float(other != reference),)


def exact(row: Segment, prediction: Prediction) -> tuple[float]:
    """Returns 1 for an answer equal to the reference but for space around it, else 0."""
    return (float(prediction.answer.strip() == row.target.strip()),)
