"""The rules of the shipped data set, and the filter that keeps training rows away from the test side.

`python -m appkit_tasks.nl2fol.dataset TEST CANDIDATES...` prints the candidate rows (JSONL) that training may
show: no name in common with the test rows (but `Person`, which the conventions prescribe), and, for rows made
by a template, no formula skeleton in common.
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
    """Predicates and constants of a formula."""
    found = symbols(parse(formula))
    return {predicate for predicate, _ in found.predicates} | set(found.constants)


def is_complex(formula: str) -> bool:
    """Two or more quantifiers, or three or more connectives."""
    parsed = parse(formula)
    return quantifiers(parsed) >= 2 or connectives(parsed) >= 3


def conflicts(row: Mapping[str, Any], test_names: set[str], test_skeletons: set[str]) -> list[str]:
    """Why a training row may not stand beside the test rows; empty when it may."""
    reasons = [f"shares the name {name}" for name in sorted((names(row["formula"]) - SHARED) & test_names)]
    if row.get("template") and skeleton(parse(row["formula"])) in test_skeletons:
        reasons.append("its template makes a skeleton of the test side")
    return reasons


def read(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def allowed(test: Iterable[Mapping[str, Any]], candidates: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The candidates without conflicts, in order."""
    test = list(test)
    test_names = set().union(*(names(row["formula"]) for row in test)) - SHARED
    test_skeletons = {skeleton(parse(row["formula"])) for row in test}
    return [row for row in candidates if not conflicts(row, test_names, test_skeletons)]


if __name__ == "__main__":
    held, *files = map(Path, sys.argv[1:])
    for kept in allowed(read(held), (row for file in files for row in read(file))):
        print(json.dumps(kept, ensure_ascii=False))
