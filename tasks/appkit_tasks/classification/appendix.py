"""Writes the report's appendix on labels: scores of each label, confusions, calibration.

It shows labels, never the texts of rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from appkit.task import Prediction
from appkit_tasks.classification import pictures
from appkit_tasks.classification.config import ClassificationConfig
from appkit_tasks.classification.load import ClassificationRow
from appkit_tasks.classification.metrics import ece, gold_of, r2, reliability, spearman

__all__ = ["appendix"]

SHOWN = 30
"""most labels in a table or picture"""

WORST = 15
"""labels in the table where there are more"""

CONFUSIONS = 10


def appendix(
    rows: Sequence[ClassificationRow],
    predictions: Sequence[Prediction],
    folder: Path | None,
    options: ClassificationConfig | None = None,
) -> str:
    """Writes Markdown on the answers, with pictures if there is a folder for them; "" for no rows.

    The form of the answers gives the problem. The options say how a row's label is read, as for `metrics_for`.
    """
    if not predictions:
        return ""
    values = [prediction.parsed.value for prediction in predictions]
    labels = values[0].get("probabilities", ())
    problem = "single" if "label" in values[0] else "multi" if "labels" in values[0] else "regression"
    gold = list(map(gold_of(problem, labels, options), rows))
    if problem == "single":
        return _single(gold, values, folder)
    if problem == "multi":
        return _multi(gold, values)
    return _regression(np.array(gold), np.array([value["value"] for value in values]), folder)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def _code(label: str) -> str:
    """Formats a label as code for a table cell; a bar or a backtick in it cannot end the cell."""
    plain = " ".join(label.split()).replace("|", "\\|").replace("`", "'")
    return f"`{plain}`"


@dataclass(frozen=True)
class _LabelCounts:
    """Counts the rows of a label: answered rightly (hits), in the references (gold), in the answers (claimed)."""

    label: str
    hits: int
    gold: int
    claimed: int

    @property
    def f1(self) -> float:
        return 2 * self.hits / (self.gold + self.claimed)

    def cells(self) -> list[str]:
        precision = f"{self.hits / self.claimed:.3f}" if self.claimed else "never answered"
        recall = f"{self.hits / self.gold:.3f}" if self.gold else "no rows"
        return [_code(self.label), precision, recall, f"{self.f1:.3f}", str(self.gold)]


def _by_label(pairs: Sequence[tuple[set[str], set[str]]]) -> str:
    """Writes the table of labels from (reference, answer) of each row; the worst alone where there are many."""
    gold = Counter(label for reference, _ in pairs for label in reference)
    claimed = Counter(label for _, answer in pairs for label in answer)
    hits = Counter(label for reference, answer in pairs for label in reference & answer)
    counts = [_LabelCounts(label, hits[label], gold[label], claimed[label]) for label in gold | claimed]
    only_worst = len(counts) > SHOWN
    counts.sort(key=lambda row: (row.f1, -row.gold, row.label) if only_worst else (-row.gold, row.label))
    title = (
        f"## By label\n\nThe {WORST} with the lowest F1 of {len(counts)}.\n"
        if only_worst
        else "## By label\n"
    )
    shown = counts[:WORST] if only_worst else counts
    return (
        f"{title}\n{_table(['label', 'precision', 'recall', 'F1', 'rows'], [row.cells() for row in shown])}"
    )


def _unseen(gold: Counter[str], known: set[str]) -> str:
    """Lists the labels of the references that the head has no name for."""
    unseen = [f"{_code(label)} ({count})" for label, count in gold.most_common() if label not in known]
    if not unseen:
        return ""
    more = f" and {len(unseen) - CONFUSIONS} more" if len(unseen) > CONFUSIONS else ""
    return f"\nNever seen in training, so always missed: {', '.join(unseen[:CONFUSIONS])}{more} (label and rows).\n"


def _single(gold: Sequence[str], values: Sequence[dict[str, Any]], folder: Path | None) -> str:
    answers = [value["label"] for value in values]
    support = Counter(gold)
    trained = {*values[0]["probabilities"], *answers}
    parts = [_by_label([({g}, {a}) for g, a in zip(gold, answers, strict=True)]), _unseen(support, trained)]

    confused = Counter((g, a) for g, a in zip(gold, answers, strict=True) if g != a)
    ordered = sorted(confused.items(), key=lambda item: (-item[1], item[0]))
    if ordered:
        rows = [[_code(g), _code(a), str(n), f"{n / support[g]:.0%}"] for (g, a), n in ordered[:CONFUSIONS]]
        parts.append(f"\n## Confusions\n\n{_table(['label', 'taken for', 'rows', 'of its rows'], rows)}")

    points = np.array(
        [_calibration_point(value, reference) for value, reference in zip(values, gold, strict=True)]
    )
    right, share = points.mean(0)
    parts.append(
        f"\n## Calibration\n\nThe likeliest label has a probability of {share:.3f} on average and is right in "
        f"{right:.1%} of the rows; ECE {ece(points):.3f}.\n"
    )
    if folder is not None:
        every = sorted({*gold, *answers})
        labels = _pictured_labels(every, [pair for pair, _ in ordered])
        pictures.confusion(gold, answers, labels, len(every), folder / "confusion.png")
        pictures.reliability(reliability(points), folder / "reliability.png")
        parts += ["\n![confusion](confusion.png)\n", "\n![reliability](reliability.png)\n"]
    return "".join(parts)


def _calibration_point(value: dict[str, Any], reference: str) -> tuple[float, float]:
    """Returns whether the likeliest label is right (0 or 1), and its probability."""
    label, share = next(iter(value["probabilities"].items()))
    return float(label == reference), share


def _pictured_labels(every: Sequence[str], confused: Sequence[tuple[str, str]]) -> list[str]:
    """Chooses the labels of the picture: all, or where there are too many, those of the most frequent confusions."""
    if len(every) <= SHOWN:
        return list(every)
    chosen: dict[str, None] = {}
    for pair in confused:
        both = chosen | dict.fromkeys(pair)
        if len(both) <= SHOWN:
            chosen = both
    return sorted(chosen or every[:SHOWN])


def _multi(gold: Sequence[tuple[str, ...]], values: Sequence[dict[str, Any]]) -> str:
    pairs = [(set(reference), set(value["labels"])) for reference, value in zip(gold, values, strict=True)]
    support = Counter(label for reference, _ in pairs for label in reference)
    means = (np.mean([len(side) for side in sides]) for sides in zip(*pairs, strict=True))
    return (
        _by_label(pairs)
        + _unseen(support, set(values[0]["probabilities"]))
        + "\nLabels a row: {:.2f} in the references, {:.2f} in the answers.\n".format(*means)
    )


def _regression(gold: np.ndarray, answers: np.ndarray, folder: Path | None) -> str:
    """gold (N,), answers (N,), in the label's unit."""
    errors = answers - gold
    both = np.stack([np.zeros_like(gold), gold, answers], 1)
    low, middle, high = np.percentile(np.abs(errors), [50, 90, 99])
    rows = [
        ["mean error (answer less reference)", f"{errors.mean():+.4g}"],
        ["mean absolute error", f"{np.abs(errors).mean():.4g}"],
        ["root of the mean squared error", f"{np.sqrt((errors**2).mean()):.4g}"],
        ["50, 90, 99 % of the absolute errors are below", f"{low:.4g}, {middle:.4g}, {high:.4g}"],
        ["R2", f"{r2(both):.3f}"],
        ["Spearman", f"{spearman(both):.3f}"],
        ["spread (standard deviation): references, answers", f"{gold.std():.4g}, {answers.std():.4g}"],
    ]
    text = f"## Errors\n\n{_table(['', f'n = {len(gold)}'], rows)}"
    if folder is None:
        return text
    pictures.regression(gold, answers, folder / "regression.png")
    return f"{text}\n![predicted and actual](regression.png)\n"
