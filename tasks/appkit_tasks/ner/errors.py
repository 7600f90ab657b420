"""What kind of error each entity is: the wrong border, the wrong type, missed, made up.

Entities of the row and of the answer are paired, each at most once, in three rounds: same span and type; same span;
then spans that overlap, those of one type first, then the larger overlap (in characters), then the earlier ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from appkit_tasks.ner.tags import Entity

__all__ = ["KINDS", "Errors", "compare", "total"]

KINDS = {
    "right": "same span, same type",
    "boundary": "same type, spans overlap",
    "type": "same span, other type",
    "boundary and type": "spans overlap, other type",
    "missed": "overlaps nothing that is left in the answer",
    "spurious": "overlaps nothing that is left in the row",
}


@dataclass(frozen=True)
class Errors:
    """kinds: how many of each of KINDS. confused: (type of the row, type of the answer) -> how many pairs."""

    kinds: Counter[str] = field(default_factory=Counter)
    confused: Counter[tuple[str, str]] = field(default_factory=Counter)


def compare(gold: Sequence[Entity], found: Sequence[Entity]) -> Errors:
    """The entities of one row against those of its answer; neither overlap among themselves."""
    errors = Errors()
    left, right = set(gold), set(found)
    for one, other in _candidates(gold, found):
        if one not in left or other not in right:
            continue
        left.remove(one)
        right.remove(other)
        same_span, same_type = one[:2] == other[:2], one.type == other.type
        if same_type:
            errors.kinds["right" if same_span else "boundary"] += 1
        else:
            errors.kinds["type" if same_span else "boundary and type"] += 1
            errors.confused[one.type, other.type] += 1
    errors.kinds["missed"] += len(left)
    errors.kinds["spurious"] += len(right)
    return errors


def _candidates(gold: Sequence[Entity], found: Sequence[Entity]) -> list[tuple[Entity, Entity]]:
    """Pairs that overlap, in the order in which they are to be paired."""
    pairs = []
    place = 0
    for one in gold:
        while place < len(found) and found[place].end <= one.start:
            place += 1
        for other in found[place:]:
            if other.start >= one.end:
                break
            pairs.append((one, other))
    return sorted(pairs, key=_rank)


def _rank(pair: tuple[Entity, Entity]) -> tuple[bool, bool, int, int, int]:
    one, other = pair
    overlap = min(one.end, other.end) - max(one.start, other.start)
    return one[:2] != other[:2], one.type != other.type, -overlap, one.start, other.start


def total(each: Iterable[Errors]) -> Errors:
    """The sum over rows."""
    errors = Errors()
    for one in each:
        errors.kinds.update(one.kinds)
        errors.confused.update(one.confused)
    return errors
