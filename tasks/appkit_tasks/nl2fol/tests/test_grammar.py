"""The grammar for constrained decoding generates the normal form: all that is printed and nothing else."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from functools import lru_cache, partial
from itertools import product
from typing import Literal

import pytest
from appkit_tasks.nl2fol.grammar import ebnf
from appkit_tasks.nl2fol.parser import FormulaError, parse
from appkit_tasks.nl2fol.syntax import Formula, to_text
from appkit_tasks.nl2fol.tests.formulas import PLAIN, formulas
from appkit_tasks.nl2fol.wording import KEYWORDS, from_words
from hypothesis import given, settings
from lark import Lark
from lark.exceptions import LarkError


@lru_cache(maxsize=1)
def recogniser() -> Lark:
    """The EBNF rewritten line by line into lark's notation; Earley, scanning single characters."""
    text = ebnf().replace("::=", ":")
    text = re.sub(r"(\[[^\]]*\])", r"/\1/", text)
    text = re.sub(r"\{(\d+),(\d+)\}", r"~\1..\2", text)
    return Lark(text, start="root", parser="earley", lexer="dynamic_complete", ambiguity="resolve")


def accepts(text: str) -> bool:
    try:
        recogniser().parse(text)
    except LarkError:
        return False
    return True


def xgrammar_of(notation: Literal["symbols", "words"]) -> Callable[[str], bool]:
    """The grammar in the engine that serves it: whether it takes a text. In seconds, where lark needs minutes."""
    xgrammar = pytest.importorskip("xgrammar")
    from xgrammar.testing import _is_grammar_accept_string  # type: ignore[import-not-found]

    grammar = xgrammar.Grammar.from_ebnf(ebnf(notation))
    return partial(_is_grammar_accept_string, grammar)


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
            return random_.choice([char for char in "AZaxz09u'" if re.fullmatch(item, char)])
        return expand(tokens(rules[item]), depth)

    return expand(tokens(rules["root"]), 0)


def test_every_string_of_the_grammar_is_in_normal_form() -> None:
    random_ = random.Random(0)
    texts = [_generate(random_) for _ in range(400)]
    usual = [text for text in texts if len(text) < 1000]
    assert len(usual) > 200
    for text in usual:
        assert to_text(parse(text)) == text


def find_fault(text: str) -> str:
    try:
        parse(from_words(text))
    except FormulaError as error:
        return str(error)
    return ""


def test_every_string_of_the_grammar_of_words_parses() -> None:
    random_ = random.Random(0)
    texts = [_generate(random_, "words") for _ in range(400)]
    usual = [text for text in texts if len(text) < 1000]
    assert len(usual) > 200
    faults = [(text, fault) for text in usual if (fault := find_fault(text))]
    assert [(text, fault) for text, fault in faults if "differ by case alone" not in fault] == []
    assert len(faults) < 40  # names of so few letters; no grammar can rule these out


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_no_word_of_a_name_is_a_keyword(keyword: str) -> None:
    grammar = xgrammar_of("words")

    def list_names(word: str) -> list[str]:
        names = [f"{word}(x)", f"big {word}(x)", f"big( {word}, x)", f"big(x, {word})"]
        return names if word == "not" else [*names, f"{word} big(x)"]  # `not big(x)` is a negation

    for word in (keyword, f"{keyword}-x", f"{keyword}'s"):
        for text in list_names(word):
            assert not grammar(text), text
    longer = (
        f"{keyword}s",
        f"{keyword}0",
        f"s{keyword}",
        f"x-{keyword}",
        keyword.title(),
        f"{keyword}{keyword}",
    )
    beginnings = {keyword[:length] for length in range(1, len(keyword))} - {"x"}  # a variable
    for word in (*longer, *beginnings):
        for text in list_names(word):
            assert grammar(text), text
            parse(from_words(text))


def test_words_of_names_are_all_others() -> None:
    """Against the definition: parts of letters and digits, ' and - between them, of which the first is no keyword."""
    grammar, rule = xgrammar_of("words"), re.compile(r"[A-Za-z0-9]+(['-][A-Za-z0-9]+)*")
    for word in map("".join, product("0Aandorx'-", repeat=3)):
        fits = bool(rule.fullmatch(word)) and re.split("['-]", word)[0] not in KEYWORDS
        assert grammar(f"{word}(x)") is fits, word
        if fits:
            parse(from_words(f"{word}(x)"))


def test_xgrammar_reads_it() -> None:
    grammar = xgrammar_of("symbols")
    assert grammar("∀x (Dog(x) ∧ ¬∃y (Cat(y) ∧ x ≠ y) → Barks(x))")
    assert not grammar("∀x (Dog(x) → Animal(x)")
