"""Decides whether two formulas mean the same: names are aligned first, from the names alone; then Z3 decides.

`prover` documents how Z3 reads formulas.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Literal

from appkit_tasks.nl2fol.prover import satisfiable
from appkit_tasks.nl2fol.syntax import And, Formula, Not, chain, free_variables, rename, symbols

__all__ = [
    "ALIGN_THRESHOLD",
    "Alignment",
    "Status",
    "Verdict",
    "align",
    "equivalent",
    "name_similarity",
    "status",
]

ALIGN_THRESHOLD = 0.5
"""Least share of letters two names must have in common to be aligned."""

Status = Literal["valid", "unsatisfiable", "contingent", "undecided"]


class Verdict(Enum):
    """The verdict of the prover on two formulas; UNDECIDED is neither right nor wrong."""

    EQUIVALENT = "equivalent"
    DIFFERENT = "different"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Alignment:
    """Maps symbols of the prediction to symbols of the reference; unaligned ones are absent."""

    predicates: dict[tuple[str, int], str]
    constants: dict[str, str]


def align(predicted: Formula, reference: Formula) -> Alignment:
    """Matches predicates (of equal arity) and constants of the two formulas by name; no truth is tested.

    Equal names go first, then names equal but for case and `-s`. The rest is matched one to one so that the
    summed `name_similarity` is greatest, among pairs that reach ALIGN_THRESHOLD. Names are sorted first: only
    the names decide, never where they stand in the formula, since that would let a formula be aligned with
    its converse.
    """
    predicted_symbols, reference_symbols = symbols(predicted), symbols(reference)
    predicates: dict[tuple[str, int], str] = {}
    for arity in {arity for _, arity in predicted_symbols.predicates}:
        matched = _assign(
            (name for name, places in predicted_symbols.predicates if places == arity),
            (name for name, places in reference_symbols.predicates if places == arity),
        )
        predicates.update({(name, arity): match for name, match in matched.items()})
    return Alignment(predicates, _assign(predicted_symbols.constants, reference_symbols.constants))


def _assign(left: Iterable[str], right: Iterable[str]) -> dict[str, str]:
    left_names, right_names = set(left), set(right)
    same = left_names & right_names
    rows, columns = sorted(left_names - same), sorted(right_names - same)
    result = {name: name for name in sorted(same)}
    scores = [[_weight(name_similarity(row, column)) for column in columns] for row in rows]
    if any(any(row) for row in scores):
        from scipy.optimize import linear_sum_assignment

        for row, column in zip(*linear_sum_assignment(scores, maximize=True), strict=True):
            if scores[row][column]:
                result[rows[row]] = columns[column]
    return result


def _weight(score: float) -> float:
    if score < ALIGN_THRESHOLD:
        return 0.0
    # A full match weighs more than the two partial ones that could be made in its place.
    return 2.0 if score == 1 else score


@lru_cache(maxsize=65536)
def name_similarity(left: str, right: str) -> float:
    """Scores how alike two names are, 0 to 1, for alignment.

    Names are split into words (`LivesIn`, `lives_in` → lives, in); case and the `-s` of plurals and verbs are
    dropped. Then 1 means equal, and a name that equals the other with some words left out (`Parent`,
    `ParentOf`) scores its share of the other's letters; all else is 0. This is an edit similarity that can
    delete words but not letters: by letters `Happy` is close to `Unhappy`, `Employer` to `Employee`, `room12`
    to `room13`, `maria` to `mario`. For the same reason a number, a negation, `can`, `has` or `by` may not be
    left out.
    """
    short, long = sorted((_words(left), _words(right)), key=lambda words: (len(words), words))
    if "".join(short) == "".join(long):
        return 1.0
    rest = iter(long)
    left_out = []
    for word in short:
        for candidate in rest:
            if candidate == word:
                break
            left_out.append(candidate)
        else:
            return 0.0
    left_out.extend(rest)
    if any(word in _DECISIVE or not word.isalpha() for word in left_out):
        return 0.0
    return len("".join(short)) / len("".join(long))


@lru_cache(maxsize=65536)  # each name is compared with every other
def _words(name: str) -> tuple[str, ...]:
    """Returns the stems of the words of a camelCase, snake_case or hyphenated name."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=\D)(?=\d)|(?<=\d)(?=\D)", " ", name)
    words = re.findall(r"[^\W_]+", re.sub(r"['’]", "", spaced).casefold())
    # `c++` and `c` are two languages, `a` and `a+` two grades.
    return tuple(_stem(word) for word in words) + tuple(re.findall(r"\++", name))


def _stem(word: str) -> str:
    """Returns `word` without the English `-s` of plurals and of the third person.

    Tense is kept: `Approved(x)` may be the passive of `Approves(x)`, which says something else.
    """
    if len(word) > 2 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    # One stem for both numbers: city, citie(s) -> city; movie, movie(s) -> movy; watch, watche(s) -> watch.
    return re.sub(r"(ch|sh|ss|x|o)e$", r"\1", re.sub(r"ie$", "y", word))


# A name with one of these words more than another says something else, often the opposite or the converse.
_DECISIVE = frozenset(
    map(_stem, ("no", "non", "not", "never", "without", "cannot", "can", "has", "have", "by"))
)


def equivalent(predicted: Formula, reference: Formula, timeout_ms: int = 2000) -> Verdict:
    """Decides whether the formulas are true in the same structures, after `align`ing the names of `predicted`.

    Formulas that are equal up to names of bound variables need no prover. Otherwise Z3 looks for a structure
    in which just one of them is true. Reaching the time limit (milliseconds per check, two checks at most) or
    `prover.RLIMIT` gives UNDECIDED.
    """
    names = align(predicted, reference)
    predicted = rename(predicted, names.predicates, names.constants)
    if _same_text(predicted, reference):
        return Verdict.EQUIVALENT
    # Two one-way checks keep each quantifier in one polarity, which Z3 decides more often than one `xor`.
    answers = []
    for premise, conclusion in ((predicted, reference), (reference, predicted)):
        answers.append(satisfiable(chain(And, (premise, Not(conclusion))), timeout_ms))
        if answers[-1] is True:
            return Verdict.DIFFERENT
    return Verdict.UNDECIDED if None in answers else Verdict.EQUIVALENT


def status(formula: Formula, timeout_ms: int = 2000) -> Status:
    """Decides whether `formula` holds in every structure, in none, or in some; "undecided" if Z3 gives up."""
    holds, fails = satisfiable(formula, timeout_ms), satisfiable(Not(formula), timeout_ms)
    if holds is False:
        return "unsatisfiable"
    if fails is False:
        return "valid"
    return "contingent" if holds and fails else "undecided"


def _same_text(left: Formula, right: Formula) -> bool:
    """Tells whether the formulas are equal up to the names of bound variables."""
    same_shape = rename(left, {}, {}, variables=True) == rename(right, {}, {}, variables=True)
    return same_shape and free_variables(left) == free_variables(right)
