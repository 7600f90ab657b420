"""Writes formulas in the words of their sentence, the form in which a small model learns to write them.

`∀x (Falcon(x) ∧ Perches(x, mountKarst) → ¬CanSoar(x))` is written as
`all x: falcon(x) and perches(x, Mount Karst) implies not can soar(x)`. To a tokenizer ` falcon` in the formula is
then the same token as in the sentence, so a model can copy it. `Falcon` consists of other tokens, which a small model
has to learn word by word, and `∀` of two bytes without meaning to it. The scope of `all x:`, `some x:` and `implies`
runs to the end of the text or of the parenthesis around them, so few formulas need nested parentheses.
`from_words` joins the words again; it leaves text in the usual notation unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from appkit_tasks.nl2fol.parser import FormulaError, parse
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
    Xor,
    free_variables,
    is_free_name,
    symbols,
    to_text,
)

__all__ = ["KEYWORDS", "from_words", "to_words"]

_SIGNS = {And: " and ", Or: " or ", Xor: " xor ", Implies: " implies ", Iff: " iff "}
KEYWORDS = ("and", "or", "xor", "implies", "iff", "not")
"""words that join formulas, and so are in no name"""
_KEYWORD = "|".join(KEYWORDS)
_PIECE = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^A-Za-z\d]+")
_TOKEN = re.compile(
    rf"""(?P<quantifier>\b(?:all|some)\ +(?P<variable>\w+)\ *:)
    | (?P<prefix>[∀∃]\s*\w+)
    | (?P<keyword>\b(?:{_KEYWORD})\b)
    | (?P<name>(?!(?:{_KEYWORD})\b|(?:all|some)\ +\w+\ *:)[\w'’-]+
        (?:\ +(?!(?:{_KEYWORD})\b|(?:all|some)\ +\w+\ *:)[\w'’-]+)*)(?P<opens>\s*\()?
    | (?P<open>\() | (?P<close>\)) | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)


def to_words(formula: Formula, sentence: str) -> str:
    """Writes the formula with its names as words, cased as in the sentence.

    Returns the normal text where the words would not be read back as the same formula (case aside), and where names
    differ by case alone, which words do not keep.
    """
    text = to_text(formula)
    if _has_case_twins(formula):
        return text
    written = _write(formula, sentence)
    try:
        read = parse(from_words(written))
        same = to_text(read).casefold() == text.casefold() and free_variables(read) == free_variables(formula)
    except FormulaError:
        same = False
    return written if same else text


def _has_case_twins(formula: Formula) -> bool:
    """Tells whether two predicates, or two constants, differ by case alone."""
    names = symbols(formula)
    predicates = {name for name, _ in names.predicates}
    return any(len({name.casefold() for name in kind}) < len(kind) for kind in (predicates, names.constants))


def _write(formula: Formula, sentence: str) -> str:
    def below(part: Formula, closed: bool) -> str:
        text = _write(part, sentence)
        return f"( {text})" if closed else text

    match formula:
        case Atom(predicate, terms):
            return f"{_predicate(predicate)}({_terms(terms, sentence)})"
        case Equals(left, right):
            return f"{_spaced(left, sentence).lstrip()} ={_spaced(right, sentence)}"
        case Not(Equals(left, right)):
            return f"{_spaced(left, sentence).lstrip()} !={_spaced(right, sentence)}"
        case Not(body):
            return f"not {below(body, not isinstance(body, Atom | Not | ForAll | Exists))}"
        case ForAll(variable, body):
            return f"all {variable.name}: {below(body, False)}"
        case Exists(variable, body):
            return f"some {variable.name}: {below(body, False)}"
        case And(parts) | Or(parts) | Xor(parts):
            inside: tuple[type, ...] = (And, Or, Xor, Implies, Iff)
        case Implies(premise, conclusion):
            closed = isinstance(premise, Implies | Iff) or _reaches_on(premise)
            return f"{below(premise, closed)}{_SIGNS[Implies]}{below(conclusion, False)}"
        case Iff(left_side, right_side):
            parts, inside = (left_side, right_side), (Implies, Iff)
    last = len(parts) - 1
    return _SIGNS[type(formula)].join(
        below(part, isinstance(part, inside) or (place < last and _reaches_on(part)))
        for place, part in enumerate(parts)
    )


def _reaches_on(formula: Formula) -> bool:
    """Tells whether a quantifier or an implication at the formula's end would take in what is written behind it."""
    match formula:
        case ForAll() | Exists() | Implies():
            return True
        case Not(body):
            return isinstance(body, Not | ForAll | Exists) and _reaches_on(body)
        case And(parts) | Or(parts) | Xor(parts):
            return _reaches_on(parts[-1])
        case Iff(_, right):
            return _reaches_on(right)
        case _:
            return False


def _predicate(name: str) -> str:
    """Writes a predicate in lower-case words; acronyms are kept."""
    return " ".join(piece if piece.isupper() else piece.lower() for piece in _PIECE.findall(name))


def _terms(terms: Sequence[Term], sentence: str) -> str:
    """Writes terms with commas; a constant, and each term after a comma, has a space before it, as in the sentence."""
    text = ",".join(_spaced(term, sentence) for term in terms)
    return text if isinstance(terms[0], Constant) else text.lstrip()


def _spaced(term: Term, sentence: str) -> str:
    """Writes the term behind a space; a constant is a proper name unless the sentence has it in lower case."""
    if not isinstance(term, Constant):
        return f" {term.name}"
    written = " ".join(piece[0].upper() + piece[1:] for piece in _PIECE.findall(term.name))
    return f" {written.lower() if written not in sentence and written.lower() in sentence else written}"


def from_words(text: str) -> str:
    """Turns a formula in words into the usual notation.

    `can soar(` becomes `CanSoar(`, `Mount Karst` becomes `mountKarst`, `all x: …` becomes `∀x (…)` and `A implies …`
    becomes `A → (…)`, up to the end of the text or of the parenthesis around it. A term that would become a variable
    keeps its capital: `grade( X)` is `Grade(X)`. A formula in the normal text whose names differ by case alone is left
    as it is.
    """
    if _is_normal_with_twins(text.strip()):
        return text
    out: list[str] = []
    variables = {
        match["variable"] or match["prefix"][1:].strip()
        for match in _TOKEN.finditer(text)
        if match["variable"] or match["prefix"]
    }
    pending = [0]  # open scopes that end with the text, then with each open parenthesis
    for match in _TOKEN.finditer(text):
        token = match.group()
        if match["quantifier"]:
            out.append(f"{'∀' if token[0] == 'a' else '∃'}{match['variable']} (")
            pending[-1] += 1
        elif token == "implies":
            out.append("→ (")
            pending[-1] += 1
        elif match["name"]:
            opens = match["opens"] or ""
            joined = "".join(piece[0].upper() + piece[1:] for piece in match["name"].split())
            out.append(joined + "(" if opens else _join_term(match["name"], joined, variables))
            if opens:
                pending.append(0)
        elif match["open"]:
            out.append(token)
            pending.append(0)
        elif match["close"]:
            out.append(")" * pending.pop() + token if len(pending) > 1 else token)
        else:
            out.append(token)
    return "".join(out) + (")" * pending[0] if len(pending) == 1 else "")


def _is_normal_with_twins(text: str) -> bool:
    """Tells whether a text is a formula in normal form, two names of which differ by case alone."""
    names = set(re.findall(r"\w+", text))
    if len({name.casefold() for name in names}) == len(names):  # parsing takes longer
        return False
    try:
        formula = parse(text)
    except FormulaError:
        return False
    return to_text(formula) == text and _has_case_twins(formula)


def _join_term(name: str, joined: str, variables: set[str]) -> str:
    """Writes a term with a small first letter; a variable, and what would become one, as it is."""
    small = joined[0].lower()
    # İ becomes two characters, which are no name
    lowered = (small if len(small) == 1 else joined[0]) + joined[1:]
    if name in variables:
        return name
    return joined if name != lowered and (lowered in variables or is_free_name(lowered)) else lowered
