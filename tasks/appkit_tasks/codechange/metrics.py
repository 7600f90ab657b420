"""Scores answers to code changes: reviews, commit messages, updated comments.

Texts are compared with one reference, and many others are as good. Similarity of a review to a person's
measures little (DeepCRCEval, arXiv 2412.18291): read beside it where remarks stand, what is missed, and false
alarms.

BLEU-4 and chrF are sacreBLEU's, with the signatures `nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp` and
`nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no`. METEOR is not here: it needs WordNet or a Java
archive, which are downloaded.

A statistic of a row to which it does not apply raises NotApplicable.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from appkit.task import Metric, NotApplicable
from appkit_tasks.codechange.bnorm import ORDER, count_matches, sentence_b_norm
from appkit_tasks.codechange.crystal import code_tokens
from appkit_tasks.codechange.remarks import Remark, Remarks, parse_remarks

if TYPE_CHECKING:
    import numpy as np

    from appkit.task import Prediction

__all__ = [
    "METRICS",
    "PRIMARY",
    "SUBJECT_METRICS",
    "ScoredRow",
    "b_norm",
    "bleu",
    "bleu_score",
    "chrf",
    "chrf_score",
    "edit_distance",
    "exact",
    "false_alarms",
    "gleu",
    "is_concrete",
    "location",
    "missed",
    "relative_edit_distance",
    "rouge_l",
    "severity",
    "share",
    "vague",
]


class ScoredRow(Protocol):
    """What the metrics read of a row."""

    @property
    def diff(self) -> str: ...
    @property
    def answer(self) -> str: ...
    @property
    def comment(self) -> str: ...
    @property
    def file(self) -> str: ...
    @property
    def line(self) -> int | None: ...
    @property
    def end_line(self) -> int | None: ...
    @property
    def severity(self) -> str | None: ...


def bleu(answer: str, reference: str) -> tuple[float, ...]:
    """Counts what a row adds to corpus BLEU-4: lengths of both texts, matches and totals of each order."""
    return _statistics(_bleu(), answer, reference)


def bleu_score(matrix: np.ndarray) -> float:
    """(N, 10) of `bleu` -> corpus BLEU-4, 0 to 100, as `sacrebleu.corpus_bleu` on the same rows."""
    return float(_bleu()._compute_score_from_stats(list(map(int, matrix.sum(0)))).score)


def chrf(answer: str, reference: str) -> tuple[float, ...]:
    """Counts what a row adds to corpus chrF: 1- to 6-grams of answer, of reference, and matches."""
    return _statistics(_chrf(), answer, reference)


def chrf_score(matrix: np.ndarray) -> float:
    """(N, 18) of `chrf` -> corpus chrF, 0 to 100, as `sacrebleu.corpus_chrf` on the same rows."""
    return float(_chrf()._compute_score_from_stats(list(map(int, matrix.sum(0)))).score)


def _statistics(metric: Any, answer: str, reference: str) -> tuple[float, ...]:
    # sacreBLEU has no public way to a segment's counts; its own bootstrap takes this one
    return tuple(map(float, metric._extract_corpus_statistics([answer], [[reference]])[0]))


@lru_cache(maxsize=1)
def _bleu() -> Any:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(force=True)


@lru_cache(maxsize=1)
def _chrf() -> Any:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()


def b_norm(answer: str, reference: str) -> tuple[float]:
    """Computes B-Norm of a row, 0 to 100; a corpus has the mean."""
    return (100 * sentence_b_norm(answer, reference),)


_ROUGE_WORD = re.compile(r"[^\W_]+")


def rouge_l(answer: str, reference: str) -> tuple[float]:
    """Computes F1 of the longest common subsequence of words, 0 to 1 (Lin 2004); a corpus has the mean.

    It equals `rouge_score` without stemming where texts are ASCII; that drops all other letters, which are
    words here. Its table of words by words takes seconds for long texts, so RapidFuzz finds the subsequence.
    """
    from rapidfuzz.distance import LCSseq

    predicted, gold = (_ROUGE_WORD.findall(text.lower()) for text in (answer, reference))
    # 2 P R / (P + R) of P = common / predicted words and R = common / words of the reference
    words = len(predicted) + len(gold)
    return (2 * LCSseq.similarity(predicted, gold) / words if words else 0.0,)


def gleu(answer: str, reference: str) -> tuple[float, float]:
    """Counts what a row adds to GLEU: matches of 1- to 4-grams, and all of the side that has more.

    That is Google-BLEU, the lower of precision and recall (Wu et al. 2016), as `nltk.translate.gleu_score`.
    It is not the GLEU of grammar correction, which also reads the old text (Napoles et al. 2015): papers on
    comments report that one.
    """
    predicted, gold = code_tokens(answer), code_tokens(reference)
    matches = sum(count_matches(predicted, gold, order) for order in range(1, ORDER + 1))
    return float(matches), float(max(_count_all(len(predicted)), _count_all(len(gold))))


def _count_all(words: int) -> int:
    return sum(max(words - order + 1, 0) for order in range(1, ORDER + 1))


def share(matrix: np.ndarray) -> float:
    """(N, 2) of parts and wholes -> sum of the parts by sum of the wholes; 0 of nothing."""
    part, whole = matrix.sum(0).tolist()
    return float(part / whole) if whole else 0.0


def exact(answer: str, reference: str) -> tuple[float]:
    """Returns 1 for an answer equal to the reference but for space, else 0."""
    return (float(answer.split() == reference.split()),)


def edit_distance(row: ScoredRow, prediction: Prediction) -> tuple[float, float]:
    """Counts the words to insert, delete or replace to get the reference, and the reference's words.

    Signs are words too. Raises NotApplicable for a reference without words: an empty comment.
    """
    gold = code_tokens(row.answer)
    if not gold:
        raise NotApplicable("the reference has no words")
    return float(_count_edits(code_tokens(prediction.answer), gold)), float(len(gold))


def relative_edit_distance(row: ScoredRow, prediction: Prediction) -> tuple[float]:
    """Divides the edits from answer to reference by those from the old comment; a corpus has the mean.

    It is RED of comment updates (Liu et al., ASE 2020): the share of the work that is left to do, 1 for an
    answer that is the old comment. Raises NotApplicable for a row whose comment does not change.
    """
    gold = code_tokens(row.answer)
    work = _count_edits(code_tokens(row.comment), gold)
    if not work:
        raise NotApplicable("the comment does not change")
    return (_count_edits(code_tokens(prediction.answer), gold) / work,)


def _count_edits(text: list[str], reference: list[str]) -> int:
    from rapidfuzz.distance import Levenshtein

    return int(Levenshtein.distance(text, reference))


def _read_remarks(prediction: Prediction) -> Remarks:
    value = prediction.parsed.value
    return value if isinstance(value, tuple) else parse_remarks(prediction.text)


def _require_remark(row: ScoredRow) -> Remarks:
    """Reads the reference's remarks. Raises NotApplicable for a harmless row."""
    remarks = parse_remarks(row.answer)
    if not remarks:
        raise NotApplicable("there is nothing to remark")
    return remarks


def location(slack: int) -> Callable[[ScoredRow, Prediction], tuple[float]]:
    """Makes the statistic: 1 where a remark is within slack lines of the reference's, in its file, else 0.

    The reference is at the row's line, else where its first remark with a place is. A remark that names no
    file is about the row's, and a row may name none. A range that covers the whole file is always right. It
    raises NotApplicable for a row without line or remark.
    """

    def statistics(row: ScoredRow, prediction: Prediction) -> tuple[float]:
        file, first, last = _find_place(row)
        remarks = _read_remarks(prediction)
        return (float(any(_overlaps(remark, file, first - slack, last + slack) for remark in remarks)),)

    return statistics


def _overlaps(remark: Remark, file: str, first: int, last: int) -> bool:
    if remark.line is None or (remark.file and file and remark.file != file):
        return False
    return remark.line <= last and (remark.end or remark.line) >= first


def _find_place(row: ScoredRow) -> tuple[str, int, int]:
    """Finds file, first and last line of the reference. Raises NotApplicable where there are none."""
    remarks = _require_remark(row)
    if row.line is not None:
        return row.file or remarks[0].file or "", row.line, row.end_line or row.line
    for remark in remarks:
        if remark.line is not None:
            return remark.file or row.file, remark.line, remark.end or remark.line
    raise NotApplicable("the row has no line")


def verdict(row: ScoredRow, prediction: Prediction) -> tuple[float]:
    """Returns 1 where a change is judged rightly, else 0.

    A harmless change is to be left alone. Of any other a remark within 3 lines of the reference's is wanted, or any
    remark where the reference has no line.
    """
    remarks = _read_remarks(prediction)
    if not parse_remarks(row.answer):
        return (float(not remarks and prediction.parsed.value is not None),)
    try:
        return location(3)(row, prediction)
    except NotApplicable:
        return (float(bool(remarks)),)


def false_alarms(row: ScoredRow, prediction: Prediction) -> tuple[float]:
    """Returns 1 for a harmless row that is answered with a remark, else 0; NotApplicable for other rows."""
    if parse_remarks(row.answer):
        raise NotApplicable("there is something to remark")
    return (float(bool(_read_remarks(prediction))),)


def missed(row: ScoredRow, prediction: Prediction) -> tuple[float]:
    """Returns 1 for a row with a remark that is answered without, else 0; NotApplicable for harmless rows."""
    _require_remark(row)
    return (float(not _read_remarks(prediction)),)


def severity(row: ScoredRow, prediction: Prediction) -> tuple[float]:
    """Returns 1 where the answer's first remark has the reference's severity, else 0.

    The reference has the row's severity, else that of its first remark. Raises NotApplicable for a row
    without severity or remark.
    """
    expected = row.severity or _require_remark(row)[0].severity
    if expected is None or not parse_remarks(row.answer):
        raise NotApplicable("the row has no severity")
    remarks = _read_remarks(prediction)
    return (float(bool(remarks) and remarks[0].severity == expected),)


def vague(row: ScoredRow, prediction: Prediction) -> tuple[float, float]:
    """Counts the answer's remarks that are not concrete (`is_concrete`), and all.

    Raises NotApplicable for an answer without remarks.
    """
    remarks = _read_remarks(prediction)
    if not remarks:
        raise NotApplicable("the answer has no remark")
    names = _names_of(row.diff)
    return float(sum(not is_concrete(remark, names) for remark in remarks)), float(len(remarks))


def is_concrete(remark: Remark, names: frozenset[str]) -> bool:
    """Tells whether a remark has a place, a piece in backticks, or one of the names of its diff."""
    if remark.line is not None or any(map(_NAME_OR_NUMBER.search, _BACKTICKED.findall(remark.text))):
        return True
    return not names.isdisjoint(_NAME.findall(remark.text))


_BACKTICKED = re.compile(r"`([^`]+)`")
_NAME_OR_NUMBER = re.compile(r"\w")
_NAME = re.compile(r"[^\W\d]\w{2,}")
_HEADER = re.compile(r"diff --git |index [0-9a-f]|--- |\+\+\+ |@@ ")
_STRING = r""""(?:[^"\\]|\\.){0,200}+"|'(?:[^'\\]|\\.){0,200}+'"""
_PROSE = re.compile(rf"{_STRING}|//.*|/\*.*?(?:\*/|$)|#[ !].*|^\s*\*.*")
_SHAPED = re.compile(r".*[_\d]|.*[^\W\d_A-Z][A-Z]|[A-Z]{3}")
"""a name that is no word: snake_case, camelCase, with a digit, CONSTANT"""

_ORDINARY_WORDS = """
    about add all and any are argument array assert async await bool boolean break bug byte call case catch
    change char check class code comment const continue count data def default delete double elif else end
    enum error except exception export extends false field file final finally fix float for format from func
    function get has have if implements import index input instead int integer interface item key lambda
    length let line list log long loop make map match message method mut name need new nil none not null
    number object one option output package parameter pass path print private protected public raise read
    remove result return self set should size static string struct super switch test text that the their then
    there these this throw throws time true try type undefined unsigned use user value var variable void was
    when where which while will with without word write yield you your
"""
_ORDINARY = frozenset(_ORDINARY_WORDS.split())
"""words of reviews, and keywords, that are names in code too: in prose they name nothing"""


def _names_of(diff: str) -> frozenset[str]:
    """Lists a diff's names: those that can only be names, and others outside of strings and comments."""
    lines = [line[1:] for line in diff.splitlines() if not _HEADER.match(line)]
    shaped = {name for line in lines for name in _NAME.findall(line) if _SHAPED.match(name)}
    words = {name for line in lines for name in _NAME.findall(_PROSE.sub(" ", line))}
    return frozenset(shaped | {name for name in words if name.lower() not in _ORDINARY})


Texts = Callable[[str, str], tuple[float, ...]]


def _of_text(statistics: Texts) -> Callable[[ScoredRow, Prediction], tuple[float, ...]]:
    return lambda row, prediction: statistics(prediction.answer, row.answer)


def _of_subject(statistics: Texts) -> Callable[[ScoredRow, Prediction], tuple[float, ...]]:
    """Compares answers with the first line of the reference; further lines of an answer count against it."""
    return lambda row, prediction: statistics(prediction.answer, row.answer.strip().partition("\n")[0])


def _of_remarks(statistics: Texts) -> Callable[[ScoredRow, Prediction], tuple[float, ...]]:
    """Compares the texts of remarks alone, without places and severities, of rows with a remark."""
    return lambda row, prediction: statistics(_join(_read_remarks(prediction)), _join(_require_remark(row)))


def _join(remarks: Remarks) -> str:
    return "\n".join(remark.text for remark in remarks)


def _text_metrics(read: Callable[[Texts], Callable[..., tuple[float, ...]]], note: str) -> dict[str, Metric]:
    """Makes the metrics of texts, by name."""
    metrics = (
        Metric("BLEU-4", f"n-grams of words, 0 to 100 (sacreBLEU){note}", read(bleu), bleu_score, scale=100),
        Metric(
            "B-Norm", f"smoothed BLEU of each answer, their mean, 0 to 100{note}", read(b_norm), scale=100
        ),
        Metric("GLEU", f"lower of precision and recall of n-grams (as nltk){note}", read(gleu), share),
        Metric("ROUGE-L", f"F1 of the longest common subsequence of words{note}", read(rouge_l)),
        Metric(
            "chrF", f"n-grams of characters, 0 to 100 (sacreBLEU){note}", read(chrf), chrf_score, scale=100
        ),
        Metric("exact", f"share of answers equal to the reference but for space{note}", read(exact)),
    )
    return {metric.name: metric for metric in metrics}


_MESSAGE = ("B-Norm", "BLEU-4", "ROUGE-L", "chrF", "exact")
_TEXT = _text_metrics(_of_text, "")
_REMARKS = _text_metrics(_of_remarks, "; similarity to one person's remark, which measures little")

METRICS: dict[str, tuple[Metric, ...]] = {
    "review": (
        *(_REMARKS[name] for name in ("BLEU-4", "ROUGE-L", "chrF")),
        Metric("verdict", "share of changes rightly left alone, or remarked on within 3 lines", verdict),
        Metric("location", "share of places that a remark names: file, and a line of its range", location(0)),
        Metric("location within 3", "share of places that a remark names within 3 lines", location(3)),
        Metric(
            "false alarms",
            "share of harmless changes that are answered with a remark",
            false_alarms,
            higher_is_better=False,
        ),
        Metric(
            "missed",
            "share of changes with a remark that are answered without any",
            missed,
            higher_is_better=False,
        ),
        Metric(
            "vague",
            "share of remarks that name no place, no code and nothing of the diff",
            vague,
            share,
            higher_is_better=False,
        ),
        Metric("severity", "share of first remarks with the right severity", severity),
    ),
    "commit_message": tuple(_TEXT[name] for name in _MESSAGE),
    "comment_update": (
        *(_TEXT[name] for name in ("GLEU", "BLEU-4", "ROUGE-L", "chrF", "exact")),
        Metric(
            "edit distance",
            "words to edit for each word of the reference",
            edit_distance,
            share,
            higher_is_better=False,
        ),
        Metric(
            "relative edit distance",
            "edits left to do by edits from the old comment, 1 for an unchanged one",
            relative_edit_distance,
            higher_is_better=False,
        ),
    ),
}
"""problem -> its metrics, in the order of the report"""

SUBJECT_METRICS = tuple(_text_metrics(_of_subject, ", of the subject")[name] for name in _MESSAGE)
"""the metrics of commit messages where only their first line is written"""

PRIMARY = {"review": "BLEU-4", "commit_message": "B-Norm", "comment_update": "GLEU"}
"""problem -> the metric that decides: the one that studies of it report"""
