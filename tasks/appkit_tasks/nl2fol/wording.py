"""Formulas in the words of their sentence, the form in which a small model learns to write them.

`∀x (Falcon(x) ∧ Perches(x, mountKarst) → ¬CanSoar(x))` is written as
`∀x ( falcon(x) ∧ perches(x, Mount Karst) → ¬ can soar(x))`. For a tokenizer ` falcon` in the formula is then the
same token as in the sentence and can be copied; `Falcon` is spelt from other pieces, which a small model has to
learn word by word. Reading joins the words again; text in the usual notation is read unchanged.
"""

from __future__ import annotations

import re

from appkit_tasks.nl2fol.parser import FormulaError, parse
from appkit_tasks.nl2fol.syntax import Formula, to_text

__all__ = ["from_words", "to_words"]

_NAME = re.compile(r"(?<![\w∀∃])([^\W\d_][\w'’-]*)(\()?")
_PIECE = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^A-Za-z\d]+")
_VARIABLE = re.compile(r"[u-z]\d?")
_READ = re.compile(r"[∀∃]\s*\w+|[\w'’-]+(?: +[\w'’-]+)*(\s*\()?")


def to_words(formula: Formula, sentence: str) -> str:
    """The formula with its names as words, cased as in the sentence.

    Where the words would not be read back as the same formula (case aside), its normal text is given instead.
    """
    text = to_text(formula)

    def words(match: re.Match[str]) -> str:
        name, opens = match.group(1), match.group(2) or ""
        if not opens and _VARIABLE.fullmatch(name):
            return name
        pieces = _PIECE.findall(name)
        if opens:  # a predicate: common words, acronyms kept
            written = " ".join(piece if piece.isupper() else piece.lower() for piece in pieces)
        else:  # a constant: a proper name, unless the sentence says otherwise
            written = " ".join(piece[0].upper() + piece[1:] for piece in pieces)
            written = written.lower() if written not in sentence and written.lower() in sentence else written
        spaced = match.start() and text[match.start() - 1] == " "
        return ("" if spaced else " ") + written + opens

    written = _NAME.sub(words, text)
    try:
        same = to_text(parse(from_words(written))).casefold() == text.casefold()
    except FormulaError:
        same = False
    return written if same else text


def from_words(text: str) -> str:
    """The usual notation of a formula written in words: `can soar(` is `CanSoar(`, `Mount Karst` is `mountKarst`."""

    def join(match: re.Match[str]) -> str:
        found = match.group()
        if found[0] in "∀∃":
            return found
        opens = match.group(1) or ""
        pieces = found[: len(found) - len(opens)].split()
        joined = "".join(piece[0].upper() + piece[1:] for piece in pieces)
        return joined + "(" if opens else joined[0].lower() + joined[1:]

    return _READ.sub(join, text)
