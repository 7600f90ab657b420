"""The syntax tree, its normal text and the counts taken from it."""

from __future__ import annotations

import pytest
from appkit_tasks.nl2fol.parser import parse
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
    Variable,
    Xor,
    chain,
    connectives,
    depth,
    free_variables,
    quantifiers,
    rename,
    skeleton,
    symbols,
    to_text,
)
from appkit_tasks.nl2fol.tests.formulas import formulas
from hypothesis import given, settings

x, y = Variable("x"), Variable("y")
A, B, C = (Atom(name, (x,)) for name in "ABC")
SAME = Equals(x, y)

LAYOUT: list[tuple[Formula, str]] = [
    (Atom("R", (x, y)), "R(x, y)"),
    (ForAll(x, Implies(A, B)), "∀x (A(x) → B(x))"),
    (Exists(x, Exists(y, And((A, B)))), "∃x ∃y (A(x) ∧ B(x))"),
    (Exists(x, A), "∃x A(x)"),
    (ForAll(x, Not(A)), "∀x ¬A(x)"),
    (Not(Exists(x, A)), "¬∃x A(x)"),
    (Not(And((A, B))), "¬(A(x) ∧ B(x))"),
    (Not(Not(A)), "¬¬A(x)"),
    (And((A, B, C)), "A(x) ∧ B(x) ∧ C(x)"),
    (And((A, Or((B, C)))), "A(x) ∧ (B(x) ∨ C(x))"),
    (Or((And((A, B)), Xor((B, C)))), "(A(x) ∧ B(x)) ∨ (B(x) ⊕ C(x))"),
    (Implies(And((A, B)), Or((C, A))), "A(x) ∧ B(x) → C(x) ∨ A(x)"),
    (Implies(A, Implies(B, C)), "A(x) → (B(x) → C(x))"),
    (Implies(Implies(A, B), C), "(A(x) → B(x)) → C(x)"),
    (Iff(A, Implies(B, C)), "A(x) ↔ (B(x) → C(x))"),
    (And((Iff(A, B), C)), "(A(x) ↔ B(x)) ∧ C(x)"),
    (And((Exists(x, A), B)), "∃x A(x) ∧ B(x)"),
    (SAME, "x = y"),
    (Not(SAME), "x ≠ y"),
    (And((A, Not(SAME))), "A(x) ∧ x ≠ y"),
    (Exists(y, SAME), "∃y (x = y)"),
    (ForAll(y, Not(SAME)), "∀y (x ≠ y)"),
    (Not(Not(SAME)), "¬(x ≠ y)"),
    (Not(Not(Not(SAME))), "¬¬(x ≠ y)"),
]


@pytest.mark.parametrize(("formula", "text"), LAYOUT)
def test_layout(formula: Formula, text: str) -> None:
    assert to_text(formula) == text


@settings(max_examples=150, derandomize=True, deadline=None)
@given(formulas(max_depth=4))
def test_parsing_the_text_gives_the_tree_back(formula: Formula) -> None:
    assert parse(to_text(formula)) == formula


def test_chains_are_flat() -> None:
    assert chain(And, [And((A, B)), C]) == And((A, B, C))
    assert chain(Or, [A]) == A
    with pytest.raises(ValueError, match="not flat"):
        And((And((A, B)), C))
    with pytest.raises(ValueError, match="two parts or more, got 1"):
        Xor((A,))
    with pytest.raises(ValueError, match="got 0"):
        chain(And, [])


def test_an_atom_needs_a_term() -> None:
    with pytest.raises(ValueError, match="'Raining' needs at least one term"):
        Atom("Raining", ())


def test_kinds_of_chain_differ() -> None:
    assert len({And((A, B)), Or((A, B)), Xor((A, B))}) == 3


@pytest.mark.parametrize(
    ("text", "levels", "quantified", "connected"),
    [
        ("A(x)", 0, 0, 0),
        ("a = b", 0, 0, 0),
        ("a ≠ b", 1, 0, 0),
        ("A(x) ∧ B(x) ∧ C(x)", 1, 0, 2),
        ("∀x (A(x) ∧ ¬B(x) → ∃y (C(y) ⊕ R(x, y)))", 4, 2, 3),
        ("¬∀x ¬(A(x) ↔ B(x))", 4, 1, 1),
    ],
)
def test_counts(text: str, levels: int, quantified: int, connected: int) -> None:
    formula = parse(text)
    assert (depth(formula), quantifiers(formula), connectives(formula)) == (levels, quantified, connected)


def test_symbols_in_order_of_appearance() -> None:
    found = symbols(parse("∀x (R(x, tom) → P(anna) ∨ R(z)) ∧ P(x) ∧ tom = w"))
    assert found.predicates == (("R", 2), ("P", 1), ("R", 1))
    assert found.constants == ("tom", "anna")
    assert found.free_variables == ("z", "x", "w")


def test_free_variables_show_a_scope_too_tight() -> None:
    assert free_variables(parse("∀x Dog(x) → Animal(x)")) == ("x",)
    assert free_variables(parse("∀x (Dog(x) → Animal(x))")) == ()


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("∀x (Dog(x) → Chases(x, tom))", "∀y (Cat(y) → Likes(y, anna))"),
        ("∀x (A(x) ∧ ∃x B(x))", "∀x (A(x) ∧ ∃y B(y))"),
        ("A(u) ∧ B(v)", "A(z) ∧ B(w)"),
    ],
)
def test_same_skeleton(left: str, right: str) -> None:
    assert skeleton(parse(left)) == skeleton(parse(right))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("∀x (A(x) → B(x))", "∀x (A(x) → A(x))"),
        ("∀x ∃y R(x, y)", "∀x ∃y R(y, x)"),
        ("A(tom) ∧ B(tom)", "A(tom) ∧ B(anna)"),
        ("A(u) ∧ B(u)", "A(u) ∧ B(w)"),
        ("A(x) ∧ B(x)", "A(x) ∨ B(x)"),
        ("∃x A(x)", "∃x A(z)"),
        ("A(tom)", "A(z)"),
    ],
)
def test_different_skeletons(left: str, right: str) -> None:
    assert skeleton(parse(left)) != skeleton(parse(right))


def test_skeleton_text() -> None:
    text = "∀z (Dog(z) → ∃y (Owns(y, z) ∧ Dog(rex)))"
    assert skeleton(parse(text)) == "∀x1 (P1(x1) → ∃x2 (P2(x2, x1) ∧ P1(c1)))"


def test_rename_goes_by_name_and_arity() -> None:
    formula = parse("P(tom) ∧ P(tom, x)")
    assert to_text(rename(formula, {("P", 2): "Q"}, {"tom": "anna"})) == "P(anna) ∧ Q(anna, x)"
