"""Draws the values of a metric as bars with intervals, all on one scale that holds zero."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from appkit_apps.markup import show

__all__ = [
    "OURS",
    "Measure",
    "Scale",
    "Score",
    "draw",
    "draw_bar",
    "fit_scale",
    "order",
    "read_measure",
    "read_score",
    "read_scores",
]

OURS = "adapter"
"""how results name the bundle itself; its variants, such as the one without passages, have this name and a comma"""
NAME = 80
"""characters of a contender's name that are shown"""


@dataclass(frozen=True)
class Score:
    """A metric of one contender."""

    who: str
    value: float
    low: float
    high: float
    n: int
    """rows"""

    @property
    def words(self) -> str:
        """The value with its interval, such as `0.343 (0.277 to 0.408, n = 213)`."""
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f}, n = {self.n})"


@dataclass(frozen=True)
class Measure:
    """What a gateway says of a metric."""

    description: str
    higher_is_better: bool
    perfect: float | None
    """value of perfect answers; None: no one knows"""


@dataclass(frozen=True)
class Scale:
    """The values at the ends of a bar's track."""

    start: float
    end: float

    def place(self, value: float) -> float:
        """Returns where a value lies on the track, in percent."""
        return min(100.0, max(0.0, 100 * (value - self.start) / (self.end - self.start)))


def read_scores(columns: Any, metric: str) -> list[Score]:
    """Reads a metric of each contender from the gateway's `metrics`, in their order; leaves out who has none."""
    scores = []
    for who, column in columns.items() if isinstance(columns, Mapping) else ():
        values = column.get("metrics") if isinstance(column, Mapping) else None
        if (
            score := read_score(str(who), values.get(metric) if isinstance(values, Mapping) else None)
        ) is not None:
            scores.append(score)
    return scores


def read_score(who: str, values: Any) -> Score | None:
    """Reads a score; None where a number is missing: a zero in its place would be a lie."""
    if not isinstance(values, Mapping):
        return None
    value, low, high, n = (values.get(name) for name in ("value", "low", "high", "n"))
    if not (_is_number(value) and _is_number(low) and _is_number(high) and _is_number(n)):
        return None
    return Score(who, float(value), float(low), float(high), int(n))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def read_measure(measures: Any, metric: str) -> Measure | None:
    """Reads what the gateway's `measures` say of a metric; None where they say nothing, as an older gateway's."""
    values = measures.get(metric) if isinstance(measures, Mapping) else None
    if not isinstance(values, Mapping) or not isinstance(values.get("higher_is_better"), bool):
        return None
    perfect = values.get("perfect")
    return Measure(
        str(values.get("description") or ""),
        values["higher_is_better"],
        float(perfect) if _is_number(perfect) else None,
    )


def order(scores: Sequence[Score], measure: Measure) -> list[Score]:
    """Orders scores, the best first."""
    return sorted(scores, key=lambda score: score.value, reverse=measure.higher_is_better)


def fit_scale(scores: Sequence[Score], measure: Measure) -> Scale:
    """Fits one scale to all scores: from 0 to the perfect score, or to the largest value where lower is better.

    It is wider where an interval is: correlations go below zero.
    """
    ends = [end for score in scores for end in (score.value, score.low, score.high)]
    start = min(0.0, *ends)
    end = max(0.0, *ends, *([measure.perfect] if measure.perfect is not None else []))
    return Scale(start, end if end > start else start + 1.0)


def draw(scores: Sequence[Score], measure: Measure | None) -> str:
    """Writes scores as a list: who, the value in words, and a bar; words alone where the measure is unknown."""
    scale = fit_scale(scores, measure) if measure is not None and scores else None
    items = "".join(
        f'<li class="{"ours" if score.who == OURS else "rival"}"><span class="who">{show(score.who, NAME)}</span> '
        f'<span class="value">{score.words}</span>{draw_bar(score, scale) if scale else ""}</li>'
        for score in scores
    )
    caption = "The gateway does not say which score would be perfect: no bars are drawn."
    if measure is not None and scale is not None:
        caption = _describe_scale(scale, measure)
    return f'<ul class="bars">{items}</ul><p class="scale">{caption}</p>'


def draw_bar(score: Score, scale: Scale) -> str:
    """Writes a bar from zero to the value, and the interval as a line on it; the words beside it say the same."""
    zero, value, low, high = map(scale.place, (0.0, score.value, score.low, score.high))
    left, right = min(zero, value), max(zero, value)
    return (
        '<span class="bar" aria-hidden="true">'
        f'<i class="fill" style="left:{left:.2f}%;width:{right - left:.2f}%"></i>'
        f'<i class="spread" style="left:{low:.2f}%;width:{high - low:.2f}%"></i></span>'
    )


def _describe_scale(scale: Scale, measure: Measure) -> str:
    perfect = measure.perfect is not None and scale.end == measure.perfect
    ends = f"Bars from {scale.start:g} to {scale.end:.4g}{', which is perfect' if perfect else ''}"
    lower = "" if measure.higher_is_better else "; lower is better"
    return f"{ends}{lower}. The thin line is the 95 % interval."
