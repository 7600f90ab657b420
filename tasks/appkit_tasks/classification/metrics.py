"""Computes scores of labels, of sets of labels and of numbers.

The figures are scikit-learn's and SciPy's (the tests hold them to 1e-12), computed from counts: an aggregate is called
thousands of times for a report's intervals, where scikit-learn's own functions take milliseconds each.

The first column of a statistic says how right the row is, so that a report can show the worst rows; the others are
counts. A macro or weighted F1 is a mean over the labels that occur among references or answers, as scikit-learn's
default is for one label a row: a resample that lacks a label says nothing about it. References that the head has no
name for (never seen in training) make one more label, which no answer can hit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from appkit.stats import intervals
from appkit.stats.intervals import calibration_error
from appkit.task import HeadSpec, Metric, Prediction
from appkit_tasks.classification.config import ClassificationConfig
from appkit_tasks.classification.load import ClassificationRow, Label
from appkit_tasks.classification.prompt import target

__all__ = ["METRICS", "PRIMARY", "ece", "gold_of", "metrics_for", "r2", "reliability", "spearman"]

PRIMARY = {"single": "macro F1", "multi": "micro F1", "regression": "Spearman"}
"""problem -> name of the primary metric"""


Statistics = Callable[[ClassificationRow, Prediction], Sequence[float]]


def metrics_for(
    head: HeadSpec, options: ClassificationConfig | None = None
) -> tuple[tuple[Metric, ...], str]:
    """Returns the metrics of a head's problem, in the order of the report, and the name of the primary one.

    The options say how a row's label is read; without them `task.separator` is unknown, and a statistic of a row whose
    label would have to be split raises ValueError.
    """
    gold = gold_of(head.problem, head.labels, options)
    match head.problem:
        case "single":
            return _single(head, gold), PRIMARY["single"]
        case "multi":
            return _multi(head, gold), PRIMARY["multi"]
        case _:
            return _regression(gold), PRIMARY["regression"]


def gold_of(
    problem: str, labels: Collection[str], options: ClassificationConfig | None
) -> Callable[[ClassificationRow], Any]:
    """Returns the function that reads a row's label as `problem` has it: text, tuple or number.

    labels: those that the head knows.
    """
    read = (options or ClassificationConfig()).model_copy(update={"problem": problem})

    def gold(row: ClassificationRow) -> Label:
        if options is None and problem == "multi" and isinstance(row.label, str) and row.label not in labels:
            raise ValueError(
                f"several labels are predicted, and the row has the text {row.label!r}, none of the head's: pass the "
                "options too, whose task.separator says whether it is one label"
            )
        return target(row, read).values

    return gold


def _number_of(numbers: Mapping[str, int], label: str) -> int:
    """Returns the number of a label.

    Raises ValueError for an answer that the head has no name for: these are the metrics of another head.
    """
    if label not in numbers:
        raise ValueError(
            f"the head's labels are {list(numbers)}, got the answer {label!r}; use metrics_for(its head)"
        )
    return numbers[label]


# --- one label -------------------------------------------------------------------------------------------


def _single(head: HeadSpec, gold: Callable[[ClassificationRow], str]) -> tuple[Metric, ...]:
    names = dict.fromkeys([*head.labels, *([head.oos] if head.oos else [])])
    numbers = {name: number for number, name in enumerate(names)}
    unseen = len(numbers)

    def both(row: ClassificationRow, prediction: Prediction) -> tuple[float, float, float]:
        claimed = _number_of(numbers, prediction.parsed.value["label"])
        reference = numbers.get(gold(row), unseen)
        return float(reference == claimed), float(reference), float(claimed)

    def right(row: ClassificationRow, prediction: Prediction) -> tuple[float]:
        return (float(prediction.parsed.value["label"] == gold(row)),)

    def top(row: ClassificationRow, prediction: Prediction) -> tuple[float, float]:
        label, share = next(iter(prediction.parsed.value["probabilities"].items()))
        return float(label == gold(row)), share

    size = unseen + 1
    return (
        Metric(
            "macro F1",
            "mean F1 of the labels, each counting alike however rare",
            both,
            partial(macro_f1, size=size),
        ),
        Metric("accuracy", "share of rows with the right label", right),
        Metric(
            "weighted F1",
            "mean F1 of the labels, weighted by their rows",
            both,
            partial(weighted_f1, size=size),
        ),
        Metric(
            "MCC",
            "Matthews' correlation of labels and answers; 0 is chance, whatever the shares of the labels",
            both,
            partial(mcc, size=size),
        ),
        Metric(
            "ECE",
            "mean distance of the likeliest label's probability and how often it is right, in ten bins of equal mass",
            top,
            ece,
            higher_is_better=False,
        ),
    )


def _counts(matrix: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N, 3) of right, reference, answer -> rows of each label (size,): hit, in references, in answers."""
    gold, claimed = matrix[:, 1].astype(np.intp), matrix[:, 2].astype(np.intp)
    hits = np.bincount(gold[gold == claimed], minlength=size)
    return hits, np.bincount(gold, minlength=size), np.bincount(claimed, minlength=size)


def _f1(hits: np.ndarray, gold: np.ndarray, claimed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(L,) counts -> F1 and reference rows of the labels that occur."""
    occur = gold + claimed > 0
    return 2 * hits[occur] / (gold + claimed)[occur], gold[occur]


def macro_f1(matrix: np.ndarray, size: int) -> float:
    """Computes scikit-learn's f1_score(average="macro"); a label without a hit counts as 0."""
    return float(_f1(*_counts(matrix, size))[0].mean())


def weighted_f1(matrix: np.ndarray, size: int) -> float:
    """Computes scikit-learn's f1_score(average="weighted")."""
    scores, support = _f1(*_counts(matrix, size))
    return float(scores @ support / len(matrix))


def mcc(matrix: np.ndarray, size: int) -> float:
    """Computes scikit-learn's matthews_corrcoef; 0 where all references, or all answers, are one label."""
    hits, gold, claimed = _counts(matrix, size)
    rows = len(matrix)
    spread = float(rows * rows - gold @ gold) * float(rows * rows - claimed @ claimed)
    return float(hits.sum() * rows - gold @ claimed) / math.sqrt(spread) if spread else 0.0


def ece(matrix: np.ndarray) -> float:
    """(N, 2) of right, probability -> expected calibration error, in [0, 1]."""
    return calibration_error(reliability(matrix))


def reliability(matrix: np.ndarray) -> np.ndarray:
    """(N, 2) of right, probability -> (B, 3), as `appkit.stats.intervals.reliability` gives them."""
    return intervals.reliability(matrix[:, 0], matrix[:, 1])


# --- any number of labels --------------------------------------------------------------------------------

FIELD = 2.0**17
"""A float keeps three counts below this exactly: 3 x 17 of its 53 bits."""


def _multi(head: HeadSpec, gold: Callable[[ClassificationRow], tuple[str, ...]]) -> tuple[Metric, ...]:
    numbers = {name: number for number, name in enumerate(head.labels)}
    unseen = len(numbers)

    def sets(row: ClassificationRow, prediction: Prediction) -> tuple[set[int], set[int]]:
        claimed = {_number_of(numbers, name) for name in prediction.parsed.value["labels"]}
        return {numbers.get(name, unseen) for name in gold(row)}, claimed

    def counts(row: ClassificationRow, prediction: Prediction) -> tuple[float, float, float, float]:
        reference, claimed = sets(row, prediction)
        sizes = float(len(reference & claimed)), float(len(reference)), float(len(claimed))
        return _f1_of_counts(*sizes), *sizes

    def by_label(row: ClassificationRow, prediction: Prediction) -> list[float]:
        reference, claimed = sets(row, prediction)
        packed = [0.0] * (unseen + 1)
        for label in reference | claimed:
            inside, answered = label in reference, label in claimed
            packed[label] = inside + FIELD * answered + FIELD**2 * (inside and answered)
        return [_f1_of_counts(len(reference & claimed), len(reference), len(claimed)), *packed]

    def right(row: ClassificationRow, prediction: Prediction) -> tuple[float]:
        reference, claimed = sets(row, prediction)
        return (float(reference == claimed),)

    return (
        Metric("micro F1", "F1 of all labels of all rows together", counts, micro_f1),
        Metric(
            "macro F1", "mean F1 of the labels, each counting alike however rare", by_label, macro_f1_of_sets
        ),
        Metric("subset accuracy", "share of rows with just the right labels", right),
    )


def _f1_of_counts(hits: float, gold: float, claimed: float) -> float:
    """Computes F1 from counts; 1 where there was nothing to find and nothing was claimed."""
    return 2 * hits / (gold + claimed) if gold + claimed else 1.0


def micro_f1(matrix: np.ndarray) -> float:
    """Computes scikit-learn's f1_score(average="micro", zero_division=1)."""
    hits, gold, claimed = matrix[:, 1:].sum(0).tolist()
    return _f1_of_counts(hits, gold, claimed)


def macro_f1_of_sets(matrix: np.ndarray) -> float:
    """Computes scikit-learn's f1_score(average="macro", zero_division=nan), which leaves out labels that do not occur.

    It is 1 where no label occurs. matrix (N, 1 + L): the row's F1, then each label's three counts, packed by `FIELD`.
    """
    hits, gold, claimed = (np.zeros(matrix.shape[1] - 1) for _ in range(3))
    for start in range(0, len(matrix), int(FIELD) - 1):
        packed = matrix[start : start + int(FIELD) - 1, 1:].sum(0)
        hits += packed // FIELD**2
        claimed += packed % FIELD**2 // FIELD
        gold += packed % FIELD
    scores, _ = _f1(hits, gold, claimed)
    return float(scores.mean()) if len(scores) else 1.0


# --- a number --------------------------------------------------------------------------------------------


def _regression(gold: Callable[[ClassificationRow], float]) -> tuple[Metric, ...]:
    def both(row: ClassificationRow, prediction: Prediction) -> tuple[float, float, float]:
        reference, value = gold(row), prediction.parsed.value["value"]
        return -abs(reference - value), reference, value

    def error(row: ClassificationRow, prediction: Prediction) -> tuple[float]:
        return (abs(gold(row) - prediction.parsed.value["value"]),)

    return (
        Metric(
            "Spearman",
            "correlation of the ranks; 1 where the order is right, whatever the scale",
            both,
            spearman,
        ),
        Metric("R2", "share of the references' variance that is explained; 0 for their mean", both, r2),
        Metric("MAE", "mean absolute error, in the label's unit", error, higher_is_better=False),
    )


def spearman(matrix: np.ndarray) -> float:
    """Computes SciPy's spearmanr; 0, not nan, where all references, or all answers, are equal."""
    a, b = _ranks(matrix[:, 1]), _ranks(matrix[:, 2])
    spread = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / spread if spread else 0.0


def _ranks(values: np.ndarray) -> np.ndarray:
    """(N,) -> ranks less their mean; equal values share a rank."""
    order = np.argsort(values)
    ordered = values[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    lengths = np.diff(starts, append=len(values))
    ranks = np.empty(len(values))
    ranks[order] = np.repeat(starts + (lengths - 1) / 2, lengths)
    return ranks - (len(values) - 1) / 2


def r2(matrix: np.ndarray) -> float:
    """Computes scikit-learn's r2_score; where all references are equal, 1 if the answers are too, else 0."""
    residual = float(((matrix[:, 1] - matrix[:, 2]) ** 2).sum())
    spread = float(((matrix[:, 1] - matrix[:, 1].mean()) ** 2).sum())
    return 1 - residual / spread if spread else float(residual == 0)


METRICS: dict[str, tuple[Metric, ...]] = {
    problem: metrics_for(HeadSpec(kind="sequence", problem=problem))[0] for problem in PRIMARY
}
"""Metrics by problem, for names and descriptions; `metrics_for` makes those that score a head's answers."""
