"""Reads what the page offers of a bundle, and what its user types: languages and glossary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["has_terms", "read_directions", "read_entries"]

MOST_ENTRIES = 500
LONGEST_TERM = 200
"""characters"""
ARROW = " → "
"""between the languages of a direction, in the names of groups of scores"""


def read_directions(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Lists the directions, (source, target), that a bundle was measured in; without figures those of its examples."""
    adapter = (about.get("metrics") or {}).get("adapter") or {}
    groups = (adapter.get("strata") or {}).get("direction") or {}
    directions = [
        (source, target) for source, arrow, target in (name.partition(ARROW) for name in groups) if arrow
    ]
    if directions:
        return directions
    examples = [example for example in about["examples"] if isinstance(example, Mapping)]
    targets = [str(example["target_language"]) for example in examples if example.get("target_language")]
    return [("en", target) for target in dict.fromkeys(targets)] or [("en", "fr")]


def has_terms(about: Mapping[str, Any]) -> bool:
    """Tells whether a bundle was measured with terms of a glossary."""
    adapter = (about.get("metrics") or {}).get("adapter") or {}
    return bool((adapter.get("metrics") or {}).get("terminology"))


def read_entries(typed: str) -> list[dict[str, str]]:
    """Reads a glossary, one `source = target` a line. Raises ValueError for a line that is none, and for too many."""
    entries = []
    for number, line in enumerate(typed.splitlines(), 1):
        if not line.strip():
            continue
        source, sign, target = (part.strip() for part in line.partition("="))
        if not (source and sign and target):
            raise ValueError(f"line {number} of the glossary is no `source = target`: {line.strip()[:60]!r}")
        if max(len(source), len(target)) > LONGEST_TERM:
            raise ValueError(
                f"line {number} of the glossary has a term of more than {LONGEST_TERM} characters"
            )
        entries.append({"source": source, "target": target})
    if len(entries) > MOST_ENTRIES:
        raise ValueError(f"the glossary has {len(entries)} lines, the limit here is {MOST_ENTRIES}")
    return entries
