"""Answers what pages and clients ask about formulas, at `/v1/tasks/{alias}/tools/{name}`.

Tools are plain functions of JSON values: the gateway makes a request model of each signature. All read the usual
notation, as `parser.parse` does. A text that is no formula raises a ValueError of one line that says which text and
where; `check` returns this as its answer. The length of the texts, Z3's own count (`prover.RLIMIT`) and time bound the
work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from pydantic import Field

from appkit_tasks.nl2fol.equivalence import Verdict, align
from appkit_tasks.nl2fol.equivalence import equivalent as verdict_of
from appkit_tasks.nl2fol.parser import MAX_CHARS, FormulaError, parse
from appkit_tasks.nl2fol.prover import Structure, satisfiable, smallest_structure
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
    chain,
    children,
    connectives,
    depth,
    quantifiers,
    rename,
    symbols,
    to_text,
)

__all__ = ["TOOLS", "check", "entails", "equivalent", "tree"]

MAX_PREMISES = 20_000
"""Most characters of all premises together: handing them to Z3 takes time that its own limit does not count."""

FormulaText = Annotated[
    str,
    Field(
        min_length=1, max_length=MAX_CHARS, description="a formula, in any notation of MALLS, FOLIO or ASCII"
    ),
]
Premises = Annotated[
    list[FormulaText],
    Field(min_length=1, max_length=50, description="formulas taken together; a name means the same in all"),
]
Seconds = Annotated[float, Field(gt=0, le=20, description="time for the prover, in all")]

SIGNS = {And: "∧", Or: "∨", Xor: "⊕", Implies: "→", Iff: "↔"}


def check(formula: FormulaText) -> dict[str, Any]:
    """Checks whether the text is a formula: normal form, symbols and sizes, or what is wrong and where (1-based)."""
    try:
        parsed = parse(formula)
    except FormulaError as error:
        return {"parses": False, "error": error.message, "position": error.position}
    used = symbols(parsed)
    return {
        "parses": True,
        "text": to_text(parsed),
        "predicates": [{"name": name, "arity": arity} for name, arity in used.predicates],
        "constants": list(used.constants),
        "free_variables": list(used.free_variables),
        "depth": depth(parsed),
        "quantifiers": quantifiers(parsed),
        "connectives": connectives(parsed),
    }


def tree(formula: FormulaText) -> dict[str, Any]:
    """Returns the syntax tree to be drawn: nested {label, kind, children}; kind is quantifier, negation, connective,
    atom or equality.
    """
    return _tree(_parse_or_fail("formula", formula))


def equivalent(formula: FormulaText, reference: FormulaText, seconds: Seconds = 5.0) -> dict[str, Any]:
    """Decides whether both say the same, as the metric `strict` does: names are aligned first, then Z3 decides.

    verdict: equivalent, different or undecided (Z3 reached a limit). formula: with the names of the reference where
    they were aligned. aligned, unaligned: predicates (as `Dog/1`) and constants. counter_model: the smallest world
    found in which just one of the two is true, else null. A world that is found turns undecided into different.
    """
    parsed, gold = _parse_or_fail("formula", formula), _parse_or_fail("reference", reference)
    end = time.monotonic() + seconds
    names = align(parsed, gold)
    renamed = rename(parsed, names.predicates, names.constants)
    verdict = verdict_of(parsed, gold, int(seconds * 250))  # two checks: half the time is left for the search
    counter_model = None
    if verdict is not Verdict.EQUIVALENT:
        sides = (_and([renamed, Not(gold)]), _and([gold, Not(renamed)]))
        if result := smallest_structure(sides, _remaining_ms(end)):
            side, structure = result
            verdict = Verdict.DIFFERENT
            counter_model = _describe(structure, {"formula": side == 0, "reference": side == 1})
    aligned = {f"{name}/{arity}": f"{target}/{arity}" for (name, arity), target in names.predicates.items()}
    aligned |= names.constants
    return {
        "verdict": verdict.value,
        "formula": to_text(renamed),
        "reference": to_text(gold),
        "aligned": [{"formula": name, "reference": target} for name, target in aligned.items()],
        "unaligned": {
            "formula": [name for name in _names(parsed) if name not in aligned],
            "reference": [name for name in _names(gold) if name not in aligned.values()],
        },
        "counter_model": counter_model,
    }


def entails(premises: Premises, conclusion: FormulaText, seconds: Seconds = 5.0) -> dict[str, Any]:
    """Decides whether the conclusion follows from the premises; names count as they are written.

    verdict: entailed; refuted (its negation follows); open (neither follows); inconsistent (the premises contradict
    each other, so that anything follows); undecided (Z3 reached a limit). counter_model: the smallest world found in
    which the premises are true and the conclusion is false, else null.
    """
    if (length := sum(map(len, premises))) > MAX_PREMISES:
        raise ValueError(f"the premises have {length} characters together, the limit is {MAX_PREMISES}")
    parsed = [_parse_or_fail(f"premise {number}", text) for number, text in enumerate(premises, 1)]
    claim = _parse_or_fail("conclusion", conclusion)
    end = time.monotonic() + seconds
    fails, counter = _search_world(_and([*parsed, Not(claim)]), end, seconds / 4)
    holds, _ = _search_world(_and([*parsed, claim]), end, seconds / 4)
    match holds, fails:
        case False, False:
            verdict = "inconsistent"
        case _, False:  # also where holds is undecided: contradictory premises entail it too
            verdict = "entailed"
        case False, True:
            verdict = "refuted"
        case True, True:
            verdict = "open"
        case _:
            verdict = "undecided"
    return {
        "verdict": verdict,
        "counter_model": counter and _describe(counter, {"premises": True, "conclusion": False}),
    }


TOOLS: dict[str, Callable[..., dict[str, Any]]] = {
    "check": check,
    "tree": tree,
    "equivalent": equivalent,
    "entails": entails,
}


def _parse_or_fail(what: str, text: str) -> Formula:
    try:
        return parse(text)
    except FormulaError as error:
        raise ValueError(f"{what}: {error}") from None


def _tree(formula: Formula) -> dict[str, Any]:
    match formula:
        case ForAll(variable, _):
            label, kind = f"∀{variable.name}", "quantifier"
        case Exists(variable, _):
            label, kind = f"∃{variable.name}", "quantifier"
        case Not():
            label, kind = "¬", "negation"
        case Atom():
            label, kind = to_text(formula), "atom"
        case Equals():
            label, kind = to_text(formula), "equality"
        case _:
            label, kind = SIGNS[type(formula)], "connective"
    return {"label": label, "kind": kind, "children": [_tree(child) for child in children(formula)]}


def _and(parts: Sequence[Formula]) -> Formula:
    return chain(And, parts)


def _names(formula: Formula) -> list[str]:
    used = symbols(formula)
    return [*(f"{name}/{arity}" for name, arity in used.predicates), *used.constants]


def _remaining_ms(end: float) -> int:
    """Returns the milliseconds until `end`, of the monotonic clock, at least 1; Z3 takes 0 for no limit."""
    return max(1, int((end - time.monotonic()) * 1000))


def _search_world(formula: Formula, end: float, seconds: float) -> tuple[bool | None, Structure | None]:
    """Decides whether some world makes the formula true, in up to `seconds`; searches the smallest in as many more."""
    answer = satisfiable(formula, min(_remaining_ms(end), int(seconds * 1000)))
    if answer is False:
        return False, None
    result = smallest_structure([formula], min(_remaining_ms(end), int(seconds * 1000)))
    return (True, result[1]) if result else (answer, None)


def _describe(structure: Structure, truth: dict[str, bool]) -> dict[str, Any]:
    """Describes the structure as data, what is true in it, and both in words."""
    truths = [
        f"the {what} {'are' if what == 'premises' else 'is'} {str(value).lower()}"
        for what, value in truth.items()
    ]
    return {
        "domain": list(structure.domain),
        "constants": structure.constants,
        "free_variables": structure.free_variables,
        "predicates": [
            {"name": name, "arity": arity, "holds": [list(things) for things in table]}
            for (name, arity), table in structure.predicates.items()
        ],
        "truth": truth,
        "words": f"{_words(structure)} Here {_join_words(truths)}.",
    }


def _words(structure: Structure) -> str:
    many = len(structure.domain) > 1
    lines = [f"A world of {len(structure.domain)} thing{'s' * many}: {_join_words(structure.domain)}."]
    named = structure.constants | structure.free_variables
    if named:
        lines.append(f"{_join_words([f'{name} is {thing}' for name, thing in named.items()])}.")
    for (name, _), table in structure.predicates.items():
        shown = [things[0] if len(things) == 1 else f"({', '.join(things)})" for things in table]
        lines.append(f"{name} holds of {_join_words(shown) if shown else 'nothing'}.")
    return " ".join(lines)


def _join_words(items: Sequence[str]) -> str:
    return f"{', '.join(items[:-1])} and {items[-1]}" if len(items) > 1 else items[0]
