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
from appkit_tasks.nl2fol.tests.test_grammar import accepts
from appkit_tasks.nl2fol.wording import from_words, to_words
from hypothesis import given, settings

PAIRS = [
    ("Rex barks.", "Barks(rex)", " barks( Rex)"),
    (
        "No falcon on Mount Karst can soar.",
        "∀x (Falcon(x) ∧ On(x, mountKarst) → ¬CanSoar(x))",
        "∀x ( falcon(x) ∧ on(x, Mount Karst) → ¬ can soar(x))",
    ),
    (
        "Any number that is even and prime is two.",
        "∀x (Number(x) ∧ Even(x) ∧ Prime(x) → x = two)",
        "∀x ( number(x) ∧ even(x) ∧ prime(x) → x = two)",
    ),
    ("Nobody is Tom.", "¬∃x (Person(x) ∧ x = tom)", "¬∃x ( person(x) ∧ x = Tom)"),
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


def test_every_shipped_row_comes_back_exactly_and_fits_the_grammar():
    text = (importlib.resources.files("appkit_data") / "nl2fol" / "test.jsonl").read_text(encoding="utf-8")
    rows = [FolRow(**json.loads(line)) for line in text.splitlines()]
    for row in rows:
        written = target(row, Nl2FolConfig()).value
        assert written != row.formula
        assert answer(written).value == row.formula
    assert all(accepts(target(row, Nl2FolConfig()).value, "words") for row in rows[::12])


def test_notation_is_an_option():
    row = FolRow(sentence="Rex barks.", formula="barks(Rex) & big(Rex)")
    assert target(row, Nl2FolConfig(notation="symbols")).value == "barks(Rex) ∧ big(Rex)"
    assert target(row, Nl2FolConfig(notation="symbols", normalize=False)).value == row.formula
    assert answer(" barks( Rex").error is not None
