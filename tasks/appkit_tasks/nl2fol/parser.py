"""Reads a formula in any of the notations of MALLS, FOLIO and plain ASCII; `fol.lark` states the grammar."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

from appkit_tasks.nl2fol.syntax import (
    And,
    Atom,
    Constant,
    Equals,
    Exists,
    ForAll,
    Formula,
    Iff,
    Implies,
    Not,
    Or,
    Term,
    Variable,
    Xor,
    chain,
    children,
    is_free_name,
)

__all__ = ["MAX_CHARS", "MAX_DEPTH", "FormulaError", "find_free", "list_tokens", "parse"]

MAX_CHARS = 4000
"""Longest text that is parsed, in characters; the longest formula of FOLIO and MALLS has 289."""

MAX_DEPTH = 60
"""Most levels of quantifiers, negations and connectives; keeps recursion far from Python's limit."""


class FormulaError(ValueError):
    """A text is not a formula; `message` says what was found and expected, `position` is 1-based."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(f"{message}, at character {position}")
        self.message = message
        self.position = position

    def __reduce__(self) -> tuple[type[FormulaError], tuple[str, int]]:
        return FormulaError, (self.message, self.position)


@lru_cache(maxsize=8192)  # loading, writing as words and scoring each parse a row's formula; trees are frozen
def parse(text: str) -> Formula:
    """Parses one formula.

    A name in argument position is a variable if a quantifier of the formula names it, bound inside the quantifier's
    scope and free outside, whatever its letters. Other names are free variables if they are `u` to `z` (perhaps with
    one digit), else constants, as FOLIO's `Grade(a)` and `DiedIn(mao, y1976)` need.
    A name that differs from a quantified one by case or quotes alone, as in `∀x Dog(X)`, is an error, since it could
    mean either.
    `∃x, y` is short for `∃x ∃y`. Functions, `∃!`, predicates without arguments and numbers with a comma (`1,000`) are
    errors.

    Raises:
        FormulaError: `text` is malformed, longer than MAX_CHARS or nested deeper than MAX_DEPTH.
    """
    if len(text) > MAX_CHARS:
        raise FormulaError(f"the text has {len(text)} characters, the limit is {MAX_CHARS}", MAX_CHARS + 1)
    raw = _parse_raw(text)
    return _resolve(raw, frozenset(), _list_quantified(raw), 0)


def find_free(text: str) -> list[tuple[str, int]]:
    """Finds the variables that no quantifier binds: name and place (from 0) of each occurrence. Raises as `parse`."""
    parse(text)  # what is nested too deep for the walk below is refused
    raw = _parse_raw(text)
    quantified = _list_quantified(raw)
    free: list[tuple[str, int]] = []

    def visit(part: Any, bound: frozenset[str]) -> None:
        match part:
            case Atom(_, names):
                tokens = names
            case Equals(left, right):
                tokens = (left, right)
            case ForAll(variable, _) | Exists(variable, _):
                tokens, bound = (), bound | {variable.name}
            case _:
                tokens = ()
        for token in tokens:
            term = _term(token, bound, quantified)
            if isinstance(term, Variable) and term.name not in bound:
                free.append((term.name, token.start_pos))
        for child in children(part):
            visit(child, bound)

    visit(raw, frozenset())
    return free


def list_tokens(text: str) -> list[Any]:
    """Lists the tokens of a formula, as lark makes them: type, text, start_pos, end_pos."""
    return list(_lark().parse_interactive(text).iter_parse())


_COMMA_NUMBER = re.compile(
    r"(?<![\w.'’-])(?:\d[\d.]*(?:,\d[\d.]*)+|[\w.'’-]*\d(?:,\d{3})+(?!\w))"  # 1,5 and no1,000; not P(x1,2)
)


def _parse_raw(text: str) -> Any:
    """Parses into a tree that holds lark's tokens in place of terms."""
    from lark.exceptions import UnexpectedInput

    if number := _COMMA_NUMBER.search(text):
        raise FormulaError(
            f"{number.group()!r} is one number or several arguments: write a number without commas, arguments with a "
            "space after each comma",
            number.start() + 1,
        )
    try:
        return _lark().parse(text)
    except UnexpectedInput as error:
        _explain(text, error)


def _list_quantified(raw: Any) -> frozenset[str]:
    """Lists the names that quantifiers of the raw tree bind; the tree may be deeper than Python's stack."""
    names, parts = set(), [raw]
    while parts:
        part = parts.pop()
        parts.extend(children(part))
        if isinstance(part, ForAll | Exists):
            names.add(part.variable.name)
    return frozenset(names)


def _resolve(raw: Any, bound: frozenset[str], quantified: frozenset[str], level: int) -> Formula:
    """Makes each name of the raw tree, which holds lark tokens, a variable or a constant.

    bound: names that quantifiers around the part bind; quantified: those that some quantifier of the formula binds.
    """
    if level > MAX_DEPTH:
        raise FormulaError(f"nested deeper than {MAX_DEPTH} levels", _first_position(raw))
    match raw:
        case Atom(predicate, names):
            return Atom(str(predicate), tuple(_term(name, bound, quantified) for name in names))
        case Equals(left, right):
            return Equals(_term(left, bound, quantified), _term(right, bound, quantified))
        case Not(body):
            return Not(_resolve(body, bound, quantified, level + 1))
        case And(parts) | Or(parts) | Xor(parts):
            return type(raw)(tuple(_resolve(part, bound, quantified, level + 1) for part in parts))
        case Implies(left, right) | Iff(left, right):
            return type(raw)(
                _resolve(left, bound, quantified, level + 1), _resolve(right, bound, quantified, level + 1)
            )
        case ForAll(variable, body) | Exists(variable, body):
            return type(raw)(variable, _resolve(body, bound | {variable.name}, quantified, level + 1))
    raise AssertionError(f"the grammar made {raw!r}")


def _term(name: Any, bound: frozenset[str], quantified: frozenset[str]) -> Term:
    # A quoted name keeps its words: "New York" is New_York, which can be read back.
    text = "_".join(name.strip('"').split())
    if name.startswith('"') and text in quantified:
        raise FormulaError(
            f"{name!s} in quotes is a name and {text!r} is a variable: name the constant otherwise, or leave out the "
            "quotes",
            name.start_pos + 1,
        )
    if text in bound or text in quantified:  # the same for `x` and for `a`, which could be a constant
        return Variable(text)
    for variable in sorted(quantified):
        if variable.casefold() == text.casefold():
            raise FormulaError(
                f"{text!r} and the variable {variable!r} differ by case alone: write {variable!r}, or name the "
                "constant otherwise",
                name.start_pos + 1,
            )
    return Variable(text) if is_free_name(text) else Constant(text)


def _first_position(raw: Any) -> int:
    while parts := children(raw):
        raw = parts[0]
    token: Any = raw.predicate if isinstance(raw, Atom) else raw.left
    return int(token.start_pos) + 1


class _Builder:
    """Turns lark's rules into formulas: each method gets the parts of one rule and makes its (raw) formula."""

    def start(self, parts: list[Any]) -> Any:
        return parts[0]

    def iff(self, parts: list[Any]) -> Formula:
        return Iff(*parts)

    def implies(self, parts: list[Any]) -> Formula:
        return Implies(*parts)

    def xor(self, parts: list[Any]) -> Formula:
        return chain(Xor, parts)

    def disjunction(self, parts: list[Any]) -> Formula:
        return chain(Or, parts)

    def conjunction(self, parts: list[Any]) -> Formula:
        return chain(And, parts)

    def negation(self, parts: list[Any]) -> Formula:
        return Not(parts[0])

    def atom(self, parts: list[Any]) -> Formula:
        return Atom(parts[0], tuple(parts[1:]))

    def equals(self, parts: list[Any]) -> Formula:
        return Equals(*parts)

    def differs(self, parts: list[Any]) -> Formula:
        return Not(Equals(*parts))

    def prefix(self, parts: list[Any]) -> Any:
        return parts[0]

    def quantifier(self, parts: list[Any]) -> list[Any]:
        return parts

    def quantified(self, parts: list[Any]) -> Formula:
        (sign, *names), body = parts
        kind = ForAll if sign.type == "FORALL" else Exists
        for name in reversed(names):
            body = kind(Variable(str(name)), body)
        return body  # type: ignore[no-any-return]


@lru_cache(maxsize=1)
def _lark() -> Any:
    from lark import Lark

    grammar = Path(__file__).with_name("fol.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", lexer="contextual", transformer=_Builder())


def _explain(text: str, error: Any) -> NoReturn:
    """Turns lark's exception into a FormulaError in plain words, and raises it."""
    from lark.exceptions import UnexpectedToken

    offset: int = error.pos_in_stream
    problem = f"found {text[offset : offset + 1]!r}"
    if isinstance(error, UnexpectedToken):
        expected = set(error.accepts or error.expected)
        problem = f"found {str(error.token)!r}"
        if error.token.type == "$END":
            offset, problem = len(text.rstrip()), "the text ends"
    else:
        expected = set(error.allowed)
    before, char = text[:offset].rstrip(), text[offset : offset + 1]
    if before.endswith(("∃", "exists")) and char in ("!", "1"):
        message = "'∃!' is not supported; write ∃x (P(x) ∧ ∀y (P(y) → y = x))"
    elif expected == {"COMMA", "RPAR"} and char == "(":
        message = "functions are not supported: an argument is a variable or a constant, found '('"
    elif char == ")" and "$END" in expected:
        message = "')' closes no open parenthesis"
    else:
        message = f"{problem}, expected {_words(expected)}"
    raise FormulaError(message, offset + 1) from None


def _words(expected: set[str]) -> str:
    """Names what may stand at the place of the error, given the names of lark's terminals."""
    if "_NOT" in expected:
        return "a formula"
    if {"RPAR", "RSQB"} <= expected:
        # At a character that starts no symbol lark lists what some text before it would allow: every bracket.
        expected = expected - {"RPAR", "RSQB", "RBRACE"}
    return " or ".join(word for names, word in _EXPECTED if names & expected)


_EXPECTED = [
    ({"_AND"}, "an operator"),
    ({"LPAR"}, "'(' and arguments"),
    ({"_EQUALS"}, "'='"),
    ({"NAME"}, "a name"),
    ({"VARIABLE"}, "a variable"),
    ({"COMMA"}, "','"),
    ({"RPAR"}, "')'"),
    ({"RSQB"}, "']'"),
    ({"RBRACE"}, "'}'"),
    ({"$END"}, "the end"),
]
