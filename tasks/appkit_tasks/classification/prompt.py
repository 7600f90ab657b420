"""Turns a row into the text that is read, its label into the target, and probabilities into an answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np

from appkit.task import HeadSpec, Labels, Message
from appkit_tasks.classification.config import ClassificationConfig
from appkit_tasks.classification.load import BITS, LONGEST, ClassificationRow, Label, class_name

__all__ = ["PAIR", "THRESHOLD", "prompt", "read", "refuse", "target"]

PAIR = "\n"
"""separates the two texts of a pair"""

THRESHOLD = 0.5
"""least probability at which one of several labels is answered, where the head has no threshold of its own"""


def prompt(row: ClassificationRow, options: ClassificationConfig) -> list[Message]:
    return [Message.of("user", row.text if row.pair is None else f"{row.text}{PAIR}{row.pair}")]


def target(row: ClassificationRow, options: ClassificationConfig) -> Labels:
    """Returns one label (text), any number of labels (tuple), or a number (float), as `options.problem` says.

    Raises ValueError where the row's label cannot be read so.
    """
    label: Label = row.label
    if options.separator is not None and not isinstance(label, tuple):
        label = tuple(sorted(set(_split(_name(label), options.separator))))
    match options.problem:
        case "single":
            return Labels(_require_short(_single_label(label)))
        case "multi":
            return Labels(_require_each_short(label if isinstance(label, tuple) else (_name(label),)))
        case "regression":
            return Labels(_number(label))
    if isinstance(label, float):
        return Labels(class_name(label) if label.is_integer() else label)
    return Labels(_require_short(label) if isinstance(label, str) else _require_each_short(label))


def refuse(rows: Sequence[ClassificationRow], options: ClassificationConfig) -> str | None:
    """Says why the labels of all training rows are none to learn: multi-hot vectors, or numbers written as text."""
    labels = [_list_parts(row.label, options.separator) for row in rows]
    if labels and _are_multi_hot(labels):
        return (
            f"holds {len(labels[0])} of 0 and 1 in every row, such as {list(labels[0])}: their places have no names; "
            "write the names of the labels that apply, such as ['late', 'damaged']"
        )
    numbers = [_parse_number(label) for label in labels]
    if options.problem != "auto" or None in numbers:
        return None
    fractions = [
        label for label, number in zip(labels, numbers, strict=True) if number and not number.is_integer()
    ]
    if fractions and all(isinstance(label, str) for label in fractions):  # as all numbers of a CSV are
        return (
            f"holds numbers written as text, such as {fractions[0]!r}: set task.problem=regression to learn "
            "numbers, or task.problem=single to learn classes"
        )
    return None


def _are_multi_hot(labels: Sequence[Label]) -> TypeGuard[Sequence[tuple[str, ...]]]:
    """Tells whether all are as long, more than one long, and made of 0 and 1."""
    lengths = {len(label) if isinstance(label, tuple) and BITS.issuperset(label) else 0 for label in labels}
    return len(lengths) == 1 and lengths.pop() > 1


def _list_parts(label: Label, separator: str | None) -> Label:
    """Lists the labels of a cell as they are written, repeats too."""
    return label if separator is None or not isinstance(label, str) else _split(label, separator)


def _parse_number(label: Label) -> float | None:
    try:
        number = math.nan if isinstance(label, tuple) else float(label)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _require_each_short(labels: tuple[str, ...]) -> tuple[str, ...]:
    # a set: the row keeps order and repeats of 0 and 1
    return tuple(_require_short(label) for label in sorted(set(labels)))


def _require_short(label: str) -> str:
    # not in the schema, which knows no separator: a cell of many labels may be longer
    if len(label) > LONGEST:
        raise ValueError(
            f"a label has at most {LONGEST} characters, got {len(label)}: {label[:60]!r}…; name its column with "
            "data.columns.label=, or what stands between labels with task.separator="
        )
    return label


def _name(label: str | float) -> str:
    return class_name(label) if isinstance(label, float) else label


def _split(cell: str, separator: str) -> tuple[str, ...]:
    """Splits a cell into its labels, in their order, repeats too; none if it holds separators alone."""
    return tuple(part.strip() for part in cell.split(separator) if part.strip())


def _single_label(label: Label) -> str:
    if not isinstance(label, tuple):
        return _name(label)
    if len(label) != 1:
        raise ValueError(
            f"task.problem=single needs one label a row, got {list(label)}; use task.problem=multi"
        )
    return label[0]


def _number(label: Label) -> float:
    """Returns the label as a number, which a CSV file has as text."""
    value = _parse_number(label)
    if value is None:
        raise ValueError(
            f"task.problem=regression needs a number such as 2.5, got {label!r}; correct the row, or use "
            "task.problem=single"
        )
    return value


def read(
    row: ClassificationRow, probabilities: np.ndarray, head: HeadSpec
) -> tuple[str, dict[str, Any], float | None]:
    """Reads an answer: probabilities (C,) of the head's labels, or (1,) the number -> text, value, confidence.

    One label: {"label", "probability", "probabilities"}, the likeliest first (of equal ones the head's first).
    Where the best is below `head.threshold` and the head has an `oos`, the label is `oos`, without a confidence:
    calibration measures how likely the best label is, and "probability" still says that.
    Several: {"labels", "probabilities"}; a number: {"value"}. Neither has a single probability, so no confidence.
    """
    if head.problem == "regression":
        number = float(probabilities[0])
        return f"{number:.4g}", {"value": number}, None
    order = np.argsort(-probabilities, kind="stable")
    shares = {head.labels[place]: float(probabilities[place]) for place in order}
    if head.problem == "multi":
        threshold = THRESHOLD if head.threshold is None else head.threshold
        labels = [name for name, share in shares.items() if share >= threshold]
        return ", ".join(labels) or "(none)", {"labels": labels, "probabilities": shares}, None
    best, share = next(iter(shares.items()))
    out_of_scope = head.oos is not None and head.threshold is not None and share < head.threshold
    label = head.oos if head.oos is not None and out_of_scope else best
    value = {"label": label, "probability": share, "probabilities": shares}
    return label, value, None if out_of_scope else share
