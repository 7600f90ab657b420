"""Classifies the error of each entity: wrong border, wrong type, missed or made up.

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
    """Counts errors. kinds: how many of each of KINDS. confused: (type of the row, type of the answer) -> pairs."""

    kinds: Counter[str] = field(default_factory=Counter)
    confused: Counter[tuple[str, str]] = field(default_factory=Counter)


def compare(gold: Sequence[Entity], predicted: Sequence[Entity]) -> Errors:
    """Compares the entities of a row with those of its answer; within each no two overlap."""
    errors = Errors()
    unpaired_gold, unpaired_predicted = set(gold), set(predicted)
    for reference, answer in _candidates(gold, predicted):
        if reference not in unpaired_gold or answer not in unpaired_predicted:
            continue
        unpaired_gold.remove(reference)
        unpaired_predicted.remove(answer)
        same_span, same_type = reference[:2] == answer[:2], reference.type == answer.type
        if same_type:
            errors.kinds["right" if same_span else "boundary"] += 1
        else:
            errors.kinds["type" if same_span else "boundary and type"] += 1
            errors.confused[reference.type, answer.type] += 1
    errors.kinds["missed"] += len(unpaired_gold)
    errors.kinds["spurious"] += len(unpaired_predicted)
    return errors


def _candidates(gold: Sequence[Entity], predicted: Sequence[Entity]) -> list[tuple[Entity, Entity]]:
    """Lists the pairs that overlap, in the order in which they are to be paired."""
    pairs = []
    place = 0
    for reference in gold:
        while place < len(predicted) and predicted[place].end <= reference.start:
            place += 1
        for answer in predicted[place:]:
            if answer.start >= reference.end:
                break
            pairs.append((reference, answer))
    return sorted(pairs, key=_rank)


def _rank(pair: tuple[Entity, Entity]) -> tuple[bool, bool, int, int, int]:
    reference, answer = pair
    overlap = min(reference.end, answer.end) - max(reference.start, answer.start)
    return reference[:2] != answer[:2], reference.type != answer.type, -overlap, reference.start, answer.start


def total(rows: Iterable[Errors]) -> Errors:
    """Sums the errors of rows."""
    errors = Errors()
    for row in rows:
        errors.kinds.update(row.kinds)
        errors.confused.update(row.confused)
    return errors
