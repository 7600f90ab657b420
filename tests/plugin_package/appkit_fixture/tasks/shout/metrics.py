"""Scores of single rows; their mean is the metric."""

from __future__ import annotations

from appkit.task import Prediction
from appkit_fixture.tasks.shout.load import ShoutRow

__all__ = ["exact"]


def exact(row: ShoutRow, prediction: Prediction) -> tuple[float]:
    """1 if the answer is the reference, else 0."""
    return (float(prediction.text == row.shout),)
