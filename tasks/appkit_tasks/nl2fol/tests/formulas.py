"""Draws well-formed formulas for the tests of this folder (Hypothesis strategies)."""

from __future__ import annotations

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
    Term,
    Variable,
    Xor,
    chain,
)
from hypothesis import strategies as st

PLAIN = ("maria", "newYork", "room12", "all")
ODD = ("l-2021", "mr.smith", "c++", "Carol", "2000", "O’Neil", "y1976", "élan", "not")
PREDICATES = ("Dog", "LivesIn", "P", "Q2", "Exists")
VARIABLES = ("x", "y", "z", "w")


def formulas(*, constants: tuple[str, ...] = PLAIN + ODD, max_depth: int = 5) -> st.SearchStrategy[Formula]:
    """Draws formulas whose free variables are `u` or `v3`; `constants=PLAIN` keeps to names of the normal form."""

    def term(bound: tuple[str, ...]) -> st.SearchStrategy[Term]:
        variables = st.sampled_from((*bound, "u", "v3")).map(Variable)
        return variables | st.sampled_from(constants).map(Constant)

    @st.composite
    def build(draw: st.DrawFn, bound: tuple[str, ...], levels: int) -> Formula:
        inner = ("not", "and", "or", "xor", "implies", "iff", "all", "some")
        kind = draw(st.sampled_from(("atom", "equals", *inner) if levels else ("atom", "equals")))
        if kind == "atom":
            terms = draw(st.lists(term(bound), min_size=1, max_size=3))
            return Atom(draw(st.sampled_from(PREDICATES)), tuple(terms))
        if kind == "equals":
            return Equals(draw(term(bound)), draw(term(bound)))
        if kind in ("all", "some"):
            name = draw(st.sampled_from(VARIABLES))
            body = draw(build((*bound, name), levels - 1))
            return (ForAll if kind == "all" else Exists)(Variable(name), body)
        if kind == "not":
            return Not(draw(build(bound, levels - 1)))
        if kind in ("implies", "iff"):
            left, right = draw(build(bound, levels - 1)), draw(build(bound, levels - 1))
            return (Implies if kind == "implies" else Iff)(left, right)
        parts = draw(st.lists(build(bound, levels - 1), min_size=2, max_size=3))
        return chain(And if kind == "and" else Or if kind == "or" else Xor, parts)

    return build((), max_depth)
