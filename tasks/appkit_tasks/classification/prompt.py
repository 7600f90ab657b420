"""Turns a row into the text that is read, its label into the target, and probabilities into an answer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from appkit.task import HeadSpec, Labels, Message
from appkit_tasks.classification.config import ClassificationConfig
from appkit_tasks.classification.load import LONGEST, ClassificationRow, Label, class_name

__all__ = ["PAIR", "THRESHOLD", "prompt", "read", "target"]

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
        label = _split(_name(label), options.separator)
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


def _require_each_short(labels: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_require_short(label) for label in labels)


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
    """Splits a cell into its labels; none if it holds separators alone."""
    return tuple(sorted({part.strip() for part in cell.split(separator)} - {""}))


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
