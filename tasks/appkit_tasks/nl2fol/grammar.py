"""Defines the grammars of the normal form and of formulas in words, for constrained decoding."""

from __future__ import annotations

import string
from collections.abc import Sequence
from functools import cache
from typing import Literal

from appkit_tasks.nl2fol.wording import KEYWORDS

__all__ = ["ebnf"]

# Bounds on repetition keep a constrained model from running on for ever inside one name or one chain.
_SYMBOLS = """\
root ::= unit | chain | arrow
arrow ::= side (" → " | " ↔ ") side
side ::= unit | chain | "(" arrow ")"
chain ::= ands | ors | xors
ands ::= inand (" ∧ " inand){1,15}
ors ::= inor (" ∨ " inor){1,15}
xors ::= inxor (" ⊕ " inxor){1,15}
inand ::= unit | "(" (ors | xors | arrow) ")"
inor ::= unit | "(" (ands | xors | arrow) ")"
inxor ::= unit | "(" (ands | ors | arrow) ")"
unit ::= atom | equality | difference | negation | quantified
negation ::= "¬" (bare | "(" (chain | arrow | difference) ")")
quantified ::= ("∀" | "∃") variable " " (bare | "(" (chain | arrow | equality | difference) ")")
bare ::= atom | negation | quantified
atom ::= predicate "(" term (", " term){0,2} ")"
equality ::= term " = " term
difference ::= term " ≠ " term
variable ::= [u-z] [0-9]?
predicate ::= [A-Z] [A-Za-z0-9]{0,39}
term ::= [a-z] [A-Za-z0-9]{0,39}
"""
# An `open` formula ends in a quantifier, whose scope runs to the end of the text, as that of `implies` does: it stands
# last, or in parentheses.
_WORDS = """\
root ::= " "? body
body ::= closed | open | ands | ors | xors | left " iff " right | left " implies " body
left ::= closed | closed (" and " closed){1,15} | closed (" or " closed){1,15} | closed (" xor " closed){1,15}
right ::= closed | open | ands | ors | xors
ands ::= closed (" and " closed){0,14} " and " (closed | open)
ors ::= closed (" or " closed){0,14} " or " (closed | open)
xors ::= closed (" xor " closed){0,14} " xor " (closed | open)
closed ::= atom | equality | "not " bare | "( " body ")"
bare ::= atom | "not " bare | "( " body ")"
open ::= ("all" | "some") " " variable ": " body | "not " open
atom ::= name "(" first (", " other){0,2} ")"
equality ::= other (" = " | " != ") other
first ::= variable | " " name
other ::= variable | name
name ::= word ((" " | " - " | " ' ") word){0,7}
joined ::= ['-] [A-Za-z0-9]{1,20}
variable ::= [u-z] [0-9]?
"""


def ebnf(notation: Literal["symbols", "words"] = "symbols") -> str:
    """Returns the grammar in GBNF, as vLLM's `structured_outputs.grammar` (xgrammar) and llama.cpp read it.

    With notation "symbols" every string of the grammar parses, and `to_text(parse(string)) == string`. It follows
    `CONVENTIONS.md`: predicates of one to three places, names of up to 40 ASCII letters and digits, chains of up to
    16 parts. A context-free grammar cannot require that variables are bound, that a name keeps one arity, or that the
    depth limit holds.

    With notation "words" the grammar covers what `wording.to_words` writes, with or without a space before it. Every
    string parses after `wording.from_words`, but where a constant differs from a variable by case alone.
    """
    return _WORDS + _word_rules(KEYWORDS) if notation == "words" else _SYMBOLS


@cache
def _word_rules(keywords: Sequence[str]) -> str:
    """Writes the rules of `word`: letters and digits, ' and - between them, but no keyword up to the first of these.

    A context-free grammar cannot subtract, so there is a rule for each beginning of a keyword: `wordan` is what may
    follow `an`.
    """
    rules = []
    for prefix in sorted({keyword[:length] for keyword in keywords for length in range(len(keyword) + 1)}):
        letters = sorted({keyword[len(prefix)] for keyword in keywords if keyword[:-1].startswith(prefix)})
        options = [f"[{_without(letters)}] [A-Za-z0-9]{{0,22}} joined{{0,3}}"]
        options += [f'"{letter}" word{prefix}{letter}' for letter in letters]
        if prefix and prefix not in keywords:
            options.append("joined{1,3}")
            rules.append(f"word{prefix} ::= ({' | '.join(options)})?")
        else:
            rules.append(f"word{prefix} ::= {' | '.join(options)}")
    return "".join(f"{rule}\n" for rule in rules)


def _without(letters: Sequence[str]) -> str:
    """Writes the inside of a character class: ASCII letters and digits, but for some small letters."""
    return "A-Z0-9" + "".join(letter for letter in string.ascii_lowercase if letter not in letters)
