"""How good an answer is, and how good what it was given from."""

from __future__ import annotations

import math
import re
import string
from collections import Counter

import numpy as np

from appkit.task import Prediction
from appkit_tasks.qa.load import NOWHERE, QaRow, supporting

__all__ = ["abstained", "citations", "exact", "f1", "in_form", "ndcg", "ratio", "recall", "words"]


def said(prediction: Prediction) -> str:
    """The words of an answer; of one that cannot be read all of it."""
    value = prediction.parsed.value
    return prediction.text if value is None else value["answer"] or NOWHERE


def words(text: str) -> list[str]:
    """The words of a text without case, punctuation and articles, as SQuAD's own scorer has them (arXiv 1606.05250)."""
    plain = "".join(char for char in text.lower() if char not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", plain).split()


def exact(row: QaRow, prediction: Prediction) -> tuple[float]:
    """Equal to one of the answers but for case, punctuation and articles."""
    return (float(any(words(answer) == words(said(prediction)) for answer in row.answers)),)


def f1(row: QaRow, prediction: Prediction) -> tuple[float]:
    """F1 of the words, with the nearest of the answers; all or nothing where one of both is that there is none."""
    if NOWHERE in (*row.answers, said(prediction)):
        return exact(row, prediction)
    return (max(_overlap(words(answer), words(said(prediction))) for answer in row.answers),)


def _overlap(reference: list[str], given: list[str]) -> float:
    shared = sum((Counter(reference) & Counter(given)).values())
    if not reference or not given:  # nothing but punctuation and articles
        return float(reference == given)
    return 2 * shared / (len(reference) + len(given))


def in_form(row: QaRow, prediction: Prediction) -> tuple[float]:
    return (float(prediction.parsed.error is None),)


def abstained(row: QaRow, prediction: Prediction) -> tuple[float]:
    return (float(prediction.parsed.value is not None and prediction.parsed.value["answer"] is None),)


def citations(row: QaRow, prediction: Prediction) -> tuple[float, float]:
    """(citations of passages that hold the answer, citations)."""
    numbers = prediction.parsed.value["cites"] if prediction.parsed.value else []
    return (float(len(set(numbers) & set(supporting(row)))), float(len(numbers)))


def recall(row: QaRow, prediction: Prediction) -> tuple[float, float]:
    """(whether a passage holds the answer, whether there is one)."""
    return (float(bool(supporting(row))), float(row.answerable))


def ndcg(row: QaRow, prediction: Prediction) -> tuple[float, float]:
    """(nDCG of the passages' order, 0 if none holds the answer; whether there is one)."""
    held = supporting(row)
    gain = sum(1 / math.log2(number + 1) for number in held)
    best = sum(1 / math.log2(number + 1) for number in range(1, len(held) + 1))
    return (gain / best if held else 0.0, float(row.answerable))


def ratio(matrix: np.ndarray) -> float:
    """(N, 2) -> sum of the first column over sum of the second; 0 where that is 0."""
    whole = matrix[:, 1].sum()
    return float((matrix[:, 0] * (matrix[:, 1] > 0)).sum() / whole) if whole else 0.0
