"""What is chosen on the dev rows once a label head is trained: temperature and thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from appkit.stats import intervals
from appkit.task import HeadSpec

__all__ = ["LEAST", "best_threshold", "calibration_error", "settle"]

LEAST = 20
"""dev rows below which nothing is chosen: a temperature of few rows is noise"""
COOLEST, HOTTEST = 0.2, 10.0


def settle(spec: HeadSpec, logits: np.ndarray, targets: Sequence[Any]) -> HeadSpec:
    """logits (N, C), targets (labels or tuples of them) of the dev rows -> the head with temperature and threshold.

    The temperature has the least cross-entropy (Guo et al. 2017), over rows whose label the head knows. The threshold
    has the best micro F1 (several labels), or the best accuracy, the label `oos` included.
    """
    if spec.problem == "multi":
        truth = np.array([[label in target for label in spec.labels] for target in targets], dtype=np.float64)
        if len(truth) < LEAST:
            return spec
        spec = spec.model_copy(update={"temperature": _temperature(spec, logits, truth)})
        return spec.model_copy(
            update={"threshold": best_threshold(spec, spec.probabilities(logits), targets)}
        )
    known = [place for place, target in enumerate(targets) if target in spec.labels]
    if len(known) >= LEAST:
        truth = np.eye(spec.outputs)[[spec.labels.index(targets[place]) for place in known]]
        spec = spec.model_copy(update={"temperature": _temperature(spec, logits[known], truth)})
    if spec.oos is not None and len(targets) >= LEAST:
        spec = spec.model_copy(
            update={"threshold": best_threshold(spec, spec.probabilities(logits), targets)}
        )
    return spec


def best_threshold(spec: HeadSpec, probabilities: np.ndarray, targets: Sequence[Any]) -> float:
    """probabilities (N, C), targets of rows -> the threshold of the best micro F1, or accuracy with `oos`."""
    if spec.problem == "multi":
        truth = np.array([[label in target for label in spec.labels] for target in targets], dtype=np.float64)
        return _best_f1(probabilities, truth)
    return _best_accuracy(spec, probabilities, targets)


def _temperature(spec: HeadSpec, logits: np.ndarray, truth: np.ndarray) -> float:
    """logits, truth (N, C) -> the temperature of least cross-entropy."""
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        p = spec.model_copy(update={"temperature": float(np.exp(log_temperature))}).probabilities(logits)
        p = np.clip(p, 1e-12, 1 - 1e-12)
        both = np.log(p) * truth + (np.log1p(-p) * (1 - truth) if spec.problem == "multi" else 0.0)
        return float(-both.sum(1).mean())

    best = minimize_scalar(loss, bounds=(np.log(COOLEST), np.log(HOTTEST)), method="bounded")
    return float(np.exp(best.x))


def _best_f1(p: np.ndarray, truth: np.ndarray) -> float:
    """(N, C) probabilities and truth -> the threshold of the best micro F1, nearest to 0.5 among equals."""
    grid = np.linspace(0.05, 0.95, 91)
    scores = [2 * ((p >= t) * truth).sum() / max((p >= t).sum() + truth.sum(), 1) for t in grid]
    best = max(scores)
    return float(
        min((t for t, score in zip(grid, scores, strict=True) if score == best), key=lambda t: abs(t - 0.5))
    )


def _best_accuracy(spec: HeadSpec, p: np.ndarray, targets: Sequence[str]) -> float:
    """The threshold below which a row is `oos`, the lowest among equals: 0 where no dev row is."""
    named = [spec.labels[place] for place in p.argmax(1)]
    top = p.max(1)
    grid = np.linspace(0, 0.99, 100)

    def accuracy(threshold: float) -> float:
        said = [spec.oos if one < threshold else name for one, name in zip(top, named, strict=True)]
        return float(np.mean([a == b for a, b in zip(said, targets, strict=True)]))

    return float(grid[int(np.argmax([accuracy(threshold) for threshold in grid]))])


def calibration_error(spec: HeadSpec, logits: np.ndarray, targets: Sequence[Any]) -> tuple[float, float]:
    """logits (N, C) of test rows with one label each -> expected calibration error, before and after."""
    right = np.array([spec.labels[place] for place in logits.argmax(1)]) == np.array(targets)
    errors = []
    for temperature in (1.0, spec.temperature):
        p = spec.model_copy(update={"temperature": temperature}).probabilities(logits).max(1)
        errors.append(intervals.calibration_error(intervals.reliability(right, p)))
    return errors[0], errors[1]
