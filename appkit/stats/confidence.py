"""Confidence is the probability that an answer is right: the model's log-probability, calibrated on the test rows.

The probability that a model gives to its whole answer ranks answers well, but it is not a frequency: every token of a
long answer makes it smaller. Platt scaling (Platt 1999) turns its logarithm s into sigmoid(intercept + slope · s).
On three nl2fol bundles the sum of the tokens' log-probabilities separated right from wrong answers about as well as
their mean, their minimum or two of these together (AUROC 0.89 over all rows); on harder sentences its confidence was
too high by at most 0.03, that of the mean by 0.1. Reading a calibration and using it needs no numpy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    import numpy as np

    from appkit.task import Metric, Prediction

__all__ = [
    "Answered",
    "Bin",
    "Calibration",
    "LabelCalibration",
    "Uncalibrated",
    "confidence",
    "fit",
    "fit_metric",
    "of_manifest",
]

LEAST_ROWS = 20
FOLDS = 5


class Uncalibrated(ValueError):
    """The rows allow no calibration; the message says why."""


class Answered(NamedTuple):
    """An answer that was compared with its reference."""

    log_probabilities: Sequence[float]
    """in nats, of each generated token under the model itself, the end of turn included"""
    whole: bool
    """it parses and was not cut off"""
    right: bool
    """by the task's primary metric"""


class Bin(BaseModel):
    """Rows of similar confidence."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    confidence: float
    """mean over the rows, 0 to 1"""
    right: float
    """share of the rows that is right, 0 to 1"""
    n: int
    """rows"""


class Calibration(BaseModel):
    """The curve from log-probabilities to a probability, and its quality on rows it was not fitted on.

    The measures are cross-fitted: each of the n rows is judged by a fit on the other folds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    intercept: float = Field(allow_inf_nan=False)
    slope: float = Field(ge=0, allow_inf_nan=False, description="per nat of the answer's log-probability")
    not_whole: float = Field(
        ge=0,
        le=1,
        description="share right of the answers that do not parse or were cut off; 0 if there were none",
    )
    metric: str = Field(description="what being right means")
    n: int = Field(description="rows, whole or not")
    right: float = Field(description="share of them that is right")
    auroc: float = Field(description="chance that a right answer has more confidence than a wrong one")
    brier: float = Field(description="mean squared error; right · (1 - right) is what a constant would have")
    ece: float = Field(description="mean distance of confidence and share right, in bins of equal mass")
    ece_noise: float = Field(description="the ece that so many rows would show were the confidence perfect")
    bins: tuple[Bin, ...]

    def __str__(self) -> str:
        return f"AUROC {self.auroc:.3f}, ECE {self.ece:.3f}, cross-fitted on {self.n} test rows"


class LabelCalibration(BaseModel):
    """Temperature and threshold of a label head, chosen on the dev rows, and their effect on the test rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(gt=0)
    """logits are divided by it"""
    threshold: float | None
    """least probability of a label, 0 to 1; None where none is needed"""
    dev_rows: int
    """rows that both were chosen on"""
    ece_before: float | None = Field(
        description="expected calibration error of the best label at temperature 1"
    )
    ece: float | None = Field(description="the same at the chosen temperature")

    def __str__(self) -> str:
        text = f"temperature {self.temperature:.2f} from {self.dev_rows} dev rows"
        if self.ece is not None:
            text += f", expected calibration error {self.ece_before:.3f} before and {self.ece:.3f} after"
        return text if not self.threshold else f"{text}, threshold {self.threshold:.2f}"


def confidence(calibration: Calibration, log_probabilities: Sequence[float], whole: bool) -> float:
    """Compute the probability, 0 to 1, that an answer is right; arguments as in `Answered`.

    Raises ValueError for a whole answer without log-probabilities.
    """
    if not whole:
        return calibration.not_whole
    if not log_probabilities:
        raise ValueError(
            "an answer has one log-probability a token, got none; generate with log_probabilities"
        )
    logit = calibration.intercept + calibration.slope * math.fsum(log_probabilities)
    return 1 / (1 + math.exp(min(-logit, 700.0)))  # exp overflows beyond


def of_manifest(manifest: Mapping[str, Any]) -> Calibration | None:
    """Read the calibration from a bundle's manifest; None where it has none, as bundles of older versions."""
    fields = manifest.get("confidence")
    return None if fields is None else Calibration.model_validate(fields)


def fit(rows: Sequence[Answered], metric: str) -> Calibration:
    """Fit a calibration on all rows and measure its quality by cross-fitting.

    Raises Uncalibrated for fewer than LEAST_ROWS whole answers, for whole answers that are all right or all wrong,
    and for answers without log-probabilities.
    """
    import numpy as np

    whole = [row for row in rows if row.whole]
    if len(whole) < LEAST_ROWS:
        raise Uncalibrated(
            f"{len(whole)} of {len(rows)} answers parse and were not cut off, {LEAST_ROWS} are needed"
        )
    if len({row.right for row in whole}) == 1:
        raise Uncalibrated(
            f"all {len(whole)} answers that parse are {'right' if whole[0].right else 'wrong'}"
        )
    if not all(row.log_probabilities for row in whole):
        raise Uncalibrated("the answers were kept without their log-probabilities")
    sums = np.array([math.fsum(row.log_probabilities) if row.whole else np.nan for row in rows])
    right = np.array([row.right for row in rows], dtype=np.float64)
    fold = np.random.default_rng(0).permutation(len(rows)) % FOLDS
    judged = np.zeros(len(rows))
    for number in range(FOLDS):
        inside = fold == number
        judged[inside] = _judge(_fit_curve(sums[~inside], right[~inside]), sums[inside])
    curve = _fit_curve(sums, right)
    bins = reliability(judged, right)
    perfect = (
        np.random.default_rng(1).random((200, len(rows))) < judged
    )  # what chance makes of such confidences
    return Calibration(
        intercept=curve.intercept,
        slope=curve.slope,
        not_whole=curve.not_whole,
        metric=metric,
        n=len(rows),
        right=float(right.mean()),
        auroc=auroc(judged, right),
        brier=float(((judged - right) ** 2).mean()),
        ece=ece(bins),
        ece_noise=float(np.mean([ece(reliability(judged, drawn)) for drawn in perfect])),
        bins=bins,
    )


def fit_metric(metric: Metric, statistics: np.ndarray, predictions: Sequence[Prediction]) -> Calibration:
    """Fit the calibration of N evaluated answers to a metric's statistics (N, K).

    Raises Uncalibrated where the metric scores rows other than right (1) or wrong (0), and as `fit` does.
    """
    if (
        statistics.shape[1] != 1
        or not set(statistics[:, 0].tolist()) <= {0.0, 1.0}
        or not metric.higher_is_better
    ):
        raise Uncalibrated(f"{metric.name} does not judge a row as right (1) or wrong (0)")
    rows = [
        Answered(prediction.log_probabilities, prediction.whole, bool(right))
        for prediction, right in zip(predictions, statistics[:, 0], strict=True)
    ]
    return fit(rows, metric.name)


def auroc(judged: np.ndarray, right: np.ndarray) -> float:
    """Compute the chance that a right answer has more confidence than a wrong one; ties count half.

    judged (N,) confidences, right (N,) 0 or 1, with at least one of each.
    """
    good, bad = judged[right == 1], judged[right == 0]
    above = (good[:, None] > bad).mean() + 0.5 * (good[:, None] == bad).mean()
    return float(above)


def reliability(judged: np.ndarray, right: np.ndarray) -> tuple[Bin, ...]:
    """Put confidences judged (N,) and right (N,) into bins of equal mass, the least confident first."""
    from appkit.stats import intervals

    bins = intervals.reliability(right, judged).tolist()
    return tuple(Bin(confidence=mean, right=share, n=int(rows)) for share, mean, rows in bins)


def ece(bins: Sequence[Bin]) -> float:
    """Compute the expected calibration error: |confidence - share right| of the bins, weighted by their rows."""
    return sum(b.n * abs(b.confidence - b.right) for b in bins) / sum(b.n for b in bins)


class _Curve(NamedTuple):
    intercept: float
    slope: float
    not_whole: float


def _fit_curve(sums: np.ndarray, right: np.ndarray) -> _Curve:
    """Fit Platt's curve: sums (N,) of log-probabilities, nan where the answer is not whole; right (N,) 0 or 1."""
    import numpy as np
    from scipy.optimize import minimize

    whole = ~np.isnan(sums)
    not_whole = float(right[~whole].mean()) if not whole.all() else 0.0
    x, y = sums[whole], right[whole]
    positive = y.sum()
    # Platt's targets, not 0 and 1: the fit stays finite where the rows are all right, all wrong or separable
    target = np.where(y == 1, (positive + 1) / (positive + 2), 1 / (len(y) - positive + 2))
    scale = float(x.std()) or 1.0
    z = (x - x.mean()) / scale

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        logits = weights[0] + weights[1] * z
        error = 1 / (1 + np.exp(-np.clip(logits, -500, 500))) - target
        total = np.sum(np.logaddexp(0, logits) - target * logits)
        return float(total), np.array([error.sum(), (error * z).sum()])

    # the slope is not negative: a likelier answer never gets less confidence because of a few rows
    best = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(None, None), (0, None)]).x
    slope = float(best[1]) / scale
    return _Curve(float(best[0]) - slope * float(x.mean()), slope, not_whole)


def _judge(curve: _Curve, sums: np.ndarray) -> np.ndarray:
    """Compute confidences (N,) from sums (N,), nan where the answer is not whole."""
    import numpy as np

    logits = curve.intercept + curve.slope * np.nan_to_num(sums)
    return np.where(np.isnan(sums), curve.not_whole, 1 / (1 + np.exp(-np.clip(logits, -500, 500))))
