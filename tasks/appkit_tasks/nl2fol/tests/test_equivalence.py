"""Names are aligned by name alone, then a prover decides."""

from __future__ import annotations

import gc
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import z3
from appkit_tasks.nl2fol.equivalence import Verdict, align, equivalent, name_similarity, status
from appkit_tasks.nl2fol.parser import parse
from appkit_tasks.nl2fol.prover import satisfiable
from appkit_tasks.nl2fol.syntax import Formula, Not, rename
from appkit_tasks.nl2fol.tests.formulas import formulas
from hypothesis import given, settings

# A strict order without a last element has infinite models only: Z3 finds no model and no contradiction.
ENDLESS = "∀x ¬L(x, x) ∧ ∀x ∀y ∀z (L(x, y) ∧ L(y, z) → L(x, z)) ∧ ∀x ∃y L(x, y)"


def verdict(predicted: str, reference: str, timeout_ms: int = 2000) -> Verdict:
    return equivalent(parse(predicted), parse(reference), timeout_ms)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Own", "Owns"),
        ("Teacher", "Teachers"),
        ("LivesIn", "LiveIn"),
        ("LivesIn", "lives_in"),
        ("City", "Cities"),
        ("Movie", "Movies"),
        ("Watches", "Watch"),
        ("CircuitBreaker", "Circuitbreaker"),
        ("newYork", "NewYork"),
        ("carol", "Carol"),
        ("ParentOf", "Parent"),
        ("TallerThan", "Taller"),
        ("miroslav", "miroslavVenhoda"),
    ],
)
def test_names_that_align(left: str, right: str) -> None:
    assert name_similarity(left, right) == name_similarity(right, left) >= 0.5


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("P", "Q"),
        ("Dog", "Cat"),
        ("Happy", "Unhappy"),
        ("Student", "NonStudent"),
        ("Student", "Non-Student"),
        ("Approves", "ApprovedBy"),
        ("Approves", "Approved"),
        ("Employer", "Employee"),
        ("LivesIn", "LivesOn"),
        ("GuideDog", "Dog"),
        ("CanFly", "Fly"),
        ("room12", "room13"),
        ("room12", "room"),
        ("maria", "mario"),
        ("c++", "c"),
        ("a", "a+"),
    ],
)
def test_names_that_do_not_align(left: str, right: str) -> None:
    assert name_similarity(left, right) == name_similarity(right, left) < 0.5


def test_equal_names_go_first_and_arity_counts() -> None:
    names = align(parse("Own(a) ∧ Owns(a) ∧ Owns(a, b)"), parse("Owns(a) ∧ Own(a, b)"))
    assert names.predicates == {("Owns", 1): "Owns", ("Owns", 2): "Own"}
    assert names.constants == {"a": "a", "b": "b"}


@pytest.mark.parametrize(
    ("predicted", "reference", "constants"),
    [
        # Greedy by order of names would give `annika` its nearest name and so none to `annikaKay`.
        (
            "P(annika) ∧ P(annikaKay)",
            "P(annikaKayLi) ∧ P(annikaLeeOh)",
            {"annika": "annikaLeeOh", "annikaKay": "annikaKayLi"},
        ),
        # A name that is equal but for the -s is not given away for two weaker pairs.
        ("P(nina) ∧ P(ninaLee)", "P(ninaLees) ∧ P(ninaLeeKay)", {"ninaLee": "ninaLees"}),
    ],
)
def test_alignment_is_the_best_overall(predicted: str, reference: str, constants: dict[str, str]) -> None:
    assert align(parse(predicted), parse(reference)).constants == constants


def test_alignment_ignores_where_a_name_stands() -> None:
    left, right = "∀x (ParentsOf(x) → Own(x))", "∀x (Owns(x) → Parent(x))"
    names = align(parse(left), parse(right))
    assert names.predicates == {("ParentsOf", 1): "Parent", ("Own", 1): "Owns"}
    assert verdict(left, right) is Verdict.DIFFERENT


@pytest.mark.parametrize(
    ("predicted", "reference"),
    [
        ("∀y (Dog(y) → Animal(y))", "∀x (Dog(x) → Animal(x))"),
        ("∀x (Dogs(x) → Animal(x))", "∀x (Dog(x) → Animals(x))"),
        ("∀x (¬Q(x) → ¬P(x))", "∀x (P(x) → Q(x))"),
        ("∀x ∀y (A(x) ∧ B(y) → R(x, y))", "∀x (A(x) → ∀y (B(y) → R(x, y)))"),
        ("∀x ∃y (P(x) → Q(y) ∧ R(x, y))", "∀x (P(x) → ∃y (Q(y) ∧ R(x, y)))"),
        ("¬∃x (P(x) ∧ Q(x))", "∀x (P(x) → ¬Q(x))"),
        ("B(a) ∧ A(a)", "A(a) ∧ B(a)"),
        ("(A(a) ∧ ¬B(a)) ∨ (¬A(a) ∧ B(a))", "A(a) ⊕ B(a)"),
        ("∃x (A(x) ∧ ∀y (A(y) → y = x))", "∃x A(x) ∧ ∀x ∀y (A(x) ∧ A(y) → x = y)"),
        ("∃x A(x) ∨ ∃y B(y)", "∃z (A(z) ∨ B(z))"),
        ("∃x (A(x) ∨ ¬A(x))", "∀x (A(x) ∨ ¬A(x))"),  # both valid, as domains are not empty
        (f"({ENDLESS}) ∧ A(a)", f"({ENDLESS}) ∧ A(a)"),  # equal trees need no prover
    ],
)
def test_equivalent(predicted: str, reference: str) -> None:
    assert verdict(predicted, reference) is Verdict.EQUIVALENT
    assert verdict(reference, predicted) is Verdict.EQUIVALENT


@pytest.mark.parametrize(
    ("predicted", "reference"),
    [
        ("∀x (Q(x) → P(x))", "∀x (P(x) → Q(x))"),
        ("∃y ∀x R(x, y)", "∀x ∃y R(x, y)"),
        ("∃x P(x)", "∀x P(x)"),
        ("A(a) ∨ B(a)", "A(a) ⊕ B(a)"),
        ("R(b, a)", "R(a, b)"),
        ("∀x (A(x) ∧ B(x))", "∀x (A(x) → B(x))"),
        ("Unhappy(john)", "Happy(john)"),
        ("ApprovedBy(a, b)", "Approves(a, b)"),
        ("P(a)", "P(a, a)"),
        ("P(room12)", "P(room13)"),
        ("P(x)", "P(y)"),
        ("∀x Dog(x) → Animal(x)", "∀x (Dog(x) → Animal(x))"),
        ("P(a) ∧ P(b)", "P(a) ∧ P(b) ∧ a ≠ b"),  # two names may denote one thing
    ],
)
def test_different(predicted: str, reference: str) -> None:
    assert verdict(predicted, reference) is Verdict.DIFFERENT
    assert verdict(reference, predicted) is Verdict.DIFFERENT


def test_undecided_and_the_limit_holds() -> None:
    start = time.perf_counter()
    assert verdict(ENDLESS, "∃x (L(x, x) ∧ ¬L(x, x))", timeout_ms=100) is Verdict.UNDECIDED
    assert time.perf_counter() - start < 2
    assert status(parse(ENDLESS), timeout_ms=100) == "undecided"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("∀x (P(x) → P(x))", "valid"),
        ("∀x P(x) → ∃x P(x)", "valid"),
        ("∃x (P(x) ∧ ¬P(x))", "unsatisfiable"),
        ("a ≠ a", "unsatisfiable"),
        ("∀x (Dog(x) → Animal(x))", "contingent"),
        ("a = b", "contingent"),
        ("P(x)", "contingent"),
    ],
)
def test_status(text: str, expected: str) -> None:
    assert status(parse(text)) == expected


@settings(max_examples=8, derandomize=True, deadline=None)
@given(formulas(max_depth=3))
def test_a_formula_equals_its_renaming_and_never_its_negation(formula: Formula) -> None:
    doubly = Not(Not(formula))
    assert equivalent(doubly, formula, timeout_ms=300) in (Verdict.EQUIVALENT, Verdict.UNDECIDED)
    assert equivalent(Not(formula), formula, timeout_ms=300) in (Verdict.DIFFERENT, Verdict.UNDECIDED)
    assert equivalent(rename(formula, {}, {}), formula) is Verdict.EQUIVALENT


def test_threads_do_not_disturb_each_other() -> None:
    pairs = [("∀x (¬Q(x) → ¬P(x))", "∀x (P(x) → Q(x))"), ("∀x (Q(x) → P(x))", "∀x (P(x) → Q(x))")] * 8
    with ThreadPoolExecutor(2) as pool:
        verdicts = list(pool.map(lambda pair: verdict(*pair), pairs))
    assert verdicts == [Verdict.EQUIVALENT, Verdict.DIFFERENT] * 8


def test_a_check_leaves_no_context_behind() -> None:
    """Each has some 20 MB: hundreds of them filled a machine before the collector came by."""

    def contexts() -> int:
        return sum(type(one) is z3.Context for one in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = contexts()
        for _ in range(3):
            assert satisfiable(parse("∀x (Dog(x) → ∃y (Cat(y) ∧ Chases(x, y)))"), 1000)
        assert contexts() == before
    finally:
        gc.enable()
