"""Every notation is read, every malformed text is refused with a place and a reason."""

from __future__ import annotations

import pickle
import time

import pytest
from appkit_tasks.nl2fol.parser import MAX_CHARS, MAX_DEPTH, FormulaError, parse
from appkit_tasks.nl2fol.syntax import Atom, Constant, ForAll, Variable, to_text
from hypothesis import given, settings
from hypothesis import strategies as st

NORMAL = "∀x (A(x) ∧ ¬B(x) → C(x) ∨ D(x))"
EXISTS = "∃x ∃y (A(x) ∧ B(y))"


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("∀x (A(x) & !B(x) -> C(x) | D(x))", NORMAL),
        ("∀x.(A(x) && ~B(x) => C(x) || D(x))", NORMAL),
        ("∀x: (A(x) /\\ -B(x) ⟹ C(x) \\/ D(x))", NORMAL),
        ("forall x (A(x) and not B(x) implies C(x) or D(x))", NORMAL),
        ("ALL x ((A(x) AND NOT B(x)) IMPLIES (C(x) OR D(x)))", NORMAL),
        ("(∀x)[{A(x)∧¬(B(x))}⇒[C(x)∨D(x)]]", NORMAL),
        ("  ∀ x(A (x)∧¬ B( x )→C(x)∨D(x)) . ", NORMAL),
        ("∃x∃y(A(x)∧B(y))", EXISTS),
        ("∃x, y (A(x) ∧ B(y))", EXISTS),
        ("∃x,y: (A(x) ∧ B(y))", EXISTS),
        ("exists x. some y. (A(x) ∧ B(y))", EXISTS),
        ("A(a) ⊕ B(a)", "A(a) ⊕ B(a)"),
        ("A(a) ^ B(a)", "A(a) ⊕ B(a)"),
        ("A(a) xor B(a)", "A(a) ⊕ B(a)"),
        ("A(a) <-> B(a)", "A(a) ↔ B(a)"),
        ("A(a) <=> B(a)", "A(a) ↔ B(a)"),
        ("A(a) ⇔ B(a)", "A(a) ↔ B(a)"),
        ("A(a) ≡ B(a)", "A(a) ↔ B(a)"),
        ("A(a) iff B(a)", "A(a) ↔ B(a)"),
        ("a=b", "a = b"),
        ("a == b", "a = b"),
        ("a != b", "a ≠ b"),
        ("¬(a = b)", "a ≠ b"),
        ("¬a = b", "a ≠ b"),
        ("¬a ≠ b", "¬(a ≠ b)"),
        ("A(a)=>a=b", "A(a) → a = b"),
    ],
)
def test_notations(text: str, normal: str) -> None:
    assert to_text(parse(text)) == normal


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("A(a) ∨ B(a) ∧ C(a)", "A(a) ∨ (B(a) ∧ C(a))"),
        ("A(a) ⊕ B(a) ∨ C(a)", "A(a) ⊕ (B(a) ∨ C(a))"),
        ("A(a) → B(a) → C(a)", "A(a) → (B(a) → C(a))"),
        ("A(a) → B(a) ↔ C(a)", "(A(a) → B(a)) ↔ C(a)"),
        ("A(a) ↔ B(a) ↔ C(a)", "A(a) ↔ (B(a) ↔ C(a))"),
        ("¬A(a) ∧ B(a)", "¬A(a) ∧ B(a)"),
        ("∀x A(x) ∧ B(a)", "∀x A(x) ∧ B(a)"),
        ("(∀x A(x)) ∧ B(a)", "∀x A(x) ∧ B(a)"),
        ("∀x (A(x)) → B(a)", "∀x A(x) → B(a)"),
        ("(A(a) ∧ B(a)) ∧ (C(a) ∧ D(a))", "A(a) ∧ B(a) ∧ C(a) ∧ D(a)"),
    ],
)
def test_precedence_and_scope(text: str, normal: str) -> None:
    assert to_text(parse(text)) == normal


def test_what_is_a_variable() -> None:
    formula = parse("∀a R(a, b, x, y1976)")
    assert formula == ForAll(
        Variable("a"), Atom("R", (Variable("a"), Constant("b"), Variable("x"), Constant("y1976")))
    )


@pytest.mark.parametrize(
    "name",
    ["l-2021", "mr.smith", "c++", "a+", "2000", "k-12andhighereducation", "O’Neil", "all", "or", "NOT"],
)
def test_names_of_real_data(name: str) -> None:
    assert parse(f"Likes(x, {name})") == Atom("Likes", (Variable("x"), Constant(name)))


def test_quotes_are_dropped_and_words_joined() -> None:
    assert to_text(parse('Runs(x, "sprints") ∧ In(x, "New  York")')) == "Runs(x, sprints) ∧ In(x, New_York)"


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("", 1, "the text ends, expected a formula"),
        ("Dog", 4, "the text ends, expected '(' and arguments or '='"),
        ("hello world", 7, "found 'world', expected '(' and arguments or '='"),
        ("Dog(rex", 8, "the text ends, expected ',' or ')'"),
        ("Dog()", 5, "found ')', expected a name"),
        ("Dog(rex))", 9, "')' closes no open parenthesis"),
        ("Dog(rex) ∧ ", 11, "the text ends, expected a formula"),
        ("Dog(rex) Cat(tom)", 10, "found 'Cat', expected an operator or the end"),
        ("∀x (Dog(x) → Animal(x)", 23, "the text ends, expected ')'"),
        ("[Dog(rex)) ∧ Cat(tom)", 10, "found ')', expected ']'"),
        ("Dog(rex) $ Cat(tom)", 10, "found '$', expected an operator"),
        ("Dog(captain america)", 13, "found 'america', expected ',' or ')'"),
        ("Salinity(x, <0.5%)", 13, "found '<', expected a name"),
        ("Barks(father(rex))", 13, "functions are not supported"),
        ("∃!x Dog(x)", 2, "'∃!' is not supported; write ∃x"),
        ("∀ Dog(rex)", 10, "found ')', expected"),
        ("a = ", 4, "the text ends, expected a name"),
    ],
)
def test_errors_say_where_and_what(text: str, position: int, message: str) -> None:
    with pytest.raises(FormulaError) as caught:
        parse(text)
    assert caught.value.position == position
    assert caught.value.message.startswith(message)
    assert str(caught.value).endswith(f"at character {position}")


def test_an_error_survives_pickling() -> None:
    with pytest.raises(FormulaError) as caught:
        parse("Dog(")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.position) == (str(caught.value), caught.value.position)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 10**6,
        "¬" * 10**6,
        "∀x " * 10**6 + "A(x)",
        "A(x) ∧ " * 10**6,
        "a" * 10**6,
        "\N{NO-BREAK SPACE}" * 10**6,
        "(" * MAX_CHARS,
        "[" * (MAX_CHARS // 2) + "]" * (MAX_CHARS // 2),
        "¬" * (MAX_CHARS - 4) + "A(x)",
        "∀x " * 1000 + "A(x)",
        "A(x)→" * 700 + "A(x)",
        "a." * 1999,
        '"' + "a " * 1999,
    ],
    ids=lambda text: f"{text[:4]}…{len(text)}",
)
def test_hostile_texts_are_refused_at_once(text: str) -> None:
    start = time.perf_counter()
    with pytest.raises(FormulaError):
        parse(text)
    assert time.perf_counter() - start < 1


def test_limits() -> None:
    assert to_text(parse("¬" * MAX_DEPTH + "A(x)")) == "¬" * MAX_DEPTH + "A(x)"
    with pytest.raises(FormulaError, match=f"deeper than {MAX_DEPTH} levels, at character 62"):
        parse("¬" * (MAX_DEPTH + 1) + "A(x)")
    with pytest.raises(FormulaError, match=f"has {MAX_CHARS + 1} characters"):
        parse("A(x)".ljust(MAX_CHARS + 1))
    # Parentheses that the tree does not keep cost nothing.
    assert parse("(" * 1000 + "A(x)" + ")" * 1000) == parse("A(x)")


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.lists(st.sampled_from([*"∀∃¬∧→=≠(),.xyP ", "P(x)", "(", "∀x ", "not", "A(y)", '"']), max_size=14))
def test_any_text_parses_or_is_a_formula_error(parts: list[str]) -> None:
    text = "".join(parts)
    try:
        formula = parse(text)
    except FormulaError as error:
        place: int | None = error.position
    else:
        place = None
        assert parse(to_text(formula)) == formula
    assert place is None or 1 <= place <= len(text) + 1


def test_a_usual_formula_parses_in_under_a_millisecond() -> None:
    text = "∀x (Dog(x) ∧ ∃y (Cat(y) ∧ Chases(x, y)) → Barks(x) ∨ ¬Sleeps(x))"
    parse(text)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        parse(text)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.001
