"""Filters candidate training rows of the shipped data set: none may share names with the test rows.

`python -m appkit_tasks.nl2fol.dataset TEST CANDIDATES...` prints the candidate rows (JSONL) that are allowed
in training: they have no name in common with the test rows (but `Person`, which the conventions prescribe), and rows
made by a template have no formula skeleton in common with them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from appkit_tasks.nl2fol.parser import parse
from appkit_tasks.nl2fol.syntax import connectives, quantifiers, skeleton, symbols

__all__ = ["SHARED", "conflicts", "is_complex", "names"]

SHARED = frozenset({"Person"})
"""Names that both sides may use: the conventions demand them."""


def names(formula: str) -> set[str]:
    """Returns the predicates and constants of a formula."""
    used = symbols(parse(formula))
    return {predicate for predicate, _ in used.predicates} | set(used.constants)


def is_complex(formula: str) -> bool:
    """Tells whether a formula has two or more quantifiers, or three or more connectives."""
    parsed = parse(formula)
    return quantifiers(parsed) >= 2 or connectives(parsed) >= 3


def conflicts(row: Mapping[str, Any], test_names: set[str], test_skeletons: set[str]) -> list[str]:
    """Says why a training row must not stand beside the test rows; empty if it may."""
    reasons = [f"shares the name {name}" for name in sorted((names(row["formula"]) - SHARED) & test_names)]
    if row.get("template") and skeleton(parse(row["formula"])) in test_skeletons:
        reasons.append("its template makes a skeleton of the test side")
    return reasons


def read(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def allowed(test: Iterable[Mapping[str, Any]], candidates: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the candidates without conflicts, in order."""
    test = list(test)
    test_names = set().union(*(names(row["formula"]) for row in test)) - SHARED
    test_skeletons = {skeleton(parse(row["formula"])) for row in test}
    return [row for row in candidates if not conflicts(row, test_names, test_skeletons)]


if __name__ == "__main__":
    test_file, *files = map(Path, sys.argv[1:])
    for allowed_row in allowed(read(test_file), (row for file in files for row in read(file))):
        print(json.dumps(allowed_row, ensure_ascii=False))
