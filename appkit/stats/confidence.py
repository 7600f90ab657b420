"""How likely an answer is right: the model's own log-probability of it, calibrated on the test rows.

The probability that a model gives to its whole answer ranks answers well, but is no frequency: every step of a
long answer multiplies it down. Platt scaling (Platt 1999) turns its logarithm s into sigmoid(intercept + slope · s).
On three nl2fol bundles the sum told right from wrong about as well as mean, minimum or two of them together (AUROC 0.89
over all rows); on harder sentences its confidence was too high by 0.03 at most, that of the mean by 0.1.
Reading a calibration and using it needs no numpy.
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
    """Why there is no calibration."""


class Answered(NamedTuple):
    """An answer whose worth is known.

    log_probabilities: in nats, of each generated token under the model itself, the end of turn included.
    whole: it parses and was not cut off. right: by the task's primary metric.
    """

    log_probabilities: Sequence[float]
    whole: bool
    right: bool


class Bin(BaseModel):
    """Rows of like confidence: its mean, the share of them that is right, how many."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    confidence: float
    right: float
    n: int


class Calibration(BaseModel):
    """What turns log-probabilities into a probability, and how well it does on rows it was not fitted on.

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
    """What was chosen on the dev rows for a label head's probabilities, and what that does on the test rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(gt=0)
    threshold: float | None
    dev_rows: int
    ece_before: float | None = Field(
        description="expected calibration error of the best label at temperature 1"
    )
    ece: float | None = Field(description="the same at the chosen temperature")

    def __str__(self) -> str:
        told = f"temperature {self.temperature:.2f} from {self.dev_rows} dev rows"
        if self.ece is not None:
            told += f", expected calibration error {self.ece_before:.3f} before and {self.ece:.3f} after"
        return told if not self.threshold else f"{told}, threshold {self.threshold:.2f}"


def confidence(calibration: Calibration, log_probabilities: Sequence[float], whole: bool) -> float:
    """The probability, 0 to 1, that the answer is right; arguments as in `Answered`.

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
    """The calibration of a bundle; None where there is none, as in bundles written before there were any."""
    found = manifest.get("confidence")
    return None if found is None else Calibration.model_validate(found)


def fit(rows: Sequence[Answered], metric: str) -> Calibration:
    """Fit on all rows, measure by cross-fitting.

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
        judged[inside] = _judge(_curve(sums[~inside], right[~inside]), sums[inside])
    curve = _curve(sums, right)
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
    """The calibration of evaluated answers by a metric's statistics (N, K) of them.

    Raises Uncalibrated where a row of that metric is not just right (1) or wrong (0), and as `fit` does.
    """
    if (
        statistics.shape[1] != 1
        or not set(statistics[:, 0].tolist()) <= {0.0, 1.0}
        or not metric.higher_is_better
    ):
        raise Uncalibrated(f"{metric.name} does not judge a row as right (1) or wrong (0)")
    rows = [
        Answered(one.log_probabilities, one.whole, bool(right))
        for one, right in zip(predictions, statistics[:, 0], strict=True)
    ]
    return fit(rows, metric.name)


def auroc(judged: np.ndarray, right: np.ndarray) -> float:
    """judged (N,) confidences, right (N,) 0 or 1, both among them -> chance that a right one is above a wrong one.

    Ties count half.
    """
    good, bad = judged[right == 1], judged[right == 0]
    above = (good[:, None] > bad).mean() + 0.5 * (good[:, None] == bad).mean()
    return float(above)


def reliability(judged: np.ndarray, right: np.ndarray) -> tuple[Bin, ...]:
    """judged (N,), right (N,) -> bins of equal mass, the least confident first."""
    from appkit.stats import intervals

    found = intervals.reliability(right, judged).tolist()
    return tuple(Bin(confidence=mean, right=share, n=int(rows)) for share, mean, rows in found)


def ece(bins: Sequence[Bin]) -> float:
    """Expected calibration error: |confidence - share right| of the bins, weighted by their rows."""
    return sum(one.n * abs(one.confidence - one.right) for one in bins) / sum(one.n for one in bins)


class _Curve(NamedTuple):
    intercept: float
    slope: float
    not_whole: float


def _curve(sums: np.ndarray, right: np.ndarray) -> _Curve:
    """sums (N,) of log-probabilities, nan where the answer is not whole; right (N,) 0 or 1."""
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

    # an answer that the model finds likelier is never less trusted, whatever a few rows say
    best = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(None, None), (0, None)]).x
    slope = float(best[1]) / scale
    return _Curve(float(best[0]) - slope * float(x.mean()), slope, not_whole)


def _judge(curve: _Curve, sums: np.ndarray) -> np.ndarray:
    """sums (N,), nan where not whole -> (N,) confidences."""
    import numpy as np

    logits = curve.intercept + curve.slope * np.nan_to_num(sums)
    return np.where(np.isnan(sums), curve.not_whole, 1 / (1 + np.exp(-np.clip(logits, -500, 500))))
