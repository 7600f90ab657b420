"""Scores answers, and the passages that they were given from."""

from __future__ import annotations

import math
import re
import string
from collections import Counter

import numpy as np

from appkit.task import Prediction
from appkit_tasks.qa.load import NOWHERE, QaRow, supporting

__all__ = ["abstained", "citations", "exact", "f1", "in_form", "ndcg", "ratio", "recall", "words"]


def answer_text(prediction: Prediction) -> str:
    """Returns the words of an answer; the whole text of one that cannot be read."""
    value = prediction.parsed.value
    return prediction.text if value is None else value["answer"] or NOWHERE


def words(text: str) -> list[str]:
    """Splits a text into words without case, punctuation and articles, as SQuAD's scorer does (arXiv 1606.05250)."""
    plain = "".join(char for char in text.lower() if char not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", plain).split()


def exact(row: QaRow, prediction: Prediction) -> tuple[float]:
    """Returns 1 for an answer equal to one of the references but for case, punctuation and articles, else 0."""
    return (float(any(words(answer) == words(answer_text(prediction)) for answer in row.answers)),)


def f1(row: QaRow, prediction: Prediction) -> tuple[float]:
    """Computes F1 of the words with the nearest reference; all or nothing where either says that there is no answer."""
    if NOWHERE in (*row.answers, answer_text(prediction)):
        return exact(row, prediction)
    return (max(_overlap(words(answer), words(answer_text(prediction))) for answer in row.answers),)


def _overlap(reference: list[str], predicted: list[str]) -> float:
    shared = sum((Counter(reference) & Counter(predicted)).values())
    if not reference or not predicted:  # nothing but punctuation and articles
        return float(reference == predicted)
    return 2 * shared / (len(reference) + len(predicted))


def in_form(row: QaRow, prediction: Prediction) -> tuple[float]:
    return (float(prediction.parsed.error is None),)


def abstained(row: QaRow, prediction: Prediction) -> tuple[float]:
    return (float(prediction.parsed.value is not None and prediction.parsed.value["answer"] is None),)


def citations(row: QaRow, prediction: Prediction) -> tuple[float, float]:
    """Counts (citations of passages that hold the answer, citations)."""
    numbers = prediction.parsed.value["cites"] if prediction.parsed.value else []
    return (float(len(set(numbers) & set(supporting(row)))), float(len(numbers)))


def recall(row: QaRow, prediction: Prediction) -> tuple[float, float]:
    """Returns (whether a passage holds the answer, whether the row has an answer)."""
    return (float(bool(supporting(row))), float(row.answerable))


def ndcg(row: QaRow, prediction: Prediction) -> tuple[float, float]:
    """Returns (nDCG of the passages' order, 0 if none holds the answer; whether the row has an answer)."""
    supports = supporting(row)
    gain = sum(1 / math.log2(number + 1) for number in supports)
    best = sum(1 / math.log2(number + 1) for number in range(1, len(supports) + 1))
    return (gain / best if supports else 0.0, float(row.answerable))


def ratio(matrix: np.ndarray) -> float:
    """(N, 2) -> sum of the first column over sum of the second; 0 where that is 0."""
    whole = matrix[:, 1].sum()
    return float((matrix[:, 0] * (matrix[:, 1] > 0)).sum() / whole) if whole else 0.0
