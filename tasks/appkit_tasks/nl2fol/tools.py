"""What pages and clients ask about formulas, served at `/v1/tasks/{alias}/tools/{name}`.

Plain functions of JSON values: the gateway makes a request model of each signature. All read the usual notation,
as `parser.parse` does. A text that is no formula is a ValueError of one line that says which one and where; for
`check` it is the answer. Work is bounded: by the length of the texts, by Z3's own count (`prover.RLIMIT`) and by time.
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
"""Characters of all premises together: handing them to Z3 takes time too, which its own limit does not count."""

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
    """Whether the text is a formula: its normal form, symbols and sizes, or what is wrong and where (1-based)."""
    try:
        parsed = parse(formula)
    except FormulaError as error:
        return {"parses": False, "error": error.message, "position": error.position}
    found = symbols(parsed)
    return {
        "parses": True,
        "text": to_text(parsed),
        "predicates": [{"name": name, "arity": arity} for name, arity in found.predicates],
        "constants": list(found.constants),
        "free_variables": list(found.free_variables),
        "depth": depth(parsed),
        "quantifiers": quantifiers(parsed),
        "connectives": connectives(parsed),
    }


def tree(formula: FormulaText) -> dict[str, Any]:
    """The syntax tree to be drawn: nested {label, kind, children}; kind is quantifier, negation, connective, atom or
    equality."""
    return _tree(_read("formula", formula))


def equivalent(formula: FormulaText, reference: FormulaText, seconds: Seconds = 5.0) -> dict[str, Any]:
    """Whether both say the same, as the metric `strict` judges: names are aligned by name first, then Z3 decides.

    verdict: equivalent, different or undecided (Z3 reached a limit). formula: with the names of the reference where
    they were aligned. aligned, unaligned: predicates (as `Dog/1`) and constants. counter_model: the smallest world
    found in which just one of the two is true, null if none was. A world that is found settles what was undecided.
    """
    ours, theirs = _read("formula", formula), _read("reference", reference)
    end = time.monotonic() + seconds
    names = align(ours, theirs)
    renamed = rename(ours, names.predicates, names.constants)
    verdict = verdict_of(ours, theirs, int(seconds * 250))  # two checks: half the time is left for the search
    told = None
    if verdict is not Verdict.EQUIVALENT:
        sides = (_and([renamed, Not(theirs)]), _and([theirs, Not(renamed)]))
        if found := smallest_structure(sides, _left(end)):
            side, structure = found
            verdict = Verdict.DIFFERENT
            told = _told(structure, {"formula": side == 0, "reference": side == 1})
    aligned = {f"{name}/{arity}": f"{other}/{arity}" for (name, arity), other in names.predicates.items()}
    aligned |= names.constants
    return {
        "verdict": verdict.value,
        "formula": to_text(renamed),
        "reference": to_text(theirs),
        "aligned": [{"formula": name, "reference": other} for name, other in aligned.items()],
        "unaligned": {
            "formula": [name for name in _names(ours) if name not in aligned],
            "reference": [name for name in _names(theirs) if name not in aligned.values()],
        },
        "counter_model": told,
    }


def entails(premises: Premises, conclusion: FormulaText, seconds: Seconds = 5.0) -> dict[str, Any]:
    """Whether the conclusion follows from the premises; names count as they are written.

    verdict: entailed; refuted (its negation follows); open (neither does); inconsistent (the premises contradict each
    other, so that anything follows); undecided (Z3 reached a limit). counter_model: the smallest world found in which
    the premises are true and the conclusion is false, null if there is none or none was found.
    """
    if (length := sum(map(len, premises))) > MAX_PREMISES:
        raise ValueError(f"the premises have {length} characters together, the limit is {MAX_PREMISES}")
    given = [_read(f"premise {number}", text) for number, text in enumerate(premises, 1)]
    claim = _read("conclusion", conclusion)
    end = time.monotonic() + seconds
    fails, counter = _possible(_and([*given, Not(claim)]), end, seconds / 4)
    holds, _ = _possible(_and([*given, claim]), end, seconds / 4)
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
        "counter_model": counter and _told(counter, {"premises": True, "conclusion": False}),
    }


TOOLS: dict[str, Callable[..., dict[str, Any]]] = {
    "check": check,
    "tree": tree,
    "equivalent": equivalent,
    "entails": entails,
}


def _read(what: str, text: str) -> Formula:
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
    found = symbols(formula)
    return [*(f"{name}/{arity}" for name, arity in found.predicates), *found.constants]


def _left(end: float) -> int:
    """Milliseconds until `end`, of the monotonic clock; Z3 takes 0 for no limit."""
    return max(1, int((end - time.monotonic()) * 1000))


def _possible(formula: Formula, end: float, seconds: float) -> tuple[bool | None, Structure | None]:
    """Whether some world makes the formula true, in up to `seconds`, and the smallest found in as many more."""
    answer = satisfiable(formula, min(_left(end), int(seconds * 1000)))
    if answer is False:
        return False, None
    found = smallest_structure([formula], min(_left(end), int(seconds * 1000)))
    return (True, found[1]) if found else (answer, None)


def _told(structure: Structure, truth: dict[str, bool]) -> dict[str, Any]:
    """The structure as data, what is true in it, and both in words."""
    said = [
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
        "words": f"{_words(structure)} Here {_listed(said)}.",
    }


def _words(structure: Structure) -> str:
    many = len(structure.domain) > 1
    lines = [f"A world of {len(structure.domain)} thing{'s' * many}: {_listed(structure.domain)}."]
    named = structure.constants | structure.free_variables
    if named:
        lines.append(f"{_listed([f'{name} is {thing}' for name, thing in named.items()])}.")
    for (name, _), table in structure.predicates.items():
        shown = [things[0] if len(things) == 1 else f"({', '.join(things)})" for things in table]
        lines.append(f"{name} holds of {_listed(shown) if shown else 'nothing'}.")
    return " ".join(lines)


def _listed(items: Sequence[str]) -> str:
    return f"{', '.join(items[:-1])} and {items[-1]}" if len(items) > 1 else items[0]
