"""Defines the grammars of the normal form and of formulas in words, for constrained decoding."""

from __future__ import annotations

from typing import Literal

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
name ::= word (" " word){0,7}
word ::= [A-Za-z0-9] [A-Za-z0-9'-]{0,29}
variable ::= [u-z] [0-9]?
"""


def ebnf(notation: Literal["symbols", "words"] = "symbols") -> str:
    """Returns the grammar in GBNF, as vLLM's `structured_outputs.grammar` (xgrammar) and llama.cpp read it.

    With notation "symbols" every string of the grammar parses, and `to_text(parse(string)) == string`. It follows
    `CONVENTIONS.md`: predicates of one to three places, names of up to 40 ASCII letters and digits, chains of up to
    16 parts. A context-free grammar cannot require that variables are bound, that a name keeps one arity, or that the
    depth limit holds.

    With notation "words" the grammar covers what `wording.to_words` writes, with or without a space before it. Every
    string parses after `wording.from_words`, except where a name holds a word like `and`.
    """
    return _WORDS if notation == "words" else _SYMBOLS
