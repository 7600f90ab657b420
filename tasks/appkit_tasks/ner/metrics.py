"""Scores of predicted entities against a row's own. An entity is right if start, end and type are: nothing is half
right. Equals seqeval with mode="strict" and scheme=IOB2."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appkit_tasks.ner.load import NerRow
from appkit_tasks.ner.tags import Entity

if TYPE_CHECKING:
    import numpy as np

    from appkit.task import Prediction

__all__ = ["all_right", "counts", "f1", "precision", "predicted", "recall"]


def predicted(prediction: Prediction) -> list[Entity]:
    """The entities of an answer, sorted; an answer that could not be read has none."""
    return sorted(Entity(one["start"], one["end"], one["type"]) for one in prediction.parsed.value or ())


def counts(row: NerRow, prediction: Prediction) -> tuple[float, float, float]:
    """How many entities are right, predicted, and in the row."""
    found = predicted(prediction)
    right = len(set(found) & set(row.entities))
    return float(right), float(len(found)), float(len(row.entities))


def all_right(row: NerRow, prediction: Prediction) -> tuple[float]:
    """1 if the entities are those of the row, none missed and none added."""
    return (float(tuple(predicted(prediction)) == row.entities),)


def f1(matrix: np.ndarray) -> float:
    """(N, 3) of `counts` -> micro F1; 0 where nothing was predicted and nothing is there, as seqeval has it."""
    right, found, gold = matrix.sum(0).tolist()
    return 2 * right / (found + gold) if found + gold else 0.0


def precision(matrix: np.ndarray) -> float:
    """(N, 3) of `counts` -> share of the predicted entities that are right; 0 of none."""
    right, found, _ = matrix.sum(0).tolist()
    return right / found if found else 0.0


def recall(matrix: np.ndarray) -> float:
    """(N, 3) of `counts` -> share of the rows' entities that were found; 0 of none."""
    right, _, gold = matrix.sum(0).tolist()
    return right / gold if gold else 0.0
