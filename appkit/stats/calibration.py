"""Calibration chooses a trained label head's temperature and thresholds on the dev rows."""

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
    """Choose temperature and threshold on the dev rows; return the head with them.

    logits (N, C); targets: N labels, or tuples of labels. The temperature has the least cross-entropy (Guo et al.
    2017), over rows whose label the head knows. The threshold has the best micro F1 (several labels), or the best
    accuracy, the label `oos` included.
    """
    if spec.problem == "multi":
        truth = _mark_labels(spec, targets)
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
    """Find the threshold of the best micro F1, or of the best accuracy with `oos`: probabilities (N, C), N targets."""
    if spec.problem == "multi":
        truth = _mark_labels(spec, targets)
        return _best_f1(probabilities, truth)
    return _best_accuracy(spec, probabilities, targets)


def _mark_labels(spec: HeadSpec, targets: Sequence[str | tuple[str, ...]]) -> np.ndarray:
    """Mark the labels of N targets: (N, C), 1 where a label applies; a text is one label."""
    sets = [{target} if isinstance(target, str) else set(target) for target in targets]
    return np.array([[label in names for label in spec.labels] for names in sets], dtype=np.float64)


def _temperature(spec: HeadSpec, logits: np.ndarray, truth: np.ndarray) -> float:
    """Find the temperature of least cross-entropy: logits, truth (N, C)."""
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        p = spec.model_copy(update={"temperature": float(np.exp(log_temperature))}).probabilities(logits)
        p = np.clip(p, 1e-12, 1 - 1e-12)
        both = np.log(p) * truth + (np.log1p(-p) * (1 - truth) if spec.problem == "multi" else 0.0)
        return float(-both.sum(1).mean())

    best = minimize_scalar(loss, bounds=(np.log(COOLEST), np.log(HOTTEST)), method="bounded")
    return float(np.exp(best.x))


def _best_f1(p: np.ndarray, truth: np.ndarray) -> float:
    """Find the threshold of the best micro F1, nearest to 0.5 among equals: probabilities and truth (N, C)."""
    grid = np.linspace(0.05, 0.95, 91)
    scores = [2 * ((p >= t) * truth).sum() / max((p >= t).sum() + truth.sum(), 1) for t in grid]
    best = max(scores)
    return float(
        min((t for t, score in zip(grid, scores, strict=True) if score == best), key=lambda t: abs(t - 0.5))
    )


def _best_accuracy(spec: HeadSpec, p: np.ndarray, targets: Sequence[str]) -> float:
    """Find the threshold below which a row is `oos`, the lowest among equals: 0 where no dev row is `oos`."""
    named = [spec.labels[place] for place in p.argmax(1)]
    top = p.max(1)
    grid = np.linspace(0, 0.99, 100)

    def accuracy(threshold: float) -> float:
        answers = [
            spec.oos if probability < threshold else name
            for probability, name in zip(top, named, strict=True)
        ]
        return float(np.mean([a == b for a, b in zip(answers, targets, strict=True)]))

    return float(grid[int(np.argmax([accuracy(threshold) for threshold in grid]))])


def calibration_error(spec: HeadSpec, logits: np.ndarray, targets: Sequence[Any]) -> tuple[float, float]:
    """Compute the expected calibration error at temperature 1 and at the head's: logits (N, C), one label a row."""
    right = np.array([spec.labels[place] for place in logits.argmax(1)]) == np.array(targets)
    errors = []
    for temperature in (1.0, spec.temperature):
        p = spec.model_copy(update={"temperature": temperature}).probabilities(logits).max(1)
        errors.append(intervals.calibration_error(intervals.reliability(right, p)))
    return errors[0], errors[1]
