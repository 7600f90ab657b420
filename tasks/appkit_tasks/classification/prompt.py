"""A row as the text that is read, its label as the target, and probabilities read back as an answer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from appkit.task import HeadSpec, Labels, Message
from appkit_tasks.classification.config import ClassificationConfig
from appkit_tasks.classification.load import LONGEST, ClassificationRow, Label, class_name

__all__ = ["PAIR", "THRESHOLD", "prompt", "read", "target"]

PAIR = "\n"
"""between the two texts of a pair"""

THRESHOLD = 0.5
"""least probability of each of several labels, where the head has no threshold of its own"""


def prompt(row: ClassificationRow, options: ClassificationConfig) -> list[Message]:
    return [Message.of("user", row.text if row.pair is None else f"{row.text}{PAIR}{row.pair}")]


def target(row: ClassificationRow, options: ClassificationConfig) -> Labels:
    """One label (text), any number of them (tuple), or a number (float), as `options.problem` has it.

    Raises ValueError where the row's label cannot be that.
    """
    label: Label = row.label
    if options.separator is not None and not isinstance(label, tuple):
        label = _split(_one_name(label), options.separator)
    match options.problem:
        case "single":
            return Labels(_checked(_single(label)))
        case "multi":
            return Labels(_each(label if isinstance(label, tuple) else (_one_name(label),)))
        case "regression":
            return Labels(_measured(label))
    if isinstance(label, float):
        return Labels(class_name(label) if label.is_integer() else label)
    return Labels(_checked(label) if isinstance(label, str) else _each(label))


def _each(labels: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_checked(label) for label in labels)


def _checked(label: str) -> str:
    # not in the schema, which knows no separator: a cell of many labels may be longer
    if len(label) > LONGEST:
        raise ValueError(
            f"a label has at most {LONGEST} characters, got {len(label)}: {label[:60]!r}…; name its column with "
            "data.columns.label=, or what stands between labels with task.separator="
        )
    return label


def _one_name(label: str | float) -> str:
    return class_name(label) if isinstance(label, float) else label


def _split(cell: str, separator: str) -> tuple[str, ...]:
    """The labels of a cell; none if it holds separators alone."""
    return tuple(sorted({part.strip() for part in cell.split(separator)} - {""}))


def _single(label: Label) -> str:
    if not isinstance(label, tuple):
        return _one_name(label)
    if len(label) != 1:
        raise ValueError(
            f"task.problem=single needs one label a row, got {list(label)}; use task.problem=multi"
        )
    return label[0]


def _measured(label: Label) -> float:
    """A number; a CSV file has it as text."""
    try:
        value = float(label) if isinstance(label, str | float) else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(
            f"task.problem=regression needs a number such as 2.5, got {label!r}; correct the row, or use "
            "task.problem=single"
        )
    return value


def read(
    row: ClassificationRow, probabilities: np.ndarray, head: HeadSpec
) -> tuple[str, dict[str, Any], float | None]:
    """probabilities (C,) of the head's labels, or (1,) the number -> text, value and confidence.

    One label: {"label", "probability", "probabilities"}, the likeliest first (of equal ones the head's first).
    Where the best is below `head.threshold` and the head has an `oos`, that is the label, without a confidence:
    what was measured is how likely the best label is, which "probability" still tells.
    Several: {"labels", "probabilities"}; a number: {"value"}. Neither has one probability, so no confidence.
    """
    if head.problem == "regression":
        number = float(probabilities[0])
        return f"{number:.4g}", {"value": number}, None
    order = np.argsort(-probabilities, kind="stable")
    shares = {head.labels[place]: float(probabilities[place]) for place in order}
    if head.problem == "multi":
        least = THRESHOLD if head.threshold is None else head.threshold
        labels = [name for name, share in shares.items() if share >= least]
        return ", ".join(labels) or "(none)", {"labels": labels, "probabilities": shares}, None
    best, share = next(iter(shares.items()))
    beyond = head.oos is not None and head.threshold is not None and share < head.threshold
    label = head.oos if head.oos is not None and beyond else best
    value = {"label": label, "probability": share, "probabilities": shares}
    return label, value, None if beyond else share
