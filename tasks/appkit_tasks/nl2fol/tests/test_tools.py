"""What the tools say, against textbook cases and an evaluator of their counter-models that knows no prover."""

from __future__ import annotations

import inspect
import json
import time
from collections.abc import Mapping
from functools import reduce
from operator import xor
from typing import Any

import pytest
from appkit_tasks.nl2fol import TASK
from appkit_tasks.nl2fol.metrics import strict_equivalence
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
from appkit_tasks.nl2fol.tools import check, entails, equivalent, tree
from hypothesis import given, settings
from pydantic import ConfigDict, TypeAdapter, ValidationError, create_model

# A strict order without a last element has infinite models only: Z3 finds no model and no contradiction.
ENDLESS = "∀x ¬L(x, x) ∧ ∀x ∀y ∀z (L(x, y) ∧ L(y, z) → L(x, z)) ∧ ∀x ∃y L(x, y)"
AT_LEAST_THREE = "∃x ∃y ∃z (x ≠ y ∧ y ≠ z ∧ x ≠ z)"


def true_in(world: Mapping[str, Any], formula: Formula) -> bool:
    """Whether the formula is true in a counter-model as the tools return it: try everything."""
    holds = {(one["name"], one["arity"]): {tuple(row) for row in one["holds"]} for one in world["predicates"]}
    names = world["constants"] | world["free_variables"]

    def value(part: Formula, bound: Mapping[str, str]) -> bool:
        def thing(term: Any) -> str:
            return bound[term.name] if term.name in bound else names[term.name]

        match part:
            case Atom(predicate, terms):
                return tuple(map(thing, terms)) in holds[predicate, len(terms)]
            case Equals(left, right):
                return thing(left) == thing(right)
            case Not(body):
                return not value(body, bound)
            case And(parts):
                return all(value(one, bound) for one in parts)
            case Or(parts):
                return any(value(one, bound) for one in parts)
            case Xor(parts):
                return reduce(xor, (value(one, bound) for one in parts))
            case Implies(left_side, right_side):
                return not value(left_side, bound) or value(right_side, bound)
            case Iff(left_side, right_side):
                return value(left_side, bound) == value(right_side, bound)
            case ForAll(variable, body):
                return all(value(body, {**bound, variable.name: one}) for one in world["domain"])
            case Exists(variable, body):
                return any(value(body, {**bound, variable.name: one}) for one in world["domain"])

    return value(formula, {})


def told_apart(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The counter-model of `equivalent`, its claims checked."""
    world: dict[str, Any] = answer["counter_model"]
    truth = {side: true_in(world, parse(answer[side])) for side in ("formula", "reference")}
    assert truth == world["truth"]
    assert truth["formula"] != truth["reference"]
    return world


# --- check and tree ---------------------------------------------------------------------------------------


def test_check_of_a_formula() -> None:
    assert check("forall x (Dog(x) & ~Tame(x) -> Bites(x, rex) | Bites(x, y))") == {
        "parses": True,
        "text": "∀x (Dog(x) ∧ ¬Tame(x) → Bites(x, rex) ∨ Bites(x, y))",
        "predicates": [
            {"name": "Dog", "arity": 1},
            {"name": "Tame", "arity": 1},
            {"name": "Bites", "arity": 2},
        ],
        "constants": ["rex"],
        "free_variables": ["y"],
        "depth": 4,
        "quantifiers": 1,
        "connectives": 3,
    }


@pytest.mark.parametrize(
    ("text", "error", "position"),
    [
        ("∀x (Dog(x) →", "the text ends, expected a formula", 13),
        ("Dog(rex))", "')' closes no open parenthesis", 9),
        ("P(f(x))", "functions are not supported: an argument is a variable or a constant, found '('", 4),
    ],
)
def test_check_of_what_is_none(text: str, error: str, position: int) -> None:
    assert check(text) == {"parses": False, "error": error, "position": position}


def test_tree() -> None:
    leaf = {"label": "Dog(x)", "kind": "atom", "children": []}
    assert tree("∀x (Dog(x) → ∃y (x ≠ y ∧ Dog(x) ∧ Dog(x)))") == {
        "label": "∀x",
        "kind": "quantifier",
        "children": [
            {
                "label": "→",
                "kind": "connective",
                "children": [
                    leaf,
                    {
                        "label": "∃y",
                        "kind": "quantifier",
                        "children": [
                            {
                                "label": "∧",
                                "kind": "connective",
                                "children": [
                                    {
                                        "label": "¬",
                                        "kind": "negation",
                                        "children": [{"label": "x = y", "kind": "equality", "children": []}],
                                    },
                                    leaf,
                                    leaf,
                                ],
                            }
                        ],
                    },
                ],
            }
        ],
    }


@settings(max_examples=30, derandomize=True, deadline=None)
@given(formulas(constants=PLAIN))
def test_every_formula_has_a_tree_and_a_check(formula: Formula) -> None:
    found = tree(to_text(formula))

    def size(node: Mapping[str, Any]) -> int:
        return 1 + sum(map(size, node["children"]))

    assert size(found) == sum(1 for _ in walk(formula))
    assert check(to_text(formula))["text"] == to_text(formula)
    json.dumps(found)


# --- equivalent -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "reference"),
    [
        ("∀x (¬Q(x) → ¬P(x))", "∀x (P(x) → Q(x))"),
        ("¬∃x (P(x) ∧ Q(x))", "∀x (P(x) → ¬Q(x))"),
        ("∃x (A(x) ∧ ∀y (A(y) → y = x))", "∃x A(x) ∧ ∀x ∀y (A(x) ∧ A(y) → x = y)"),
    ],
)
def test_equivalent(formula: str, reference: str) -> None:
    answer = equivalent(formula, reference)
    assert (answer["verdict"], answer["counter_model"]) == ("equivalent", None)


@pytest.mark.parametrize(
    ("formula", "reference", "things"),
    [
        ("∀x (Q(x) → P(x))", "∀x (P(x) → Q(x))", 1),
        ("∃x P(x)", "∀x P(x)", 2),
        ("∃y ∀x R(x, y)", "∀x ∃y R(x, y)", 2),
        ("R(b, a)", "R(a, b)", 2),
        ("P(a) ∧ P(b)", "P(a) ∧ P(b) ∧ a ≠ b", 1),
        ("∀x Dog(x) → Animal(x)", "∀x (Dog(x) → Animal(x))", 2),  # the first leaves its last x free
        (AT_LEAST_THREE, f"({AT_LEAST_THREE}) ∧ P(a)", 3),
        ("A(a) ⊕ B(a) ⊕ C(a)", "(A(a) ∨ B(a) ∨ C(a)) ∧ ¬(A(a) ∧ B(a) ∧ C(a))", 1),
    ],
)
def test_what_tells_formulas_apart_is_the_smallest_world(formula: str, reference: str, things: int) -> None:
    answer = equivalent(formula, reference)
    assert answer["verdict"] == "different"
    assert len(told_apart(answer)["domain"]) == things


@settings(max_examples=25, derandomize=True, deadline=None)
@given(formulas(constants=PLAIN, max_depth=3), formulas(constants=PLAIN, max_depth=3))
def test_random_pairs_are_judged_as_the_metric_does(formula: Formula, reference: Formula) -> None:
    answer = equivalent(to_text(formula), to_text(reference))
    json.dumps(answer)
    assert answer["verdict"] == strict_equivalence(to_text(formula), to_text(reference)).value
    if answer["counter_model"]:
        told_apart(answer)


def test_names_are_aligned_and_told() -> None:
    answer = equivalent(
        "∀x (Dogs(x) ∧ Shaggy(x) → Knows(x, Maria))", "∀x (Dog(x) ∧ Hairy(x) → Know(x, maria))"
    )
    assert answer["aligned"] == [
        {"formula": "Dogs/1", "reference": "Dog/1"},
        {"formula": "Knows/2", "reference": "Know/2"},
        {"formula": "Maria", "reference": "maria"},
    ]
    assert answer["unaligned"] == {"formula": ["Shaggy/1"], "reference": ["Hairy/1"]}
    assert answer["formula"] == "∀x (Dog(x) ∧ Shaggy(x) → Know(x, maria))"


def test_a_world_in_words() -> None:
    premises = ["P(a)", "¬P(b)", "¬Q(a)", "¬Q(b)", "R(a, b)", "¬R(a, a)", "¬R(b, a)", "¬R(b, b)"]
    world = entails(premises, "a = b")["counter_model"]
    a, b = world["constants"]["a"], world["constants"]["b"]
    assert {a, b} == {"d1", "d2"}
    assert world["words"] == (
        f"A world of 2 things: d1 and d2. a is {a} and b is {b}. P holds of {a}. Q holds of nothing. "
        f"R holds of ({a}, {b}). Here the premises are true and the conclusion is false."
    )


def test_no_world_is_sought_whose_tables_would_fill_pages() -> None:
    answer = equivalent("P(a,b,c,d,e,f,g,h,i,j,k,l,m,n)", "P(b,a,c,d,e,f,g,h,i,j,k,l,m,n)")  # 2^14 entries
    assert (answer["verdict"], answer["counter_model"]) == ("different", None)


# --- entails ----------------------------------------------------------------------------------------------

SERIAL, SYMMETRIC = "∀x ∃y R(x, y)", "∀x ∀y (R(x, y) → R(y, x))"
TRANSITIVE = "∀x ∀y ∀z (R(x, y) ∧ R(y, z) → R(x, z))"
MORTAL = ["∀x (Man(x) → Mortal(x))", "Man(socrates)"]


@pytest.mark.parametrize(
    ("premises", "conclusion", "verdict"),
    [
        (MORTAL, "Mortal(socrates)", "entailed"),
        (MORTAL, "¬Mortal(socrates)", "refuted"),
        (MORTAL, "Mortal(plato)", "open"),
        (["∀x (Man(x) → Mortal(x))", "Mortal(rex)"], "Man(rex)", "open"),  # affirming the consequent
        (["∀x (A(x) → B(x))"], "∃x (A(x) ∧ B(x))", "open"),  # no existential import
        (["∃x A(x)", "∃x B(x)"], "∃x (A(x) ∧ B(x))", "open"),
        ([SERIAL, SYMMETRIC, TRANSITIVE], "∀x R(x, x)", "entailed"),
        ([SERIAL, SYMMETRIC], "∀x R(x, x)", "open"),
        (["¬∃x ∀y (Shaves(x, y) ↔ ¬Shaves(y, y))"], "P(a) ∨ ¬P(a)", "entailed"),
        (["∃x ∀y (Shaves(x, y) ↔ ¬Shaves(y, y))"], "P(a)", "inconsistent"),  # the barber
        (["P(a)", "a = b", "¬P(b)"], "Q(c)", "inconsistent"),
        (["P(x)", "∀y (P(y) → Q(y))"], "Q(x)", "entailed"),  # one free x throughout
    ],
)
def test_entails(premises: list[str], conclusion: str, verdict: str) -> None:
    answer = entails(premises, conclusion)
    assert answer["verdict"] == verdict
    world = answer["counter_model"]
    assert (world is not None) == (verdict in ("open", "refuted"))
    if world:
        assert all(true_in(world, parse(premise)) for premise in premises)
        assert not true_in(world, parse(conclusion))
        assert world["words"].endswith("Here the premises are true and the conclusion is false.")


# --- limits and errors ------------------------------------------------------------------------------------


def test_what_the_prover_cannot_decide_is_undecided_in_time() -> None:
    start = time.perf_counter()
    assert entails([ENDLESS], "P(a)", seconds=0.5) == {"verdict": "undecided", "counter_model": None}
    answer = equivalent(ENDLESS, "∃x (L(x, x) ∧ ¬L(x, x))", seconds=0.5)
    assert (answer["verdict"], answer["counter_model"]) == ("undecided", None)
    assert time.perf_counter() - start < 3


def test_many_premises_stay_within_the_time() -> None:
    premises = [" ∧ ".join(f"∀x (A{k}x{i}(x) → B{i}(x))" for i in range(14)) for k in range(50)]
    start = time.perf_counter()
    entails(premises, "B1(a)", seconds=1)
    assert time.perf_counter() - start < 4


def test_many_long_premises_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^the premises have 25006 characters together, the limit is 20000$"
    ):
        entails(["P(a)" + " " * 1000 + "∧ Q(a)"] * 24 + ["P(" + "a" * 763 + ")"], "P(a)")


@pytest.mark.parametrize(
    ("tool", "arguments", "line"),
    [
        (tree, ("P(",), "formula: the text ends, expected a name, at character 3"),
        (equivalent, ("P(", "P(a)"), "formula: the text ends, expected a name, at character 3"),
        (equivalent, ("P(a)", "P a"), "reference: "),
        (entails, (["P(a)", "∀x"], "P(a)"), "premise 2: "),
        (entails, (["P(a)"], ""), "conclusion: "),
    ],
)
def test_an_error_says_which_formula_and_where(tool: Any, arguments: tuple[Any, ...], line: str) -> None:
    with pytest.raises(ValueError, match=r"at character \d+$") as caught:
        tool(*arguments)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["check", "tree", "equivalent", "entails"])
def test_a_request_model_can_be_made_of_each(name: str) -> None:
    tool = TASK.tools[name]
    parameters = inspect.signature(tool, eval_str=True).parameters
    fields: Any = {
        key: (one.annotation, ... if one.default is one.empty else one.default)
        for key, one in parameters.items()
    }
    model = create_model("Request", __config__=ConfigDict(extra="forbid"), **fields)
    assert model.model_json_schema()["required"] == [key for key in parameters if key != "seconds"]
    text: Any = {key: "P(a)" for key in parameters if key not in ("premises", "seconds")}
    if "premises" in parameters:
        text["premises"] = ["P(a)"]
        for premises in ([], ["P(a)"] * 51, ["P" * 4001]):
            with pytest.raises(ValidationError):
                model(**text | {"premises": premises})
    asked = model(**text)
    TypeAdapter(dict[str, Any]).dump_json(tool(**asked.model_dump()))
    for key in set(text) - {"premises"}:
        with pytest.raises(ValidationError):
            model(**text | {key: "P" * 4001})
    if "seconds" in parameters:
        with pytest.raises(ValidationError):
            model(**text, seconds=21)
    assert tool.__doc__
