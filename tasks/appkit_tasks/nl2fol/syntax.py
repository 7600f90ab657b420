"""Defines the syntax tree of first-order formulas, its normal text form, and counts taken from the tree.

A tree is *well formed* when every variable is either named by some quantifier of the tree or looks like a free one (`u`
to `z`, perhaps with one digit), no constant is, and no predicate looks like a keyword (`not`). The parser only makes
well-formed trees; for those `parse(to_text(formula)) == formula`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

__all__ = [
    "And",
    "Atom",
    "Constant",
    "Equals",
    "Exists",
    "ForAll",
    "Formula",
    "Iff",
    "Implies",
    "Not",
    "Or",
    "Symbols",
    "Term",
    "Variable",
    "Xor",
    "chain",
    "children",
    "connectives",
    "depth",
    "free_variables",
    "is_free_name",
    "quantifiers",
    "rename",
    "skeleton",
    "symbols",
    "to_text",
    "walk",
]

_FREE_NAME = re.compile(r"[u-z][0-9]?")


def is_free_name(name: str) -> bool:
    """Tells whether `name`, where no quantifier binds it, is a free variable: a letter u-z and at most one digit."""
    return _FREE_NAME.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable, bound or free."""

    name: str


@dataclass(frozen=True, slots=True)
class Constant:
    """A name of one thing: `maria`, `room12`."""

    name: str


Term = Variable | Constant


@dataclass(frozen=True, slots=True)
class Atom:
    """A predicate applied to one or more terms: `Chases(x, y)`."""

    predicate: str
    terms: tuple[Term, ...]

    def __post_init__(self) -> None:
        if not self.terms:
            raise ValueError(f"predicate {self.predicate!r} needs at least one term, got none")


@dataclass(frozen=True, slots=True)
class Equals:
    """Identity, `x = y`; `x ≠ y` is its negation."""

    left: Term
    right: Term


@dataclass(frozen=True, slots=True)
class Not:
    """Negation."""

    body: Formula


@dataclass(frozen=True, slots=True)
class _Chain:
    """Two or more formulas joined by one associative connective; none of them is itself such a chain."""

    parts: tuple[Formula, ...]

    def __post_init__(self) -> None:
        kind = type(self).__name__
        if len(self.parts) < 2:
            raise ValueError(
                f"{kind} needs two parts or more, got {len(self.parts)}; use chain({kind}, parts)"
            )
        if any(type(part) is type(self) for part in self.parts):
            raise ValueError(f"{kind} inside {kind} is not flat; use chain({kind}, parts)")


@dataclass(frozen=True, slots=True)
class And(_Chain):
    """Conjunction."""


@dataclass(frozen=True, slots=True)
class Or(_Chain):
    """Disjunction."""


@dataclass(frozen=True, slots=True)
class Xor(_Chain):
    """Exclusive or. Of three parts or more it is true where an odd number of them is."""


@dataclass(frozen=True, slots=True)
class Implies:
    """Implication."""

    left: Formula
    right: Formula


@dataclass(frozen=True, slots=True)
class Iff:
    """Both sides have the same truth value."""

    left: Formula
    right: Formula


@dataclass(frozen=True, slots=True)
class ForAll:
    """Universal quantifier."""

    variable: Variable
    body: Formula


@dataclass(frozen=True, slots=True)
class Exists:
    """Existential quantifier."""

    variable: Variable
    body: Formula


Formula = Atom | Equals | Not | And | Or | Xor | Implies | Iff | ForAll | Exists

_SIGNS = {And: " ∧ ", Or: " ∨ ", Xor: " ⊕ ", Implies: " → ", Iff: " ↔ "}


def chain(kind: type[And] | type[Or] | type[Xor], parts: Iterable[Formula]) -> Formula:
    """Joins `parts` by `kind` as one flat chain; a single part is returned as it is.

    Raises:
        ValueError: `parts` is empty.
    """
    flat: list[Formula] = []
    for part in parts:
        if isinstance(part, kind):
            flat.extend(part.parts)
        else:
            flat.append(part)
    return flat[0] if len(flat) == 1 else kind(tuple(flat))


def children(formula: Formula) -> tuple[Formula, ...]:
    """Returns the formulas directly inside, left to right; none for an atom or an equality."""
    match formula:
        case Atom() | Equals():
            return ()
        case Not(body) | ForAll(_, body) | Exists(_, body):
            return (body,)
        case And(parts) | Or(parts) | Xor(parts):
            return parts
        case Implies(left, right) | Iff(left, right):
            return (left, right)


def walk(formula: Formula) -> Iterator[Formula]:
    """Yields the formula and everything inside it, each before its parts, left to right."""
    yield formula
    for child in children(formula):
        yield from walk(child)


def to_text(formula: Formula) -> str:
    """Writes the normal form of `formula`: one spelling for each tree, with no needless parentheses.

    An equality counts as an operand like an atom, but directly under a quantifier or `¬` it is parenthesised:
    `∃y (y = x)`, `¬(x ≠ y)`.
    """
    match formula:
        case Atom(predicate, terms):
            return f"{predicate}({', '.join(term.name for term in terms)})"
        case Equals(left, right):
            return f"{left.name} = {right.name}"
        case Not(Equals(left, right)):
            return f"{left.name} ≠ {right.name}"
        case Not(body):
            return f"¬{_tight(body)}"
        case ForAll(variable, body):
            return f"∀{variable.name} {_tight(body)}"
        case Exists(variable, body):
            return f"∃{variable.name} {_tight(body)}"
        case And(parts) | Or(parts) | Xor(parts):
            closed = And | Or | Xor | Implies | Iff
            return _SIGNS[type(formula)].join(_wrap(part, isinstance(part, closed)) for part in parts)
        case Implies(left, right) | Iff(left, right):
            return _SIGNS[type(formula)].join(
                _wrap(side, isinstance(side, Implies | Iff)) for side in (left, right)
            )


def _tight(body: Formula) -> str:
    """Writes the formula that stands right after a quantifier or `¬`."""
    bare = isinstance(body, Atom | ForAll | Exists) or (
        isinstance(body, Not) and not isinstance(body.body, Equals)
    )
    return _wrap(body, not bare)


def _wrap(formula: Formula, parentheses: bool) -> str:
    return f"({to_text(formula)})" if parentheses else to_text(formula)


def depth(formula: Formula) -> int:
    """Counts levels of quantifiers, negations and connectives; 0 for an atom, 1 for `A(x) ∧ B(x) ∧ C(x)`."""
    return max((1 + depth(child) for child in children(formula)), default=0)


def quantifiers(formula: Formula) -> int:
    """Counts the quantifiers of the formula."""
    return sum(isinstance(part, ForAll | Exists) for part in walk(formula))


def connectives(formula: Formula) -> int:
    """Counts the signs `∧ ∨ ⊕ → ↔` of the normal text; `¬` and `=` are not counted."""
    total = 0
    for part in walk(formula):
        if isinstance(part, And | Or | Xor):
            total += len(part.parts) - 1
        elif isinstance(part, Implies | Iff):
            total += 1
    return total


@dataclass(frozen=True, slots=True)
class Symbols:
    """The symbols of a formula, each once, in order of first appearance.

    A predicate is a name *and* its number of places: `P(x)` and `P(x, y)` are two predicates.
    """

    predicates: tuple[tuple[str, int], ...]
    constants: tuple[str, ...]
    free_variables: tuple[str, ...]


def symbols(formula: Formula) -> Symbols:
    """Lists the predicates with their arity, the constants and the free variables of `formula`."""
    predicates: dict[tuple[str, int], None] = {}
    constants: dict[str, None] = {}
    free: dict[str, None] = {}

    def visit(part: Formula, bound: frozenset[str]) -> None:
        match part:
            case Atom(predicate, terms):
                predicates[predicate, len(terms)] = None
            case Equals(left, right):
                terms = (left, right)
            case ForAll(variable, _) | Exists(variable, _):
                terms = ()
                bound |= {variable.name}
            case _:
                terms = ()
        for term in terms:
            if isinstance(term, Constant):
                constants[term.name] = None
            elif term.name not in bound:
                free[term.name] = None
        for child in children(part):
            visit(child, bound)

    visit(formula, frozenset())
    return Symbols(tuple(predicates), tuple(constants), tuple(free))


def free_variables(formula: Formula) -> tuple[str, ...]:
    """Lists the names of the variables that no quantifier binds, in order of first appearance."""
    return symbols(formula).free_variables


def rename(
    formula: Formula,
    predicates: Mapping[tuple[str, int], str],
    constants: Mapping[str, str],
    *,
    variables: bool = False,
) -> Formula:
    """Returns the same formula under other names; a name that no mapping holds stays.

    Args:
        predicates: (name, arity) to new name.
        constants: name to new name.
        variables: also name bound variables `x1`, `x2`, … in the order of their quantifiers and free ones
            `u1`, `u2`, … in order of appearance, so that formulas equal up to variable names become equal.
    """
    free: dict[str, Variable] = {}
    binders = 0

    def new_term(term: Term, bound: Mapping[str, Variable]) -> Term:
        if isinstance(term, Constant):
            return Constant(constants.get(term.name, term.name))
        if not variables:
            return term
        if term.name in bound:
            return bound[term.name]
        return free.setdefault(term.name, Variable(f"u{len(free) + 1}"))

    def visit(part: Formula, bound: Mapping[str, Variable]) -> Formula:
        nonlocal binders
        match part:
            case Atom(predicate, terms):
                name = predicates.get((predicate, len(terms)), predicate)
                return Atom(name, tuple(new_term(term, bound) for term in terms))
            case Equals(left, right):
                return Equals(new_term(left, bound), new_term(right, bound))
            case Not(body):
                return Not(visit(body, bound))
            case And(parts) | Or(parts) | Xor(parts):
                return type(part)(tuple(visit(item, bound) for item in parts))
            case Implies(left_side, right_side) | Iff(left_side, right_side):
                return type(part)(visit(left_side, bound), visit(right_side, bound))
            case ForAll(variable, body) | Exists(variable, body):
                binders += 1
                new = Variable(f"x{binders}") if variables else variable
                return type(part)(new, visit(body, {**bound, variable.name: new}))

    return visit(formula, {})


def skeleton(formula: Formula) -> str:
    """Writes the shape of `formula`: its text with predicates P1, P2, …, constants c1, c2, … and variables renamed.

    Numbers follow the first appearance, so two formulas share a skeleton exactly when one becomes the other
    by renaming predicates (of equal arity), constants and variables.
    """
    used = symbols(formula)
    predicates = {key: f"P{number}" for number, key in enumerate(used.predicates, 1)}
    constants = {name: f"c{number}" for number, name in enumerate(used.constants, 1)}
    return to_text(rename(formula, predicates, constants, variables=True))
