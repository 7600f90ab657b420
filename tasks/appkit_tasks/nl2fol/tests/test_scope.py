"""A name is read alike whatever its letters; task.scope=wide moves a scope that must reach further, and counts it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from appkit_tasks.nl2fol import TASK
from appkit_tasks.nl2fol.config import Nl2FolConfig
from appkit_tasks.nl2fol.metrics import exact_match, strict_equivalence
from appkit_tasks.nl2fol.parser import FormulaError, parse
from appkit_tasks.nl2fol.prompt import answer
from appkit_tasks.nl2fol.scope import widen
from appkit_tasks.nl2fol.syntax import free_variables, skeleton, symbols, to_text
from appkit_tasks.nl2fol.tests.formulas import formulas
from appkit_tasks.nl2fol.tools import check
from appkit_tasks.nl2fol.wording import from_words, to_words
from hypothesis import given
from pydantic import ValidationError

from appkit.config import build_run_config
from appkit.errors import DataError
from appkit.rag.rows import load_rows
from appkit.runs.check import check_data

NAMES = ("x", "a", "p", "e", "X", "x12", "maria", "all", "Dog")
SHAPES = (
    "∀{v} Dog({v}) → Animal({v})",
    "∃{v} Person({v}) ∧ Happy({v})",
    "Happy({v}) ∧ ∃{v} Sad({v})",
    "∀{v}, y: Likes({v}, y) ↔ {v} = y",
    "(∀{v} P({v}) → Q(b)) ∨ R({v})",
)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_name_that_a_quantifier_binds_is_a_variable_everywhere(shape: str) -> None:
    for name in NAMES:
        formula = parse(shape.format(v=name))
        assert name in free_variables(formula), name
        assert name not in symbols(formula).constants
        assert skeleton(formula) == skeleton(parse(shape.format(v="x")))
        assert parse(to_text(formula)) == formula


@pytest.mark.parametrize("name", NAMES)
def test_a_row_that_leaves_its_variable_free_is_a_fault_whatever_the_name(name: str) -> None:
    with pytest.raises(ValidationError, match=f"leaves {name} free.*task.scope=wide"):
        TASK.row(sentence="s", formula=f"∀{name} Dog({name}) → Animal({name})")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("text", "constant", "variable", "place"),
    [
        ("∀x Dog(X)", "X", "x", 8),
        ("∀X (Dog(X) → Barks(x))", "x", "X", 20),
        ("∃dog (Animal(Dog) ∧ dog = rex)", "Dog", "dog", 14),
        ("Happy(X) ∧ ∃x Sad(x)", "X", "x", 7),
        ("∀x ∃y (Likes(x, y) ∧ X = y)", "X", "x", 22),
        ("∀straße Wet(STRASSE)", "STRASSE", "straße", 13),
        ('∀x (P(x) ∧ Q("X"))', "X", "x", 14),
    ],
)
def test_a_name_that_differs_from_a_variable_by_case_alone_is_a_fault(
    text: str, constant: str, variable: str, place: int
) -> None:
    with pytest.raises(FormulaError) as caught:
        parse(text)
    assert caught.value.message == (
        f"{constant!r} and the variable {variable!r} differ by case alone: write {variable!r}, or name the constant "
        "otherwise"
    )
    assert caught.value.position == place
    with pytest.raises(ValidationError, match="differ by case alone"):
        TASK.row(sentence="s", formula=text)  # type: ignore[call-arg]
    assert widen(text) == text
    assert not exact_match(text, "P(a)")
    assert not check(text)["parses"]


@pytest.mark.parametrize(
    ("text", "constants"),
    [
        ("∀x ∃X Likes(x, X)", ()),
        ("Grade(X) ∧ Likes(X, a)", ("X", "a")),
        ("∀x (Dog(x) → Likes(x, xavier))", ("xavier",)),
        ("∀x X(x)", ()),
    ],
)
def test_case_matters_to_nothing_else(text: str, constants: tuple[str, ...]) -> None:
    assert symbols(parse(text)).constants == constants
    assert free_variables(parse(text)) == ()


@pytest.mark.parametrize(
    ("words", "formula"),
    [
        ("grade( X)", "Grade(X)"),
        ("all X: dog(X) implies barks(X)", "∀X (Dog(X) → Barks(X))"),
        ("all x: near(x, Y)", "∀x Near(x, Y)"),
        ("all x: near(x, Mount Karst)", "∀x Near(x, mountKarst)"),
        ("near( Y1976, V 10)", "Near(y1976, v10)"),
    ],
)
def test_words_make_no_variable_of_a_constant(words: str, formula: str) -> None:
    assert answer(words).value == formula
    again = parse(from_words(to_words(parse(formula), "")))
    assert symbols(again) == symbols(parse(formula))


def test_an_answer_that_mixes_the_cases_is_an_error_and_no_other_formula() -> None:
    read = answer("all x: dog( X)")
    assert read.value is None
    assert "'X' and the variable 'x' differ by case alone" in (read.error or "")


def test_a_constant_that_no_quantifier_names_stays_one() -> None:
    assert symbols(parse("Grade(a) ∧ ∀b P(b)")).constants == ("a",)
    assert symbols(parse("∀a Dog(a) ∧ Cat(b)")).constants == ("b",)


def test_an_answer_with_a_variable_left_free_is_not_the_closed_formula() -> None:
    for name in ("x", "a"):
        answer, gold = (f"∀{name} {body}" for body in (f"D({name}) → A({name})", f"(D({name}) → A({name}))"))
        assert not exact_match(answer, gold)
        assert strict_equivalence(answer, gold).value == "different"


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("∀x Dog(x) → Animal(x)", "∀x (Dog(x) → Animal(x))"),
        ("∀a Dog(a) → Animal(a).", "∀a (Dog(a) → Animal(a))"),
        ("∀e,d: connected(e,d) ⇔ has(e,d)", "∀e ∀d (connected(e, d) ↔ has(e, d))"),
        ("¬(∀x) P(x) → Q(x)", "¬∀x (P(x) → Q(x))"),
        ("∀x ∀y P(x,y) → Q(x,y)", "∀x ∀y (P(x, y) → Q(x, y))"),
        ("∀x P(x) → ∃y Q(y) ∧ R(x,y)", "∀x (P(x) → ∃y (Q(y) ∧ R(x, y)))"),
        # only the scope that must move does, and only to the end of its parenthesis
        ("(∀x P(x) → Q(a)) ∧ ∀x R(x) → S(x)", "(∀x P(x) → Q(a)) ∧ ∀x (R(x) → S(x))"),
        ("[∀x P(x) → Q(x)] ∧ R(a)", "∀x (P(x) → Q(x)) ∧ R(a)"),
        # closed as it stands
        ("∀x (A(x)) → ∀y (B(y))", "∀x A(x) → ∀y B(y)"),
        ("∃x Comet(x) ∧ Hot(sun)", "∃x Comet(x) ∧ Hot(sun)"),
    ],
)
def test_a_wide_scope_closes_the_formula(text: str, normal: str) -> None:
    assert to_text(parse(widen(text))) == normal


@pytest.mark.parametrize("text", ["P(x)", "[∃x P(x)] ∧ Q(x)", "P(a) ∧ ∀a Q(a)", "∀x P(", ""])
def test_what_no_scope_can_close_is_left_as_it_is(text: str) -> None:
    assert widen(text) == text


@given(formulas())
def test_a_closed_formula_means_the_same_in_both_scopes(formula: object) -> None:
    text = to_text(formula)  # type: ignore[arg-type]
    if not free_variables(parse(text)):
        assert widen(text) == text


def write(folder: Path, rows: list[str]) -> str:
    lines = (json.dumps({"sentence": f"s{n}", "formula": formula}) + "\n" for n, formula in enumerate(rows))
    folder.joinpath("rows.jsonl").write_text("".join(lines))
    return str(folder / "rows.jsonl")


def test_rows_with_a_wide_scope_are_refused_or_read_and_counted(tmp_path: Path) -> None:
    train = [f"∀a P{n}(a) → Q(a)" for n in range(6)] + [f"∀x (P{n}(x) → Q(x))" for n in range(20)]
    data = {"train": write(tmp_path, train), "dev_share": 0.1, "test_share": 0.1}
    with pytest.raises(DataError, match=r"6 faults.*leaves a free.*task.scope=wide"):
        load_rows(TASK, build_run_config({"task": "nl2fol", "data": data}))
    config = build_run_config({"task": {"name": "nl2fol", "scope": "wide"}, "data": data})
    assert isinstance(config.task, Nl2FolConfig)
    splits, _ = load_rows(TASK, config)
    parts = (splits.train, splits.dev, splits.test)
    assert sum(map(len, parts)) == 26
    values = [record.value for part in parts for record in part]
    assert all(not free_variables(parse(row.formula)) for row in values)  # type: ignore[attr-defined]
    notes = [note for note in splits.notes if "task.scope=wide" in note]
    assert [note.split(":")[0] for note in notes] == ["train", "dev", "test"]
    assert sum(int(note.split()[1]) for note in notes) == 6


def test_the_check_of_data_counts_them_too(tmp_path: Path) -> None:
    train = write(tmp_path, [f"∀a P{n}(a) → Q(a)" for n in range(3)] + ["P(b)"])
    for scope, notes in (
        ("wide", ("train: 3 of 4 rows had a scope read to the end (task.scope=wide)",)),
        ("narrow", ()),
    ):
        values = {"task": {"name": "nl2fol", "scope": scope}, "data": {"train": train, "near": None}}
        report = check_data(build_run_config(values))
        assert tuple(note for note in report.notes if "scope" in note) == notes
        assert report.ok == (scope == "wide")
        assert set(notes) <= set(report.lines())


@pytest.mark.parametrize(
    "text",
    [
        *("Score(bob, 1,000)", "Score(bob,1,000)", "Score(bob, 3,5)", "P(1.000,50)", "10,00,000 = a"),
        *("Score(bob, no1,000)", "Score(bob, mid-1,000)", "Score(bob, 1-000,000)", "P(v1,000)"),
    ],
)
def test_a_number_with_commas_is_refused_by_a_word(text: str) -> None:
    with pytest.raises(FormulaError, match="is one number or several arguments"):
        parse(text)


def test_arguments_with_a_space_behind_each_comma_may_be_numbers() -> None:
    assert to_text(parse("Sum(2, 3, 5) ∧ Next(room12,3)")) == "Sum(2, 3, 5) ∧ Next(room12, 3)"


@pytest.mark.parametrize(
    ("sign", "normal"),
    [("⟷", "↔"), ("⟺", "↔"), ("⟶", "→"), ("⊃", "→"), ("⊻", "⊕"), ("⋀", "∧"), ("⋁", "∨")],
)
def test_a_sign_of_the_same_look_is_the_same_connective(sign: str, normal: str) -> None:
    assert to_text(parse(f"P(a) {sign} Q(b)")) == f"P(a) {normal} Q(b)"
    assert to_text(parse("∼P(a)")) == "¬P(a)"


@pytest.mark.parametrize("text", ['∀x Dog("x")', '∀x (Dog(x) ∧ Cat("x"))', '∃y (y = "y")'])
def test_a_quoted_name_is_no_variable(text: str) -> None:
    with pytest.raises(FormulaError, match=r"in quotes is a name and '[xy]' is a variable"):
        parse(text)
