"""Linear models over fixed features, their regularization chosen on the dev rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

__all__ = ["GRID", "choose", "fit_predict"]

GRID = (1.0, 10.0, 100.0, 1000.0)
"""inverse strengths of the L2 penalty that are tried, strongest first"""

PASSES = 30
"""most passes of a fit over the rows: more of them move the scores by less than chance does"""

Predict = Callable[[Any], np.ndarray]


def fit_predict(
    x: Any,
    y: np.ndarray,
    x_dev: Any,
    y_dev: np.ndarray,
    x_test: Any,
    problem: str,
    grid: Sequence[float] = GRID,
) -> np.ndarray:
    """x (rows, F) dense or sparse, y (rows, C) 0 or 1 (a regression: (rows, 1) numbers) -> (N, C) for x_test (N, F).

    single: multinomial logistic regression; multi: one of its own for each label; regression: ridge regression.
    Without dev rows the middle of the grid is taken.
    """
    fits: dict[str, Callable[[float], Predict]] = {
        "single": lambda c: _multinomial(x, y, c),
        "multi": lambda c: _each(x, y, c),
        "regression": lambda c: _ridge(x, y, c),
    }
    return choose(fits[problem], x_dev, y_dev, problem, grid)(x_test)


def choose(
    fit: Callable[[float], Predict], x_dev: Any, y_dev: np.ndarray, problem: str, grid: Sequence[float]
) -> Predict:
    """The fit with the least loss on the dev rows; of equal ones the most strongly regularized."""
    if not len(y_dev):
        return fit(grid[len(grid) // 2])
    best, least = None, np.inf
    for c in grid:
        predict = fit(c)
        loss = _loss(predict(x_dev), y_dev, problem)
        if best is None or loss < least:
            best, least = predict, loss
    assert best is not None
    return best


def _loss(predicted: np.ndarray, y: np.ndarray, problem: str) -> float:
    """predicted, y (rows, C) -> mean cross-entropy in nats, of a regression the mean squared error."""
    if problem == "regression":
        return float(((predicted - y) ** 2).mean())
    p = np.clip(predicted, 1e-12, 1 - 1e-12)
    each = np.log(p) * y + (np.log1p(-p) * (1 - y) if problem == "multi" else 0.0)
    return float(-each.sum(1).mean())


def _multinomial(x: Any, y: np.ndarray, c: float) -> Predict:
    """y (rows, C) with one 1 a row. A label without a row gets probability 0."""
    classes, places = np.unique(y.argmax(1), return_inverse=True)
    columns = np.eye(y.shape[1])[classes]  # of each class: where its probability belongs
    if len(classes) == 1:
        return lambda rows: np.repeat(columns, rows.shape[0], 0)
    model = _logistic(x, places, c)
    return lambda rows: np.asarray(model.predict_proba(rows) @ columns)


def _each(x: Any, y: np.ndarray, c: float) -> Predict:
    """y (rows, C) of 0 and 1. A label that is never there, or always, stays so."""
    models = [_logistic(x, column, c) if 0 < column.sum() < len(column) else None for column in y.T]

    def predict(rows: Any) -> np.ndarray:
        constant = np.ones(rows.shape[0])
        return np.stack(
            [
                constant * column[0] if model is None else model.predict_proba(rows)[:, 1]
                for model, column in zip(models, y.T, strict=True)
            ],
            1,
        )

    return predict


def _logistic(x: Any, y: np.ndarray, c: float) -> Any:
    """y (rows,) of two classes or more -> a fitted LogisticRegression."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # PASSES says why it may stop early
        # L-BFGS, the default, takes minutes on 100,000 sparse features for what SAGA has in seconds
        model = LogisticRegression(C=c, solver="saga", max_iter=PASSES, tol=1e-2, random_state=0)
        return model.fit(x, y)


def _ridge(x: Any, y: np.ndarray, c: float) -> Predict:
    """y (rows, 1) numbers."""
    from sklearn.linear_model import Ridge

    model = Ridge(alpha=1 / c, random_state=0).fit(x, y[:, 0])
    return lambda rows: np.asarray(model.predict(rows))[:, None]
