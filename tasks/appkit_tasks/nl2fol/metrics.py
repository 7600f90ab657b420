"""Scores a predicted formula against a reference; each score is a function of the two texts alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache, reduce
from itertools import islice
from typing import TYPE_CHECKING, Any

from appkit_tasks.nl2fol.equivalence import Verdict, equivalent
from appkit_tasks.nl2fol.parser import FormulaError, parse
from appkit_tasks.nl2fol.syntax import (
    And,
    Atom,
    Equals,
    Exists,
    ForAll,
    Formula,
    Iff,
    Implies,
    Not,
    Or,
    Xor,
    to_text,
    walk,
)

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "MAX_BINDINGS",
    "MAX_LITERALS",
    "bleu_aggregate",
    "bleu_matrix",
    "bleu_sentence",
    "bleu_statistics",
    "exact_match",
    "fol_tokens",
    "logical_equivalence",
    "parses",
    "strict_equivalence",
]

MAX_LITERALS = 14
"""Most distinct literals in a truth table (2^14 rows); FOLIO and MALLS formulas have at most 9."""

MAX_BINDINGS = 1000
"""Most bindings of literals that `logical_equivalence` tries; `top_n` in LogicLLaMA."""

BleuStatistics = tuple[int, int, int, int, int, int, int, int, int, int]
"""Clipped matches of 1- to 4-grams, totals of 1- to 4-grams, length of the prediction, of the reference."""


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Formula | FormulaError:
    try:
        return parse(text)
    except FormulaError as error:
        return error


def _reference(text: str) -> Formula:
    formula = _parsed(text)
    if isinstance(formula, FormulaError):
        raise ValueError(f"the reference {text!r} is not a formula ({formula}); correct or drop the row")
    return formula


def parses(text: str) -> bool:
    """Tells whether `text` is a formula in any accepted notation; ignores its meaning and whether it is closed."""
    return not isinstance(_parsed(text), FormulaError)


def exact_match(predicted: str, reference: str) -> bool:
    """Tells whether both have the same normal text.

    Ignores notation, spacing and needless parentheses. Names, variable names and the order of parts all
    count. A prediction that does not parse never matches.

    Raises:
        ValueError: `reference` does not parse.
    """
    formula, gold = _parsed(predicted), _reference(reference)
    return not isinstance(formula, FormulaError) and to_text(formula) == to_text(gold)


_TOKEN = re.compile(r"\w+(?:[-.'’]\w+)*\+*|<->|<=>|->|=>|&&|\|\||!=|/\\|\\/|\S")


def fol_tokens(text: str) -> list[str]:
    """Splits a text into names and single signs: `∀x (P(x, a))` gives `∀ x ( P ( x , a ) )`. Ignores spacing.

    It takes any text, since malformed predictions get BLEU too. Spellings are kept: `->` is not `→`.
    """
    return _TOKEN.findall(text)


@lru_cache(maxsize=1)
def _sacrebleu() -> Any:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(tokenize="none", force=True)


def bleu_statistics(predicted: str, reference: str) -> BleuStatistics:
    """Counts what one row adds to corpus BLEU-4 over `fol_tokens`; `bleu_matrix` sums the counts.

    Ignores structure and meaning: `∀` for `∃` costs as much as one wrong name.
    """
    hypothesis, gold = " ".join(fol_tokens(predicted)), " ".join(fol_tokens(reference))
    score = _sacrebleu().corpus_score([hypothesis], [[gold]])
    return (*score.counts, *score.totals, score.sys_len, score.ref_len)


def bleu_aggregate(rows: Iterable[BleuStatistics]) -> float:
    """Computes corpus BLEU-4, 0 to 100, from rows of `bleu_statistics`; see `bleu_matrix`."""
    import numpy as np

    return bleu_matrix(np.array(list(rows)))


def bleu_matrix(matrix: np.ndarray) -> float:
    """Computes corpus BLEU-4, 0 to 100, from an (N, 10) matrix of `bleu_statistics`, such as a resample of rows.

    It equals `sacrebleu.corpus_bleu(tokenize="none")` on the space-joined tokens, with its default smoothing.
    It is not comparable with LogicLLaMA's figure, which is the mean of `bleu_sentence`.

    Raises:
        ValueError: there are no rows.
    """
    if len(matrix) == 0:
        raise ValueError("BLEU of no rows is undefined; pass the statistics of one row at least")
    return _compute_bleu([int(total) for total in matrix.sum(axis=0)], order=4, smoothing="exp")


def bleu_sentence(predicted: str, reference: str) -> float:
    """Computes BLEU of one row, 0 to 1, as LogicLLaMA does (arXiv 2305.15541, `compute_FOL_bleu`), to be averaged.

    The order is min(4, tokens of the shorter side) and there is no smoothing. The tokens are ours: LogicLLaMA
    also upper-cases the first letter of names and joins names that only spaces separate.
    """
    statistics = bleu_statistics(predicted, reference)
    order = min(4, *statistics[8:])
    return _compute_bleu(statistics, order, smoothing="none") / 100 if order else 0.0


def _compute_bleu(statistics: Sequence[int], order: int, smoothing: str) -> float:
    score = _sacrebleu().compute_bleu(
        correct=list(statistics[:order]),
        total=list(statistics[4 : 4 + order]),
        sys_len=statistics[8],
        ref_len=statistics[9],
        smooth_method=smoothing,
        max_ngram_order=order,
    )
    return float(score.score)


def logical_equivalence(predicted: str, reference: str) -> float:
    """Computes LE of LogicLLaMA (arXiv 2305.15541, `VecRuleEvaluator.find_best_LE_score`), 0 to 1.

    Distinct atoms become Boolean inputs; the side with fewer gets dummy inputs. Inputs are bound one to one,
    nearest edit distance first, in up to MAX_BINDINGS ways; the score is the best share of truth-table rows
    on which both sides agree. A prediction that does not parse scores 0.

    It ignores quantifiers and what variables stand for: `∀x P(x)` against `∃x P(x)` scores 1, and unrelated
    formulas of like shape score high. Report `strict_equivalence` beside it.

    It differs from the original in four points. Atoms are taken in order of appearance (in the original the order, and
    so the 1000 bindings tried, changes from run to run). Connectives bind by the rules of `fol.lark`; the original
    takes any parse. Equalities are atoms too. A prediction with more than MAX_LITERALS atoms scores 0, as the table
    doubles with each.

    Raises:
        ValueError: `reference` does not parse or has more than MAX_LITERALS atoms.
    """
    formula, gold = _parsed(predicted), _reference(reference)
    gold_literals = _literals(gold)
    if len(gold_literals) > MAX_LITERALS:
        raise ValueError(
            f"the reference has {len(gold_literals)} distinct atoms, the limit is {MAX_LITERALS}"
        )
    if isinstance(formula, FormulaError):
        return 0.0
    literals = _literals(formula)
    if len(literals) > MAX_LITERALS:
        return 0.0
    size = max(len(literals), len(gold_literals))
    table, gold_table = _truth_table(formula, literals, size), _truth_table(gold, gold_literals, size)
    padded, gold_padded = (side + [None] * (size - len(side)) for side in (literals, gold_literals))
    distances = [[_literal_distance(row, column) for column in padded] for row in gold_padded]
    best = 0.0
    for binding in islice(_bindings(distances), MAX_BINDINGS):
        # Axis i of a table is input i, so binding inputs is transposing one of the tables.
        best = max(best, float((table.transpose(binding) == gold_table).mean()))
        if best == 1.0:
            break
    return best


def _literals(formula: Formula) -> list[str | None]:
    """Lists the distinct atoms of `formula`, by their text, in order of appearance."""
    return list(dict.fromkeys(_literal(part) for part in walk(formula) if isinstance(part, Atom | Equals)))


def _literal(atom: Atom | Equals) -> str:
    """Writes an atom as LogicLLaMA's tokenizer leaves it: no spaces, longer names start upper-case."""
    return "".join(
        token[0].upper() + token[1:] if len(token) > 1 else token for token in fol_tokens(to_text(atom))
    )


def _truth_table(formula: Formula, literals: Sequence[str | None], size: int) -> np.ndarray:
    """Computes the truth values of `formula`, (2,) * size: axis i is the i-th literal, further axes are dummies."""
    import numpy as np

    axis = {literal: number for number, literal in enumerate(literals)}

    def value(part: Formula) -> Any:
        match part:
            case Atom() | Equals():
                number = axis[_literal(part)]
                return np.array([False, True]).reshape([2 if place == number else 1 for place in range(size)])
            case Not(body):
                return np.logical_not(value(body))
            case And(parts):
                return reduce(np.logical_and, map(value, parts))
            case Or(parts):
                return reduce(np.logical_or, map(value, parts))
            case Xor(parts):
                return reduce(np.logical_xor, map(value, parts))
            case Implies(left, right):
                return np.logical_or(np.logical_not(value(left)), value(right))
            case Iff(left, right):
                return np.equal(value(left), value(right))
            case ForAll(_, body) | Exists(_, body):
                return value(body)

    return np.broadcast_to(value(formula), (2,) * size)


def _bindings(distances: Sequence[Sequence[int]]) -> Iterator[tuple[int, ...]]:
    """Yields permutations of the columns, greedily: each row in turn takes its nearest column still free."""
    order = [sorted(range(len(row)), key=row.__getitem__) for row in distances]

    def extend(chosen: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if len(chosen) == len(order):
            yield chosen
            return
        for column in order[len(chosen)]:
            if column not in chosen:
                yield from extend((*chosen, column))

    return extend(())


def _literal_distance(left: str | None, right: str | None) -> int:
    """Returns the edit distance of two literals; a dummy (None) is further from everything than any literal."""
    return 10_000 if left is None or right is None else _edit_distance(left, right)


@lru_cache(maxsize=65536)
def _edit_distance(left: str, right: str) -> int:
    """Counts the fewest insertions, deletions and replacements of one character."""
    previous = list(range(len(right) + 1))
    for row, left_char in enumerate(left, 1):
        current = [row]
        for column, right_char in enumerate(right, 1):
            current.append(
                min(previous[column] + 1, current[-1] + 1, previous[column - 1] + (left_char != right_char))
            )
        previous = current
    return previous[-1]


def strict_equivalence(predicted: str, reference: str) -> Verdict:
    """Decides whether both mean the same, by `equivalence.equivalent`.

    It ignores notation, names of bound variables and the `-s` of names; quantifiers, argument order and all
    other words count. A prediction that does not parse is DIFFERENT; count UNDECIDED rows by themselves.

    Raises:
        ValueError: `reference` does not parse.
    """
    gold, formula = _reference(reference), _parsed(predicted)
    return Verdict.DIFFERENT if isinstance(formula, FormulaError) else _verdict(formula, gold)


@lru_cache(maxsize=4096)
def _verdict(formula: Formula, gold: Formula) -> Verdict:
    return equivalent(formula, gold)
