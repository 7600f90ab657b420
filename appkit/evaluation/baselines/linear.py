"""Linear fits linear models over fixed features and chooses their regularization on the dev rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

__all__ = ["GRID", "Loss", "fit_predict"]

GRID = (1.0, 10.0, 100.0, 1000.0)
"""inverse strengths of the L2 penalty to try, strongest penalty first"""

PASSES = 30
"""passes of a fit over the rows, at most: more change the scores by less than chance does"""

LEAST = 1e-12
"""lower bound of a probability before its logarithm"""

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
    """Fit a linear model for each strength of the grid, and predict the test rows with the best on the dev rows.

    x (rows, F) dense or sparse, y (rows, C) 0 or 1 (a regression: (rows, 1) numbers) -> (N, C) for x_test (N, F).
    single: multinomial logistic regression; multi: one logistic regression for each label; regression: ridge
    regression. The best has the least loss on the dev rows (of equals the strongest penalty); without dev rows it is
    the middle one. loss: of predictions (rows, C) and y; None: the fitted loss.
    """
    fits: dict[str, Callable[[Any, np.ndarray, float], Predict]] = {
        "single": _fit_multinomial,
        "multi": _fit_each_label,
        "regression": _fit_ridge,
    }
    losses = {"single": cross_entropy, "multi": binary_cross_entropy, "regression": squared_error}
    loss = loss or losses[problem]
    if not len(y_dev):
        grid = grid[len(grid) // 2 :][:1]
    best, least = None, np.inf
    for c in grid:
        predict = fits[problem](x, y, c)
        value = loss(predict(x_dev), y_dev) if len(y_dev) else 0.0
        if best is None or value < least:
            best, least = predict, value
    assert best is not None
    return best(x_test)


def cross_entropy(p: np.ndarray, y: np.ndarray) -> float:
    """Compute the mean cross-entropy in nats: p, y (rows, C), one 1 a row in y."""
    return float(-(np.log(np.clip(p, LEAST, 1)) * y).sum(1).mean())


def binary_cross_entropy(p: np.ndarray, y: np.ndarray) -> float:
    """Compute the binary cross-entropy in nats, summed over labels, mean over rows: p, y (rows, C)."""
    p = np.clip(p, LEAST, 1 - LEAST)
    return float(-(np.log(p) * y + np.log1p(-p) * (1 - y)).sum(1).mean())


def squared_error(predicted: np.ndarray, y: np.ndarray) -> float:
    """Compute the mean squared error: predicted, y (rows, 1)."""
    return float(((predicted - y) ** 2).mean())


def _fit_multinomial(x: Any, y: np.ndarray, c: float) -> Predict:
    """Fit a multinomial model: y (rows, C) with one 1 a row. A label without a row gets probability 0."""
    classes, places = np.unique(y.argmax(1), return_inverse=True)
    columns = np.eye(y.shape[1])[classes]  # of each class: where its probability belongs
    if len(classes) == 1:
        return lambda rows: np.repeat(columns, rows.shape[0], 0)
    model = _fit_logistic(x, places, c)
    return lambda rows: np.asarray(model.predict_proba(rows) @ columns)


def _fit_each_label(x: Any, y: np.ndarray, c: float) -> Predict:
    """Fit a model for each label: y (rows, C) of 0 and 1. A label that is constant in y is predicted as constant."""
    models = [_fit_logistic(x, column, c) if 0 < column.sum() < len(column) else None for column in y.T]

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


def _fit_logistic(x: Any, y: np.ndarray, c: float) -> Any:
    """Fit scikit-learn's LogisticRegression: y (rows,) of two classes or more."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # PASSES explains why it may stop early
        # L-BFGS, the default, takes minutes on 100,000 sparse features, SAGA seconds
        model = LogisticRegression(C=c, solver="saga", max_iter=PASSES, tol=1e-2, random_state=0)
        return model.fit(x, y)


def _fit_ridge(x: Any, y: np.ndarray, c: float) -> Predict:
    """Fit a ridge regression: y (rows, 1) numbers."""
    from sklearn.linear_model import Ridge

    model = Ridge(alpha=1 / c, random_state=0).fit(x, y[:, 0])
    return lambda rows: np.asarray(model.predict(rows))[:, None]
