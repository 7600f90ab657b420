"""Reads the plural forms of a PO file's header; where they are missing or broken, the language's own are taken."""

from __future__ import annotations

import re
from collections.abc import Callable
from gettext import c2py
from typing import NamedTuple

from appkit.errors import shortened

__all__ = ["PluralForms", "forms_of", "read_forms"]

HEADER = re.compile(r"nplurals\s*=\s*(\d{1,3})\s*;\s*plural\s*=\s*([^;]+);?\s*\Z")
PLACEHOLDER = re.compile(r"nplurals\s*=\s*INTEGER\b")

MOST = 10
"""forms; Arabic has six, the most of any language"""

EAST_SLAVIC = "n%10==1 && n%100!=11 ? 0 : n%10>=2 && n%10<=4 && (n%100<12 || n%100>14) ? 1 : 2"
RULES = {
    "1; 0": "id ja jv km ko lo ms my su th ug vi wo yo zh",
    "2; n > 1": "ak am ay br fa fil fr hy kab ln mg mi oc pt-BR tg ti tl tr uz wa",
    "2; n%10!=1 || n%100==11": "is mk",
    f"3; {EAST_SLAVIC}": "be bs hr ru sh sr uk",
    "3; n==1 ? 0 : n>=2 && n<=4 ? 1 : 2": "cs sk",
    "3; n==1 ? 0 : n%10>=2 && n%10<=4 && (n%100<12 || n%100>14) ? 1 : 2": "pl",
    "3; n%10==1 && n%100!=11 ? 0 : n%10>=2 && (n%100<10 || n%100>=20) ? 1 : 2": "lt",
    "3; n%10==1 && n%100!=11 ? 0 : n!=0 ? 1 : 2": "lv",
    "3; n==1 ? 0 : n==0 || (n%100>0 && n%100<20) ? 1 : 2": "ro",
    "4; n%100==1 ? 0 : n%100==2 ? 1 : n%100==3 || n%100==4 ? 2 : 3": "sl",
    "4; n==1 ? 0 : n==2 ? 1 : n!=8 && n!=11 ? 2 : 3": "cy",
    "4; n==1 || n==11 ? 0 : n==2 || n==12 ? 1 : n>2 && n<20 ? 2 : 3": "gd",
    "4; n==1 ? 0 : n==0 || (n%100>1 && n%100<11) ? 1 : n%100>10 && n%100<20 ? 2 : 3": "mt",
    "5; n==1 ? 0 : n==2 ? 1 : n<7 ? 2 : n<11 ? 3 : 4": "ga",
    "6; n==0 ? 0 : n==1 ? 1 : n==2 ? 2 : n%100>=3 && n%100<=10 ? 3 : n%100>=11 ? 4 : 5": "ar",
}
"""number of forms; which form a number takes -> languages. As GNU gettext's manual has them; others: 2; n != 1"""


class PluralForms(NamedTuple):
    """The plural forms of a language."""

    number: int
    singular: int | None
    """the form of the number 1; none where one form serves all numbers, since it is made from the plural then"""
    rule: str
    """as in the header: `nplurals=2; plural=(n > 1);`"""


def forms_of(language: str) -> PluralForms:
    """Returns the plural forms of a normalized language code."""
    rules = {code: rule for rule, codes in RULES.items() for code in codes.split()}
    rule = rules.get(language) or rules.get(language.partition("-")[0]) or "2; n != 1"
    count, _, expression = rule.partition("; ")
    return _forms(int(count), expression)


def read_forms(header: str, language: str) -> tuple[PluralForms, str]:
    """Reads the value of Plural-Forms; "" if the header has none.

    Returns the forms, and a sentence if they are those of the language, since the header's cannot be used; "" if they
    are the header's.
    """
    match = HEADER.match(header.strip())
    if match and 1 <= int(match[1]) <= MOST:
        count, expression = int(match[1]), match[2].strip()
        rule = _compiled(expression)
        if rule and all(0 <= rule(number) < count for number in range(1000)):
            return _forms(count, expression), ""
    default = forms_of(language)
    if PLACEHOLDER.match(header.strip()) or not header.strip():
        fault = "the header has no Plural-Forms"
    else:
        fault = f"the header's Plural-Forms cannot be used ({shortened(header.strip())})"
    return (
        default,
        f'{fault}; those of {language} are taken, write "Plural-Forms: {default.rule}" into the header',
    )


def _forms(count: int, expression: str) -> PluralForms:
    rule = _compiled(expression)
    assert rule is not None
    written = expression if expression.startswith("(") else f"({expression})"
    return PluralForms(count, rule(1) if count > 1 else None, f"nplurals={count}; plural={written};")


def _compiled(expression: str) -> Callable[[int], int] | None:
    """Compiles a rule in C's grammar; None for one that is broken, or fails for a number (`n % 0`)."""
    try:
        rule: Callable[[int], int] = c2py(expression)
        for number in range(1000):
            rule(number)
    except (ValueError, ZeroDivisionError, OverflowError, RecursionError, MemoryError):
        return None
    return rule
