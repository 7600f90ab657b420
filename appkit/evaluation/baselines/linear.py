"""Linear models over fixed features, their regularization chosen on the dev rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

__all__ = ["GRID", "Loss", "fit_predict"]

GRID = (1.0, 10.0, 100.0, 1000.0)
"""inverse strengths of the L2 penalty that are tried, strongest first"""

PASSES = 30
"""most passes of a fit over the rows: more of them move the scores by less than chance does"""

LEAST = 1e-12
"""of a probability whose logarithm is taken"""

Predict = Callable[[Any], np.ndarray]
Loss = Callable[[np.ndarray, np.ndarray], float]


def fit_predict(
    x: Any,
    y: np.ndarray,
    x_dev: Any,
    y_dev: np.ndarray,
    x_test: Any,
    problem: str,
    grid: Sequence[float] = GRID,
    loss: Loss | None = None,
) -> np.ndarray:
    """x (rows, F) dense or sparse, y (rows, C) 0 or 1 (a regression: (rows, 1) numbers) -> (N, C) for x_test (N, F).

    single: multinomial logistic regression; multi: one of its own for each label; regression: ridge regression.
    Of the grid's strengths the one with the least loss on the dev rows is taken (the strongest penalty of equals);
    without dev rows the middle one. loss: of predictions (rows, C) and y; none: the one that was fitted.
    """
    fits: dict[str, Callable[[Any, np.ndarray, float], Predict]] = {
        "single": _multinomial,
        "multi": _each,
        "regression": _ridge,
    }
    losses = {"single": cross_entropy, "multi": binary_cross_entropy, "regression": squared_error}
    loss = loss or losses[problem]
    if not len(y_dev):
        grid = grid[len(grid) // 2 :][:1]
    best, least = None, np.inf
    for c in grid:
        predict = fits[problem](x, y, c)
        got = loss(predict(x_dev), y_dev) if len(y_dev) else 0.0
        if best is None or got < least:
            best, least = predict, got
    assert best is not None
    return best(x_test)


def cross_entropy(p: np.ndarray, y: np.ndarray) -> float:
    """p, y (rows, C), one 1 a row -> mean in nats."""
    return float(-(np.log(np.clip(p, LEAST, 1)) * y).sum(1).mean())


def binary_cross_entropy(p: np.ndarray, y: np.ndarray) -> float:
    """p, y (rows, C) -> mean over the rows of the labels' sum, in nats."""
    p = np.clip(p, LEAST, 1 - LEAST)
    return float(-(np.log(p) * y + np.log1p(-p) * (1 - y)).sum(1).mean())


def squared_error(predicted: np.ndarray, y: np.ndarray) -> float:
    """predicted, y (rows, 1) -> mean."""
    return float(((predicted - y) ** 2).mean())


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
