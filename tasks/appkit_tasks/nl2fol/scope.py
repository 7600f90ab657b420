"""Reads a quantifier's scope to the end, for rows whose authors meant it so: `task.scope=wide`.

Only what the narrow reading leaves free moves a scope: in `∀x Dog(x) → Animal(x)` the second x is bound by nothing, so
the scope of `∀x` runs on to the end of the text, or of the parenthesis around it. A formula that is closed as it stands
(`∀x (…) → ∀y (…)`) keeps its meaning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from appkit_tasks.nl2fol.parser import FormulaError, find_free, list_tokens

__all__ = ["widen"]

_OPENS, _CLOSES = frozenset({"LPAR", "LSQB", "LBRACE"}), frozenset({"RPAR", "RSQB", "RBRACE"})


@dataclass
class _Scope:
    """A quantifier's variables, and the text that a scope to the end has."""

    names: list[str]
    start: int
    end: int = -1


def widen(text: str) -> str:
    """Returns the formula with parentheses around each scope that has to reach further; else the text as it is.

    A variable that would be left free belongs to the last quantifier before it that names it and whose scope can reach
    it. A text that is no formula is returned as it is.
    """
    try:
        free = find_free(text)
    except FormulaError:
        return text
    if not free:
        return text
    scopes = _list_scopes(text)
    moved = set()
    for name, place in free:
        reaching = [
            number
            for number, scope in enumerate(scopes)
            if name in scope.names and scope.start <= place < scope.end
        ]
        moved.update(reaching[-1:])
    inserted = [(scopes[number].start, " (") for number in moved]
    inserted += [(scopes[number].end, ")") for number in moved]
    for place, bracket in sorted(inserted, reverse=True):
        text = f"{text[:place]}{bracket}{text[place:]}"
    return text


def _list_scopes(text: str) -> list[_Scope]:
    """Lists the quantifiers of a formula from left to right, each with the scope that runs to the end."""
    tokens = list_tokens(text)
    scopes: list[_Scope] = []
    groups: list[list[_Scope]] = [[]]  # scopes that end with the text, then with each open parenthesis
    place = 0
    while place < len(tokens):
        token = tokens[place]
        if token.type in ("FORALL", "EXISTS"):
            in_parentheses = place > 0 and tokens[place - 1].type == "LPAR"
            names, place = _read_names(tokens, place + 1)
            closed = in_parentheses and tokens[place].type == "RPAR"
            if closed:  # `(∀x) P(x)`: the parenthesis holds the quantifier alone
                groups.pop()
            if closed or tokens[place].type in ("_DOT", "_COLON"):
                place += 1
            scopes.append(_Scope(names, tokens[place - 1].end_pos))
            groups[-1].append(scopes[-1])
            continue
        if token.type in _OPENS:
            groups.append([])
        elif token.type in _CLOSES or (token.type == "_DOT" and place == len(tokens) - 1):
            for scope in groups.pop():
                scope.end = token.start_pos
        place += 1
    for scope in (scope for group in groups for scope in group):
        scope.end = len(text.rstrip())
    return scopes


def _read_names(tokens: Sequence[Any], place: int) -> tuple[list[str], int]:
    """Reads `x, y` behind a quantifier's sign; returns the names and the place behind them."""
    names = [str(tokens[place])]
    while tokens[place + 1].type == "COMMA":
        place += 2
        names.append(str(tokens[place]))
    return names, place + 1
