"""Asks Z3 whether some structure makes a formula true, and what the smallest such structure is.

Z3 reads formulas over one uninterpreted, non-empty domain, as first-order logic does. Constants may denote
the same thing (no unique-names assumption); free variables are treated as constants of their own.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import count, product
from typing import Any

from appkit_tasks.nl2fol.syntax import (
    And,
    Atom,
    Constant,
    Equals,
    Exists,
    ForAll,
    Formula,
    Iff,
    Implies,
    Not,
    Or,
    Symbols,
    Term,
    Xor,
    symbols,
)

__all__ = ["MAX_DOMAIN", "MAX_TUPLES", "RLIMIT", "Structure", "satisfiable", "smallest_structure"]

RLIMIT = 500_000
"""Z3's own count of work per check; unlike a time limit it stops at the same point on any machine. FOLIO and
MALLS formulas need under 1,000; this many take about half a second. It bounds memory too, to some 200 MB."""

MAX_DOMAIN = 8
"""Things in the largest structure that is looked for; larger ones are hard to read."""

MAX_TUPLES = 4096
"""Most entries in the tables of a structure's predicates: a predicate of k places has domain^k."""


@dataclass(frozen=True, slots=True)
class Structure:
    """A finite world: its things, what each name stands for, and the tuples of which each predicate holds."""

    domain: tuple[str, ...]
    constants: dict[str, str]
    free_variables: dict[str, str]
    predicates: dict[tuple[str, int], tuple[tuple[str, ...], ...]]


def satisfiable(formula: Formula, timeout_ms: int) -> bool | None:
    """Decides whether some structure makes `formula` true; None if Z3 reaches a limit or cannot tell."""
    return _check(_solver(formula, timeout_ms))


def smallest_structure(formulas: Sequence[Formula], timeout_ms: int) -> tuple[int, Structure] | None:
    """Finds the smallest structure that makes one of `formulas` true; at equal size the earlier formula counts.

    Returns the place of the formula and the structure. None where no structure of up to MAX_DOMAIN things and
    MAX_TUPLES table entries exists, or none is found in `timeout_ms` (all checks together) and RLIMIT (each check).
    """
    end = time.monotonic() + timeout_ms / 1000
    symbols_of_formulas = [symbols(formula) for formula in formulas]
    for size in range(1, MAX_DOMAIN + 1):
        for place, (formula, names) in enumerate(zip(formulas, symbols_of_formulas, strict=True)):
            remaining_ms = int((end - time.monotonic()) * 1000)
            if remaining_ms <= 0:
                return None
            if sum(size**arity for _, arity in names.predicates) > MAX_TUPLES:
                continue
            solver = _solver(formula, remaining_ms)
            things = _bound_domain(size, solver)
            if _check(solver):
                return place, _read_model(solver, things, names)
    return None


def _solver(formula: Formula, timeout_ms: int) -> Any:
    import z3  # type: ignore[import-untyped]

    # A context of its own: Z3's default one is shared by all threads and keeps every symbol ever made.
    context = z3.Context()
    solver = z3.SimpleSolver(ctx=context)
    solver.set("timeout", timeout_ms)
    solver.set("rlimit", RLIMIT)
    solver.add(_to_z3(formula, context))
    return solver


def _check(solver: Any) -> bool | None:
    import z3

    answer = solver.check()
    return None if answer == z3.unknown else bool(answer == z3.sat)


def _bound_domain(size: int, solver: Any) -> list[Any]:
    """Tells the solver that there are at most `size` things; returns their names."""
    import z3

    thing = _thing(solver.ctx)
    things = [z3.Const(f"thing {number}", thing) for number in range(size)]
    anything = z3.Const("anything", thing)
    solver.add(z3.ForAll([anything], z3.Or([anything == constant for constant in things])))
    return things


def _read_model(solver: Any, things: Sequence[Any], names: Symbols) -> Structure:
    """Reads the solver's model as plain data; its things are named d1, d2, …"""
    import z3

    model, thing = solver.model(), _thing(solver.ctx)

    def value(expression: Any) -> Any:
        return model.eval(expression, model_completion=True)

    values = {str(value(name)): value(name) for name in things}  # two of `things` may be one
    labels = {key: f"d{number}" for number, key in enumerate(values, 1)}
    predicates = {}
    for name, arity in names.predicates:
        symbol = _predicate(name, arity, thing)
        predicates[name, arity] = tuple(
            tuple(labels[key] for key in keys)
            for keys in product(values, repeat=arity)
            if z3.is_true(value(symbol(*(values[key] for key in keys))))
        )
    return Structure(
        tuple(labels.values()),
        {name: labels[str(value(_constant(name, thing)))] for name in names.constants},
        {name: labels[str(value(_free(name, thing)))] for name in names.free_variables},
        predicates,
    )


def _thing(context: Any) -> Any:
    import z3

    return z3.DeclareSort("Thing", context)


# The prefixes keep the constant x, the free variable x and bound variables apart.
def _constant(name: str, thing: Any) -> Any:
    import z3

    return z3.Const(f"constant {name}", thing)


def _free(name: str, thing: Any) -> Any:
    import z3

    return z3.Const(f"free {name}", thing)


def _predicate(name: str, arity: int, thing: Any) -> Any:
    import z3

    return z3.Function(f"{name}/{arity}", *[thing] * arity, z3.BoolSort(thing.ctx))


def _to_z3(formula: Formula, context: Any) -> Any:
    """Translates the formula into a Z3 expression of `context`; symbols of one name and arity become one Z3 symbol."""
    return _Translation(_thing(context)).visit(formula, {})


class _Translation:
    """Translates one formula.

    A function that calls itself from within another would refer to itself, and so keep the context, some 20 MB, until
    the collector comes by.
    """

    def __init__(self, thing: Any) -> None:
        self.thing = thing
        self.fresh = count()

    def term(self, item: Term, bound: Mapping[str, Any]) -> Any:
        if isinstance(item, Constant):
            return _constant(item.name, self.thing)
        return bound[item.name] if item.name in bound else _free(item.name, self.thing)

    def visit(self, part: Formula, bound: Mapping[str, Any]) -> Any:
        """Translates a part; bound: the Z3 constants of the variables that are bound around it."""
        import z3

        match part:
            case Atom(predicate, terms):
                symbol = _predicate(predicate, len(terms), self.thing)
                return symbol(*(self.term(item, bound) for item in terms))
            case Equals(left, right):
                return self.term(left, bound) == self.term(right, bound)
            case Not(body):
                return z3.Not(self.visit(body, bound))
            case And(parts):
                return z3.And([self.visit(item, bound) for item in parts])
            case Or(parts):
                return z3.Or([self.visit(item, bound) for item in parts])
            case Xor(parts):
                return reduce(z3.Xor, [self.visit(item, bound) for item in parts])
            case Implies(left_side, right_side):
                return z3.Implies(self.visit(left_side, bound), self.visit(right_side, bound))
            case Iff(left_side, right_side):
                return self.visit(left_side, bound) == self.visit(right_side, bound)
            case ForAll(variable, body) | Exists(variable, body):
                own = z3.Const(f"bound {next(self.fresh)}", self.thing)
                inner = self.visit(body, {**bound, variable.name: own})
                return z3.ForAll([own], inner) if isinstance(part, ForAll) else z3.Exists([own], inner)
