"""Scores predicted entities against a row's own, as seqeval does with mode="strict" and scheme=IOB2.

An entity is right if its start, end and type are right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from appkit_tasks.ner.load import NerRow
from appkit_tasks.ner.tags import Entity

if TYPE_CHECKING:
    import numpy as np

    from appkit.task import Prediction

__all__ = ["all_right", "counts", "f1", "precision", "predicted", "recall"]


def predicted(prediction: Prediction) -> list[Entity]:
    """Returns the entities of an answer, sorted; none for an answer that could not be read."""
    return sorted(
        Entity(entity["start"], entity["end"], entity["type"]) for entity in prediction.parsed.value or ()
    )


def counts(row: NerRow, prediction: Prediction) -> tuple[float, float, float]:
    """Counts the entities that are right, predicted, and in the row."""
    answer = predicted(prediction)
    right = len(set(answer) & set(row.entities))
    return float(right), float(len(answer)), float(len(row.entities))


def all_right(row: NerRow, prediction: Prediction) -> tuple[float]:
    """Returns 1 if the answer has exactly the entities of the row, else 0."""
    return (float(tuple(predicted(prediction)) == row.entities),)


def f1(matrix: np.ndarray) -> float:
    """(N, 3) of `counts` -> micro F1; 0 where there is neither entity nor prediction, as seqeval has it."""
    right, claimed, gold = matrix.sum(0).tolist()
    return 2 * right / (claimed + gold) if claimed + gold else 0.0


def precision(matrix: np.ndarray) -> float:
    """(N, 3) of `counts` -> share of the predicted entities that are right; 0 where none is predicted."""
    right, claimed, _ = matrix.sum(0).tolist()
    return right / claimed if claimed else 0.0


def recall(matrix: np.ndarray) -> float:
    """(N, 3) of `counts` -> share of the rows' entities that were found; 0 where the rows have none."""
    right, _, gold = matrix.sum(0).tolist()
    return right / gold if gold else 0.0
