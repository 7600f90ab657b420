"""Finds what the labels of the training rows are: their kind, their names, how uneven they are."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from appkit.data.rows import Record
from appkit.errors import DataError, shortened
from appkit.task import LabelHead, Labels, Tagging, Task, TokenLabels

__all__ = ["Targets", "discover", "require_kind", "require_spelling"]

Problem = Literal["single", "multi", "regression"]
UNEVEN = 10
"""rows of the commonest label for each of the rarest, from which a note says so"""


class Targets(NamedTuple):
    """Describes the labels of the training rows."""

    problem: Problem
    labels: tuple[str, ...]
    """in the order of the head's outputs; empty for a regression"""
    counts: tuple[int, ...]
    """rows of each label, or words of a token task"""
    notes: tuple[str, ...]
    """lines for the user"""
    shift: float = 0.0
    """of a regression, mean of the targets"""
    scale: float = 1.0
    """of a regression, standard deviation of the targets"""


def discover(task: Task, head: LabelHead, options: Any, records: Sequence[Record]) -> Targets:
    """Finds problem and labels from all targets of the training rows.

    Raises DataError, with the places, for targets of different kinds, for targets that are all the same, and where the
    pack refuses the rows.
    """
    if reason := head.refuse([record.value for record in records], options):
        raise DataError(f"the column {task.output!r} {reason}")
    targets = [task.target(record.value, options) for record in records]
    if head.words:
        return _find_tags(task, head.tagging, targets)
    return _find_labels(task, records, targets)


def _find_labels(task: Task, records: Sequence[Record], targets: Sequence[Any]) -> Targets:
    values = [target.values for target in targets if isinstance(target, Labels)]
    if len(values) != len(targets):
        raise TypeError(f"task {task.name!r} labels whole texts, its targets must be Labels")
    kinds: dict[str, int] = {}
    for place, value in enumerate(values):
        kinds.setdefault(_name_kind(value), place)
    if kinds.keys() == {"a text", "a number"} and all(_parse_number(value) is not None for value in values):
        kinds = {"a number": kinds["a number"]}  # 1, 2 and 2.5 in one file
    if len(kinds) > 1:
        shown = " and ".join(
            f"{kind} ({values[at]!r}, {records[at].place})" for kind, at in list(kinds.items())[:2]
        )
        raise DataError(
            f"the column {task.output!r} holds {shown}: all rows must have one label, or a list of labels, or a number"
        )
    (kind,) = kinds
    if kind == "a number":
        return _fit_numbers(task, [float(_parse_number(value) or 0.0) for value in values])
    several = kind == "a list"
    label_counts = Counter(
        label
        for value in values
        for label in ((value,) if isinstance(value, str) else value)  # type: ignore[union-attr]
    )
    labels = tuple(sorted(label_counts))
    if len(labels) < (1 if several else 2):
        got = f"only {labels[0]!r}" if labels else "none"
        raise DataError(
            f"{len(values)} training rows have {got} in {task.output!r}: there is nothing to learn; "
            "bring rows of at least two labels, or name the right column: data.columns.label=<column>"
        )
    counts = tuple(label_counts[label] for label in labels)
    notes = (*_describe_counts(labels, counts, "rows"), *_find_twins(labels))
    return Targets("multi" if several else "single", labels, counts, notes)


def _fold(label: str) -> str:
    """Fold a label to what its spellings share: True and true, 1.0 and 1, late_delivery and late delivery.

    Fullwidth letters are letters, and characters that nobody sees, such as a zero-width space, are none.
    """
    text = unicodedata.normalize("NFKC", label)
    text = "".join(sign for sign in text if unicodedata.category(sign) != "Cf")
    number = _parse_number(text)
    return str(number) if number is not None else re.sub(r"[\s_-]+", " ", text).strip().casefold()


def require_kind(
    output: str, split: str, problem: Problem, value: str | tuple[str, ...] | float, place: str
) -> None:
    """Raises DataError for a target of another kind than the training rows have; one label is a list of one."""
    fits, wanted = {
        "single": (isinstance(value, str), "one label, as text"),
        "multi": (not isinstance(value, float), "a list of labels"),
        "regression": (_parse_number(value) is not None, "a number"),
    }[problem]
    if not fits:
        got = list(value) if isinstance(value, tuple) else value
        raise DataError(
            f"{split}: {output} is {shortened(got)} ({place}), and training rows have {wanted}; correct the row, "
            "or have all files read alike: task.problem="
        )


def require_spelling(
    output: str, split: str, labels: Iterable[str], unknown: Mapping[str, int], rows: int
) -> None:
    """Raises DataError where labels that training rows lack are theirs in another spelling, or are all that there are.

    unknown: label -> rows. rows: of the split, none of which has a label of `labels`; 0 if some has.
    """
    known = sorted(labels)
    spelled = {_fold(label): label for label in known}
    for label, count in unknown.items():
        if twin := spelled.get(_fold(label)):
            raise DataError(
                f"{split}: {output} is {label!r} in {count} rows, and training rows write {twin!r}; write both alike"
            )
    if rows >= UNEVEN:
        strange = ", ".join(sorted(unknown)[:5])
        raise DataError(
            f"{split}: none of the {rows} rows has a {output} that training rows have: {strange} "
            f"against {', '.join(known[:5])}; write both alike, or name the right column: data.columns.{output}="
        )


def _find_twins(labels: Sequence[str]) -> list[str]:
    """Note labels that differ in spelling alone."""
    groups: dict[str, list[str]] = {}
    for label in labels:
        groups.setdefault(_fold(label), []).append(label)
    return [
        f"{' and '.join(map(repr, group))} are learned as {len(group)} labels, and may be one in several spellings"
        for group in groups.values()
        if len(group) > 1
    ]


def _name_kind(value: str | tuple[str, ...] | float) -> str:
    return "a text" if isinstance(value, str) else "a list" if isinstance(value, tuple) else "a number"


def _parse_number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _fit_numbers(task: Task, values: Sequence[float]) -> Targets:
    shift, scale = float(np.mean(values)), float(np.std(values))
    if scale == 0:
        raise DataError(
            f"all {len(values)} training rows have {task.output}={shift:g}: there is nothing to learn; bring others"
        )
    note = f"a number is learned: {min(values):g} to {max(values):g}, mean {shift:.4g}, standard deviation {scale:.4g}"
    return Targets("regression", (), (), (note,), shift, scale)


def _find_tags(task: Task, tagging: Tagging, targets: Sequence[Any]) -> Targets:
    if not all(isinstance(target, TokenLabels) for target in targets):
        raise TypeError(f"task {task.name!r} labels words, its targets must be TokenLabels")
    tag_counts = Counter(tag for target in targets for tag in target.values)
    types = sorted({tagging.type_of(tag) for tag in tag_counts if tag != tagging.outside})
    if not types:
        raise DataError(
            f"{len(targets)} training rows have no {task.output}: there is nothing to learn; bring rows that have some"
        )
    labels = tagging.labels(types)
    entity_counts = tuple(tag_counts[f"{tagging.begin}{name}"] for name in types)
    notes = (*_describe_counts(tuple(types), entity_counts, "entities"), *_find_twins(types))
    return Targets("single", labels, tuple(tag_counts[label] for label in labels), notes)


def _describe_counts(labels: Sequence[str], counts: Sequence[int], unit: str) -> list[str]:
    ordered = sorted(zip(counts, labels, strict=True), reverse=True)
    shown = ", ".join(f"{label} {count}" for count, label in ordered[:12])
    more = f", and {len(labels) - 12} more" if len(labels) > 12 else ""
    notes = [f"{len(labels)} labels ({unit} of each): {shown}{more}"]
    (most, common), (least, rare) = ordered[0], ordered[-1]
    if least and most >= UNEVEN * least:
        notes.append(
            f"uneven labels: {common!r} has {most / least:.0f} times the {unit} of {rare!r}; if rare labels matter as "
            "much, head.class_weights=balanced"
        )
    if (few := sum(count < 8 for count in counts)) and unit == "rows":
        notes.append(f"{few} of {len(labels)} labels have fewer than 8 training rows: more of them help most")
    return notes
