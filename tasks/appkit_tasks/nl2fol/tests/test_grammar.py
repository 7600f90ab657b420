"""The grammar for constrained decoding generates the normal form: all that is printed and nothing else."""

from __future__ import annotations

import random
import re
from functools import lru_cache

import pytest
from appkit_tasks.nl2fol.grammar import ebnf
from appkit_tasks.nl2fol.parser import parse
from appkit_tasks.nl2fol.syntax import Formula, to_text
from appkit_tasks.nl2fol.tests.formulas import PLAIN, formulas
from appkit_tasks.nl2fol.wording import from_words
from hypothesis import given, settings
from lark import Lark
from lark.exceptions import LarkError


@lru_cache(maxsize=2)
def recogniser(notation: str) -> Lark:
    """The EBNF rewritten line by line into lark's notation; Earley, scanning single characters."""
    text = ebnf(notation).replace("::=", ":")
    text = re.sub(r"(\[[^\]]*\])", r"/\1/", text)
    text = re.sub(r"\{(\d+),(\d+)\}", r"~\1..\2", text)
    return Lark(text, start="root", parser="earley", lexer="dynamic_complete", ambiguity="resolve")


def accepts(text: str, notation: str = "symbols") -> bool:
    try:
        recogniser(notation).parse(text)
    except LarkError:
        return False
    return True


@settings(max_examples=30, derandomize=True, deadline=None)
@given(formulas(constants=PLAIN, max_depth=2))
def test_accepts_what_the_printer_writes(formula: Formula) -> None:
    assert accepts(to_text(formula))


@pytest.mark.parametrize(
    "text",
    [
        "∀x (Dog(x) → ∃y (Owner(y) ∧ Owns(y, x)))",
        "∃x (Comet(x) ∧ ∀y (Comet(y) → y = x))",
        "∀x ∀y (A(x) ∧ A(y) → x = y) ∧ ¬∃x ¬∀y (Likes(x, y) ↔ ¬(A(x) ∨ B(y)))",
        "(A(a) → B(a)) → ((C(a) ⊕ D(a)) ∧ (A(a) → B(a)) ∧ ¬¬(a ≠ b) ↔ (a = b → ¬(A(a) ↔ B(a))))",
        "∀x (x ≠ room12) ∨ (P(x) ∧ (Q(x) ∨ R(x) ∨ (P(x) ⊕ Q(x)))) ∨ ∃y (y = x)",
    ],
)
def test_accepts_deeper_formulas(text: str) -> None:
    assert to_text(parse(text)) == text
    assert accepts(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Dog",
        "Dog()",
        "dog(rex)",
        "Dog(Rex)",
        "Dog(rex) ",
        "Dog( rex)",
        "Gives(a, b, c, d)",
        "Likes(a,b)",
        "(Dog(rex))",
        "∀x(Dog(x))",
        "∀x  Dog(x)",
        "∀x (Dog(x))",
        "∀x (¬Dog(x))",
        "∀x (∃y Likes(x, y))",
        "¬(Dog(rex))",
        "¬(a = b)",
        "∃y y = a",
        "¬a = b",
        "Dog(rex) ∧",
        "A(a) ∧ B(a) ∨ C(a)",
        "A(a) ∧ (B(a) ∧ C(a))",
        "(A(a) ∧ B(a)) → C(a)",
        "A(a) → B(a) → C(a)",
        "A(a) ∧ B(a)) → C(a)",
        "∀x (Dog(x) → Animal(x)",
        "A(a) -> B(a)",
        "A" * 41 + "(x)",
    ],
)
def test_refuses_what_is_not_normal(text: str) -> None:
    assert not accepts(text)


def _generate(random_: random.Random, notation: str = "symbols") -> str:
    """A string of the grammar, by expanding rules at random; deep down always the first, shortest choice."""
    rules = dict(line.split(" ::= ", 1) for line in ebnf(notation).strip().splitlines())

    def tokens(text: str) -> list[str]:
        return re.findall(r'"[^"]*"|\[[^\]]*\]|\{\d+,\d+\}|[a-z]+|[()|?]', text)

    def split(items: list[str]) -> list[list[str]]:
        options: list[list[str]] = [[]]
        level = 0
        for item in items:
            level += (item == "(") - (item == ")")
            if item == "|" and not level:
                options.append([])
            else:
                options[-1].append(item)
        return options

    def expand(items: list[str], depth: int) -> str:
        options = split(items)
        option = options[0] if depth > 12 else random_.choice(options)
        out, place = [], 0
        while place < len(option):
            unit = [option[place]]
            if unit == ["("]:
                level, end = 1, place
                while level:
                    end += 1
                    level += (option[end] == "(") - (option[end] == ")")
                unit, place = option[place + 1 : end], end
            place += 1
            low = high = 1
            if place < len(option) and option[place][0] in "{?":
                low, high = (0, 1) if option[place] == "?" else map(int, option[place][1:-1].split(","))
                high = min(high, low + 2)
                place += 1
            for _ in range(random_.randint(low, low if depth > 12 else high)):
                out.append(one(unit, depth + 1))
        return "".join(out)

    def one(unit: list[str], depth: int) -> str:
        if len(unit) > 1:
            return expand(unit, depth)
        (item,) = unit
        if item[0] == '"':
            return item[1:-1]
        if item[0] == "[":
            return random_.choice([char for char in "AZaxz09u" if re.fullmatch(item, char)])
        return expand(tokens(rules[item]), depth)

    return expand(tokens(rules["root"]), 0)


def test_every_string_of_the_grammar_is_in_normal_form() -> None:
    random_ = random.Random(0)
    texts = [_generate(random_) for _ in range(400)]
    usual = [text for text in texts if len(text) < 1000]
    assert len(usual) > 200
    for text in usual:
        assert to_text(parse(text)) == text


def test_every_string_of_the_grammar_of_words_parses() -> None:
    random_ = random.Random(0)
    texts = [_generate(random_, "words") for _ in range(400)]
    usual = [text for text in texts if len(text) < 1000]
    assert len(usual) > 200
    for text in usual:
        parse(from_words(text))


def test_xgrammar_reads_it() -> None:
    xgrammar = pytest.importorskip("xgrammar")
    from xgrammar.testing import _is_grammar_accept_string  # type: ignore[import-not-found]

    grammar = xgrammar.Grammar.from_ebnf(ebnf())
    assert _is_grammar_accept_string(grammar, "∀x (Dog(x) ∧ ¬∃y (Cat(y) ∧ x ≠ y) → Barks(x))")
    assert not _is_grammar_accept_string(grammar, "∀x (Dog(x) → Animal(x)")
