"""Scores of formulas, checked against sacrebleu, nltk and a brute-force search."""

from __future__ import annotations

import random
from itertools import permutations, product

import numpy as np
import pytest
from appkit_tasks.nl2fol.equivalence import Verdict
from appkit_tasks.nl2fol.metrics import (
    MAX_LITERALS,
    bleu_aggregate,
    bleu_matrix,
    bleu_sentence,
    bleu_statistics,
    exact_match,
    fol_tokens,
    logical_equivalence,
    parses,
    strict_equivalence,
)
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
    Xor,
    to_text,
    walk,
)
from appkit_tasks.nl2fol.tests.formulas import PLAIN, formulas
from hypothesis import given, settings

PAIRS = [
    ("∀x (Dog(x) → Animal(x))", "∀x (Dog(x) → Animal(x))"),
    ("∀x (Dog(x) → Barks(x))", "∀x (Dog(x) ∧ Barks(x) → Loud(x))"),
    ("∃x (Dog(x) ∧ Chases(x, tom))", "∃x ∃y (Dog(x) ∧ Cat(y) ∧ Chases(x, y))"),
    ("A(x", "¬A(x)"),
    ("", "A(x)"),
    ("no formula at all", "∃x (A(x) ∧ B(x))"),
]


def test_parses() -> None:
    assert parses("forall x (Dog(x) -> Animal(x))")
    assert not parses("∀x (Dog(x) → Animal(x)")


def test_exact_match_ignores_notation_only() -> None:
    reference = "∀x (Dog(x) → Animal(x))"
    assert exact_match("forall x.((Dog(x)) -> (Animal(x)))", reference)
    assert not exact_match("∀y (Dog(y) → Animal(y))", reference)
    assert not exact_match("∀x (Animal(x) → Dog(x))", reference)
    assert not exact_match("∀x (Dog(x) → Animal(x)", reference)


@pytest.mark.parametrize("metric", [exact_match, logical_equivalence, strict_equivalence])
def test_a_malformed_reference_is_an_error(metric: object) -> None:
    with pytest.raises(ValueError, match=r"the reference 'Dog\(' is not a formula"):
        metric("Dog(rex)", "Dog(")  # type: ignore[operator]


def test_tokens() -> None:
    assert fol_tokens("∀x (LivesIn(x,newYork)→¬x≠y)") == [
        "∀",
        "x",
        "(",
        "LivesIn",
        "(",
        "x",
        ",",
        "newYork",
        ")",
        "→",
        "¬",
        "x",
        "≠",
        "y",
        ")",
    ]
    assert fol_tokens("A(x) -> B(c++) <-> C(l-2021)") == [
        "A",
        "(",
        "x",
        ")",
        "->",
        "B",
        "(",
        "c++",
        ")",
        "<->",
        "C",
        "(",
        "l-2021",
        ")",
    ]
    assert fol_tokens("") == []


def spaced(text: str) -> str:
    return " ".join(fol_tokens(text))


def test_corpus_bleu_equals_sacrebleu() -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    expected = sacrebleu.corpus_bleu(
        [spaced(predicted) for predicted, _ in PAIRS],
        [[spaced(reference) for _, reference in PAIRS]],
        tokenize="none",
        force=True,
    ).score
    rows = [bleu_statistics(*pair) for pair in PAIRS]
    assert 10 < expected < 90
    assert bleu_aggregate(rows) == pytest.approx(expected)
    assert bleu_matrix(np.array(rows, dtype=float)) == pytest.approx(expected)


def test_bleu_of_equal_and_of_no_rows() -> None:
    assert bleu_aggregate([bleu_statistics("A(x)", "A ( x )")]) == pytest.approx(100)
    assert bleu_aggregate([bleu_statistics("", "A(x)")]) == 0
    with pytest.raises(ValueError, match="BLEU of no rows"):
        bleu_aggregate([])


@pytest.mark.parametrize(("predicted", "reference"), PAIRS)
def test_sentence_bleu_equals_nltk(predicted: str, reference: str) -> None:
    bleu = pytest.importorskip("nltk.translate.bleu_score")
    hypothesis, gold = fol_tokens(predicted), fol_tokens(reference)
    order = min(4, len(hypothesis), len(gold))
    expected = 0.0
    if order:
        expected = bleu.sentence_bleu([gold], hypothesis, weights=[1 / order] * order)
    assert bleu_sentence(predicted, reference) == pytest.approx(expected, abs=1e-9)


def test_sentence_bleu_takes_the_order_of_the_shorter_side() -> None:
    # Two tokens each: with 4-grams this could only be 0.
    assert bleu_sentence("A B", "A B") == pytest.approx(1)
    assert bleu_sentence("", "A(x)") == 0


@pytest.mark.parametrize(
    ("predicted", "reference", "score"),
    [
        ("∀x P(x)", "∃x P(x)", 1.0),  # the known weakness: quantifiers are not seen
        ("∀x (P(x) → Q(x))", "∀x (P(x) → Q(x))", 1.0),
        ("∀x (Q(x) → P(x))", "∀x (P(x) → Q(x))", 1.0),  # names only order the bindings that are tried
        ("A(a) ∧ B(a)", "A(a) ∨ B(a)", 0.5),
        ("A(a) ⊕ B(a)", "A(a) ∨ B(a)", 0.75),
        ("¬A(a)", "A(a)", 0.0),
        ("A(a)", "A(a) ∧ B(a)", 0.75),  # one dummy
        ("A(a) ∧ B(a)", "C(a)", 0.75),
        ("a = b", "a ≠ b", 0.0),
        ("A(", "A(a)", 0.0),
    ],
)
def test_logical_equivalence(predicted: str, reference: str, score: float) -> None:
    assert logical_equivalence(predicted, reference) == score


def truth(formula: Formula, world: dict[str, bool]) -> bool:
    match formula:
        case Atom() | Equals():
            return world[to_text(formula)]
        case Not(body):
            return not truth(body, world)
        case And(parts):
            return all(truth(part, world) for part in parts)
        case Or(parts):
            return any(truth(part, world) for part in parts)
        case Xor(parts):
            return sum(truth(part, world) for part in parts) % 2 == 1
        case Implies(left, right):
            return truth(right, world) or not truth(left, world)
        case Iff(left, right):
            return truth(left, world) == truth(right, world)
        case ForAll(_, body) | Exists(_, body):
            return truth(body, world)


def brute_force(predicted: str, reference: str) -> float:
    """LE over every binding, row by row; right as long as the bindings are at most MAX_BINDINGS."""
    trees = parse(predicted), parse(reference)
    ours, theirs = (sorted({to_text(p) for p in walk(f) if isinstance(p, Atom | Equals)}) for f in trees)
    size = max(len(ours), len(theirs))
    best = 0
    for order in permutations(ours + ["dummy"] * (size - len(ours))):
        rows = list(product([False, True], repeat=size))
        best = max(
            best,
            sum(
                truth(trees[0], dict(zip(order, row, strict=True)))
                == truth(trees[1], dict(zip(theirs, row, strict=False)))
                for row in rows
            ),
        )
    return best / (1 << size)


def random_formula(random_: random.Random, depth: int) -> str:
    if depth == 0 or random_.random() < 0.2:
        return f"{random_.choice('PQRS')}(a)"
    left, right = random_formula(random_, depth - 1), random_formula(random_, depth - 1)
    return random_.choice(
        [f"¬{left}" if depth == 1 else f"¬({left})", f"({left}) {random_.choice('∧∨⊕→↔')} ({right})"]
    )


def test_logical_equivalence_equals_a_brute_force_search() -> None:
    random_ = random.Random(1)
    scores = set()
    for _ in range(60):
        pair = random_formula(random_, 3), random_formula(random_, 2)
        assert logical_equivalence(*pair) == brute_force(*pair), pair
        scores.add(logical_equivalence(*pair))
    assert len(scores) > 5


@settings(max_examples=15, derandomize=True, deadline=None)
@given(formulas(constants=PLAIN, max_depth=3))
def test_a_formula_agrees_with_itself(formula: Formula) -> None:
    text = to_text(formula)
    distinct = {to_text(part) for part in walk(formula) if isinstance(part, Atom | Equals)}
    if len(distinct) <= 8:
        assert logical_equivalence(text, text) == 1.0
    assert exact_match(text, text)
    assert strict_equivalence(text, text) is Verdict.EQUIVALENT


def test_too_many_literals() -> None:
    many = " ∧ ".join(f"P{number}(a)" for number in range(MAX_LITERALS + 1))
    assert logical_equivalence(many, "A(a)") == 0.0
    with pytest.raises(ValueError, match=f"{MAX_LITERALS + 1} distinct atoms, the limit is {MAX_LITERALS}"):
        logical_equivalence("A(a)", many)
    most = " ∧ ".join(f"P{number}(a)" for number in range(MAX_LITERALS))
    assert logical_equivalence(most, most) == 1.0


def test_strict_equivalence() -> None:
    reference = "∀x (Dog(x) → Animal(x))"
    assert strict_equivalence("forall y (¬Animal(y) -> ¬Dogs(y))", reference) is Verdict.EQUIVALENT
    assert strict_equivalence("∀x (Animal(x) → Dog(x))", reference) is Verdict.DIFFERENT
    assert strict_equivalence("∃x (Dog(x) → Animal(x))", reference) is Verdict.DIFFERENT
    assert strict_equivalence("∀x (Dog(x) → Animal(x)", reference) is Verdict.DIFFERENT
