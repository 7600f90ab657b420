"""Formulas in the words of their sentence: what is written is read back, and the usual notation reads unchanged."""

from __future__ import annotations

import importlib.resources
import json

import pytest
from appkit_tasks.nl2fol.config import Nl2FolConfig
from appkit_tasks.nl2fol.load import FolRow
from appkit_tasks.nl2fol.parser import parse
from appkit_tasks.nl2fol.prompt import answer, target
from appkit_tasks.nl2fol.syntax import Formula, to_text
from appkit_tasks.nl2fol.tests.formulas import PLAIN, formulas
from appkit_tasks.nl2fol.tests.test_grammar import xgrammar_of
from appkit_tasks.nl2fol.wording import from_words, to_words
from hypothesis import given, settings

PAIRS = [
    ("Rex barks.", "Barks(rex)", "barks( Rex)"),
    (
        "No falcon on Mount Karst can soar.",
        "∀x (Falcon(x) ∧ On(x, mountKarst) → ¬CanSoar(x))",
        "all x: falcon(x) and on(x, Mount Karst) implies not can soar(x)",
    ),
    (
        "Any number that is even and prime is two.",
        "∀x (Number(x) ∧ Even(x) ∧ Prime(x) → x = two)",
        "all x: number(x) and even(x) and prime(x) implies x = two",
    ),
    ("Nobody is Tom.", "¬∃x (Person(x) ∧ x = tom)", "not some x: person(x) and x = Tom"),
    (
        "Some cat sleeps and Rex is not Tom.",
        "∃x (Cat(x) ∧ Sleeps(x)) ∧ rex ≠ tom",
        "( some x: cat(x) and sleeps(x)) and Rex != Tom",
    ),
    (
        "If Tom feeds no cat, it is not so that he is kind and rich.",
        "¬∃x (Cat(x) ∧ Feeds(tom, x)) → ¬(Kind(tom) ∧ Rich(tom))",
        "( not some x: cat(x) and feeds( Tom, x)) implies not ( kind( Tom) and rich( Tom))",
    ),
    (
        "A seed sprouts only if it is wet.",
        "∀x (Seed(x) → (Sprouts(x) → Wet(x)))",
        "all x: seed(x) implies sprouts(x) implies wet(x)",
    ),
    (
        "A lamp is on if and only if it is hot.",
        "∀x (Lamp(x) → (On(x) ↔ Hot(x)))",
        "all x: lamp(x) implies on(x) iff hot(x)",
    ),
    (
        "If it is so that Rex barks if he is wet, he barks.",
        "(Wet(rex) → Barks(rex)) → Barks(rex)",
        "( wet( Rex) implies barks( Rex)) implies barks( Rex)",
    ),
    (
        "Rex barks just when he barks if he is wet.",
        "Barks(rex) ↔ (Wet(rex) → Barks(rex))",
        "barks( Rex) iff ( wet( Rex) implies barks( Rex))",
    ),
    (
        "It runs just when every door is shut or locked.",
        "∀x (Door(x) → Shut(x) ∨ Locked(x)) ↔ Runs(it)",
        "( all x: door(x) implies shut(x) or locked(x)) iff runs( It)",
    ),
]


@pytest.mark.parametrize(("sentence", "symbols", "words"), PAIRS)
def test_examples(sentence, symbols, words):
    assert to_words(parse(symbols), sentence) == words
    assert to_text(parse(from_words(words))) == symbols


@settings(max_examples=60, derandomize=True, deadline=None)
@given(formulas(constants=PLAIN, max_depth=3))
def test_what_is_written_is_read_back(formula: Formula) -> None:
    read = to_text(parse(from_words(to_words(formula, ""))))
    assert read.casefold() == to_text(formula).casefold()


@settings(max_examples=60, derandomize=True, deadline=None)
@given(formulas(constants=PLAIN, max_depth=3))
def test_the_usual_notation_reads_unchanged(formula: Formula) -> None:
    assert to_text(parse(from_words(to_text(formula)))) == to_text(formula)


def shipped_rows() -> list[FolRow]:
    text = (importlib.resources.files("appkit_data") / "nl2fol" / "test.jsonl").read_text(encoding="utf-8")
    return [FolRow(**json.loads(line)) for line in text.splitlines()]


def test_every_shipped_row_comes_back_exactly():
    for row in shipped_rows():
        written = target(row, Nl2FolConfig()).value
        assert written != row.formula
        assert answer(written).value == row.formula
        assert "∀" not in written


def test_every_shipped_row_fits_the_grammar():
    accepts = xgrammar_of("words")
    for row in shipped_rows():
        written = target(row, Nl2FolConfig()).value
        assert accepts(written), written


def test_a_name_that_holds_a_keyword_keeps_the_usual_notation():
    formula = parse("∀x (SwordAndShield(x) → And(x, rex))")
    assert to_words(formula, "") == to_text(formula)
    assert to_text(parse(from_words(to_text(formula)))) == to_text(formula)


@pytest.mark.parametrize(
    "text",
    [
        "Likes(Bob, bob)",
        "P(Bob) ∧ P(bob)",
        "P(A1) ∧ P(a1)",
        "P_q(a) ∧ P_Q(a)",
        "dog(rex) ∧ Dog(rex, ben)",
        "∀x (x = Bob ∨ x = bob)",
        "P(Éa) ∧ P(éa)",
    ],
)
def test_names_that_differ_by_case_alone_stay_two(text: str) -> None:
    row = FolRow(sentence="Bob likes bob.", formula=text)
    assert answer(target(row, Nl2FolConfig()).value).value == text


def test_a_letter_that_has_no_small_form_of_one_character_is_read_back() -> None:
    row = FolRow(sentence="İ runs.", formula="Runs(İ)")
    assert answer(target(row, Nl2FolConfig()).value).value == "Runs(İ)"


def test_words_that_differ_by_case_alone_are_one_name() -> None:
    assert answer(" likes( Bob, bob) and dog( Bob)").value == "Likes(bob, bob) ∧ Dog(bob)"


@pytest.mark.parametrize(
    "text", ["all x: dog(x", "all x: dog(x))", "some: dog(x)", "all x: ", ")", "not", ""]
)
def test_what_is_broken_is_an_error(text):
    assert answer(text).error is not None


def test_notation_is_an_option():
    row = FolRow(sentence="Rex barks.", formula="barks(Rex) & big(Rex)")
    assert target(row, Nl2FolConfig(notation="symbols")).value == "barks(Rex) ∧ big(Rex)"
    assert target(row, Nl2FolConfig(notation="symbols", normalize=False)).value == row.formula
    assert answer(" barks( Rex").error is not None
