"""Defines the schema of a row and the data set that comes with the pack."""

from __future__ import annotations

import ast
import json
import math
import re
import unicodedata
from typing import Any

from pydantic import Field, field_validator

from appkit.task import Row, Shipped
from appkit_tasks.classification.config import ClassificationConfig

__all__ = ["BITS", "LONGEST", "ClassificationRow", "Label", "class_name", "load"]

Label = str | float | tuple[str, ...]

LONGEST = 200
"""most characters of a label"""

ITEM = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?![\w.])""")
ITEMS = re.compile(rf"(?:{ITEM.pattern})(?:\s*,\s*(?:{ITEM.pattern}))*\s*,?")
"""what stands between the brackets of a list that is written out"""

BARE = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?|nan|NaN|NaT|None|null|True|False|\.\.\."
UNREAD = re.compile(
    rf"""\[.*['",].*\]
    | \[\s*(?:{BARE})(?:[\s,]+(?:{BARE}))*[\s,]*\]  # NumPy's [1 2], and [None]
    | \(\s*(?:{ITEM.pattern})\s*,.*\)                # a tuple
    | \{{(?:.*['",:].*|\s*)\}}                         # a dict, or PostgreSQL's {{a,b}}
    | (?:array|tensor|Index|Series|list|tuple|set|frozenset)\(\s*[\[({{].*\)
    | (?:frozen)?set\(\)
    | (?:<[^<>]+>){{2,}}                               # <a><b>""",
    re.VERBOSE | re.DOTALL,
)
"""a cell that is a list in a form that is not read; (none), [spam], {x} and <unk> are labels"""

BITS = frozenset({"0", "1", "true", "false"})
"""the items of a multi-hot vector"""

LONGEST_CELL = 2000
"""most characters of the field `label`: with `task.separator` it holds several labels"""


class ClassificationRow(Row):
    """A row is a text, or a pair of texts, with its label, its list of labels, or its number."""

    text: str = Field(min_length=1, description="what is classified")
    pair: str | None = Field(
        None, description="the second text of a pair, such as the hypothesis of a premise"
    )
    label: str | float | tuple[str, ...] = Field(
        description="a label, a list of labels (or none), or a number"
    )

    @field_validator("pair")
    @classmethod
    def _empty_is_none(cls, pair: str | None) -> str | None:
        return pair or None  # as a CSV file has it, where an empty cell is none

    @field_validator("label", mode="before")
    @classmethod
    def _canonical(cls, label: Any) -> Label:
        if isinstance(label, str):
            label = _read_list(label)
        if isinstance(label, list | tuple):
            names = tuple(_name(item) for item in label)
            # order and repeats tell a multi-hot vector, [0, 1, 0], from a set of names
            return names if BITS.issuperset(names) else tuple(sorted(set(names)))
        return (
            _number(label) if isinstance(label, float | int) and not isinstance(label, bool) else _name(label)
        )


def _read_list(cell: str) -> str | list[Any]:
    """Reads the list that a cell writes out, as pandas and JSON do: `['a', 'b']`, `[1, 2]`, `[]`; else the cell.

    Raises ValueError for a cell that looks like a list and is none; `[spam]`, without quote and comma, is a label.
    """
    text = cell.strip()
    ends, inner = text[:1] + text[-1:], text[1:-1].strip()
    listed = ends == "[]" or (ends in ("()", "{}") and inner[:1] in ("'", '"'))
    if listed and ITEMS.fullmatch(inner):
        try:
            return list(json.loads(text))
        except ValueError:  # in Python's own way, with single quotes
            return [ast.literal_eval(item) for item in ITEM.findall(inner)]
    if ends == "[]" and not inner:
        return []
    if len(text) <= LONGEST_CELL and UNREAD.fullmatch(text):
        raise ValueError(
            "looks like a list and cannot be read as one; write ['a', 'b'], or a|b with task.separator=|, or one label "
            "without the brackets"
        )
    return cell


def _number(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("must be a finite number")
    if abs(value) > 2**53:
        raise ValueError("is beyond 2**53, where whole numbers run together; write it as text")
    return float(value)


def _name(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float | int):
        return class_name(_number(value))
    if not isinstance(value, str):
        raise ValueError("must be text, a number or a list of texts")
    text = unicodedata.normalize("NFC", value.strip())  # é is one label, however it was typed
    if not text:
        raise ValueError("holds an empty label")
    if len(text) > LONGEST_CELL:
        raise ValueError(f"has {len(text)} characters, the limit is {LONGEST_CELL}; is it the right column?")
    return text


def class_name(number: float) -> str:
    """Returns the label that a number stands for: "3" for 3 and for 3.0."""
    return str(int(number)) if number.is_integer() else repr(number)


def load(options: ClassificationConfig) -> Shipped:
    """Names the shipped files: support tickets of a web shop and the queue of each, written for appkit, CC0."""
    return Shipped("appkit_data", {"train": "tickets/train.jsonl", "test": "tickets/test.jsonl"})
