"""Scores measures predictions for rows with the pack's metrics.

A metric, a group or an aggregate of a pack that raises ends nothing: the rows that it could not score are counted, and
said with the reason, and its value is over the others.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from appkit.data.rows import Record
from appkit.stats import intervals
from appkit.storage.atomic import write_text
from appkit.task import Metric, NotApplicable, Prediction, Task

if TYPE_CHECKING:
    from appkit.heads.head import Head

__all__ = [
    "Evaluation",
    "Remark",
    "Score",
    "cluster",
    "compare_scores",
    "evaluate_rows",
    "explain",
    "read_evaluation",
    "score",
    "score_domains",
    "scored",
]

NO_VALUE = intervals.Interval(math.nan, math.nan, math.nan, 0)
UNGROUPED = "not grouped"
NOT_APPLICABLE = ""
"""the reason of a row without a score that needs none"""


@dataclass(frozen=True)
class Score:
    """One metric over the rows."""

    metric: Metric
    interval: intervals.Interval
    """value and 95 % bootstrap interval over the rows that were scored; nan, of 0 rows, where there is no value"""
    matrix: np.ndarray
    """(N, K) statistics of the rows; nan in those that could not be scored"""
    unscored: Mapping[int, str] = field(default_factory=dict)
    """place of a row that the metric could not score -> why"""
    fault: str | None = None
    """why there is no value although rows were scored: the aggregate failed"""
    clusters: np.ndarray | None = None
    """(N,) number of each row's document; None: rows stand alone"""

    @property
    def scored(self) -> np.ndarray:
        """Whether each row was scored, (N,)."""
        rows = np.ones(len(self.matrix), dtype=bool)
        rows[list(self.unscored)] = False
        return rows

    def clusters_of(self, rows: np.ndarray) -> np.ndarray | None:
        """The documents of the rows in the mask (N,); None where rows stand alone."""
        return None if self.clusters is None else self.clusters[rows]

    @property
    def has_value(self) -> bool:
        """Whether some row was scored and the aggregate gave a number."""
        return self.interval.n > 0


@dataclass(frozen=True)
class Remark:
    """Says what could not be scored."""

    text: str
    """the metric and how many rows; it shows no row"""
    why: str
    """the first row's place and reason, which may quote the row"""

    def __str__(self) -> str:
        return f"{self.text} ({self.why})"


@dataclass(frozen=True)
class Evaluation:
    """A model's answers to rows, and their scores."""

    who: str
    """name in reports, such as adapter"""
    records: Sequence[Record]
    """the rows"""
    predictions: Sequence[Prediction]
    """the answer to each row"""
    scores: Mapping[str, Score]
    """by name of the metric"""
    strata: Mapping[str, Mapping[str, intervals.Interval]]
    """name of the stratification -> group -> the primary metric's interval"""
    seconds: float
    """of decoding; 0 when read from a file"""
    remarks: Sequence[Remark] = ()
    """what could not be scored"""

    @property
    def tokens(self) -> int:
        """Tokens of all answers."""
        return sum(prediction.tokens for prediction in self.predictions)

    def summary(self) -> dict[str, Any]:
        """Return plain values for reports and manifests."""
        return {
            "who": self.who,
            "n": len(self.records),
            "seconds": round(self.seconds, 2),
            "tokens": self.tokens,
            "metrics": {
                name: asdict(score.interval) for name, score in self.scores.items() if score.has_value
            },
            "strata": {
                name: {group: asdict(interval) for group, interval in groups.items()}
                for name, groups in self.strata.items()
            },
        }

    def write(self, path: Path, task: Task) -> None:
        """Write one JSON object a row: input, reference, answer, and each metric's statistics."""
        lines = []
        for place, (record, prediction) in enumerate(zip(self.records, self.predictions, strict=True)):
            entry = {
                "file": record.file,
                "line": record.line,
                "input": getattr(record.value, task.input),
                "reference": getattr(record.value, task.output),
                "text": prediction.text,
                "parsed": prediction.parsed.value,
                "error": prediction.parsed.error,
                "tokens": prediction.tokens,
                "truncated": prediction.truncated,
                "log_probabilities": prediction.log_probabilities,
                "logits": prediction.logits,
                "confidence": prediction.confidence,
                "statistics": {
                    name: None if place in score.unscored else score.matrix[place].tolist()
                    for name, score in self.scores.items()
                },
            }
            # a pack may read an answer into anything; what JSON has no form for is written as text
            lines.append(json.dumps(entry, ensure_ascii=False, default=str) + "\n")
        write_text(path, "".join(lines))


def read_evaluation(
    path: Path, who: str, head: Head, records: Sequence[Record], resamples: int
) -> Evaluation:
    """Read the predictions that `Evaluation.write` wrote, and score them again."""
    with path.open(encoding="utf-8") as lines:  # str.splitlines would cut texts at U+2028 too
        entries = [json.loads(line) for line in lines]
    predictions = [head.reread(entry) for entry in entries]
    return scored(who, head.task, records, predictions, 0.0, resamples)


def cluster(records: Sequence[Record]) -> np.ndarray | None:
    """Number the documents of the rows, (N,); a row of none is one of its own. None where no two rows share one."""
    names = [record.document for record in records]
    first: dict[str, int] = {}
    numbers = [place if name is None else first.setdefault(name, place) for place, name in enumerate(names)]
    return None if len(set(numbers)) == len(numbers) else np.array(numbers)


def score(
    task: Task, records: Sequence[Record], predictions: Sequence[Prediction], resamples: int
) -> dict[str, Score]:
    """Compute the pack's metrics with bootstrap intervals, each over the rows that it can score."""
    return {metric.name: _score(metric, records, predictions, resamples) for metric in task.metrics}


def _score(
    metric: Metric, records: Sequence[Record], predictions: Sequence[Prediction], resamples: int
) -> Score:
    statistics: dict[int, tuple[float, ...]] = {}
    unscored: dict[int, str] = {}
    for place, (record, prediction) in enumerate(zip(records, predictions, strict=True)):
        try:
            statistics[place] = _compute_statistics(metric, record, prediction)
        except NotApplicable:
            unscored[place] = NOT_APPLICABLE
        except Exception as error:  # a pack's own code: whatever it raises is counted
            unscored[place] = explain(error)
    width = Counter(map(len, statistics.values())).most_common(1)[0][0] if statistics else 1
    matrix = np.full((len(records), width), np.nan)
    for place, values in statistics.items():
        if len(values) == width:
            matrix[place] = values
        else:
            unscored[place] = f"it gave {len(values)} figures, {width} for other rows"
    result = Score(metric, NO_VALUE, matrix, unscored, clusters=cluster(records))
    rows = matrix[result.scored]
    if not len(rows):
        return result
    try:
        interval = intervals.bootstrap(
            rows, metric.aggregate, resamples, clusters=result.clusters_of(result.scored)
        )
    except Exception as error:
        return replace(result, fault=explain(error))
    if not all(map(math.isfinite, (interval.value, interval.low, interval.high))):
        return replace(result, fault=f"it gave {interval.value} [{interval.low}, {interval.high}]")
    return replace(result, interval=interval)


def score_domains(score: Score, records: Sequence[Record]) -> dict[str, float]:
    """Compute a metric's value in each domain, by `metric (domain)`; nothing where the rows are of one."""
    domains = [record.domain for record in records]
    names = dict.fromkeys(domains) if len(set(domains)) > 1 else {}
    intervals_of = {
        name: _measure_group(score, [domain == name for domain in domains], 100) for name in names
    }
    return {
        f"{score.metric.name} ({name or 'other rows'})": interval.value
        for name, interval in intervals_of.items()
    }


def _compute_statistics(metric: Metric, record: Record, prediction: Prediction) -> tuple[float, ...]:
    """Compute a row's statistics. Raises ValueError for none and for values that are no finite number."""
    values = tuple(map(float, metric.statistics(record.value, prediction)))
    if not values or not all(map(math.isfinite, values)):
        raise ValueError(f"it gave {list(values)}, finite numbers are needed")
    return values


def explain(error: Exception) -> str:
    """Write an exception of a pack's code in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def compare_scores(a: Score, b: Score, resamples: int) -> intervals.Comparison | None:
    """Compare b with a over the rows that both have scored; None where there are none, or it gives no number."""
    both = a.scored & b.scored
    if not both.any() or a.matrix.shape != b.matrix.shape:
        return None
    try:
        compared = intervals.compare(
            a.matrix[both], b.matrix[both], b.metric.aggregate, resamples, clusters=b.clusters_of(both)
        )
    except Exception:  # the report says which metrics were not compared
        return None
    return compared if math.isfinite(compared.difference + compared.low + compared.high) else None


def evaluate_rows(
    who: str, head: Head, model: Any, records: Sequence[Record], *, resamples: int = 2000
) -> Evaluation:
    """Answer the records and score the answers."""
    began = time.monotonic()
    predictions = head.answer(model, [record.value for record in records], title=f"evaluating {who}")
    return scored(who, head.task, records, predictions, time.monotonic() - began, resamples)


def scored(
    who: str,
    task: Task,
    records: Sequence[Record],
    predictions: Sequence[Prediction],
    seconds: float,
    resamples: int,
) -> Evaluation:
    """Score predictions that took `seconds`, also by group."""
    scores = score(task, records, predictions, resamples)
    remarks = [
        remark for name, entry in scores.items() if (remark := _describe_unscored(name, entry, records))
    ]
    primary = scores[task.primary]
    strata: dict[str, dict[str, intervals.Interval]] = {}
    for name, (groups, faults) in _group_all(task, records).items():
        strata[name] = {
            group: interval
            for group in sorted(set(groups))
            if (
                interval := _measure_group(primary, [row_group == group for row_group in groups], resamples)
            ).n
        }
        if faults:
            place, why = next(iter(faults.items()))
            remarks.append(
                Remark(
                    f"{len(faults)} of {len(records)} rows could not be grouped by {name}",
                    f"{records[place].place}: {why}",
                )
            )
    return Evaluation(who, records, predictions, scores, strata, seconds, remarks)


def _group_all(task: Task, records: Sequence[Record]) -> dict[str, tuple[list[str], dict[int, str]]]:
    """Group the rows by the pack's strata, and by domain where there are several."""
    grouped = {name: _group(group_of, records) for name, group_of in task.strata.items()}
    domains = [record.domain or UNGROUPED for record in records]
    if len(set(domains)) > 1:
        grouped.setdefault("domain", (domains, {}))
    return grouped


def _group(group_of: Callable[[Any], str], records: Sequence[Record]) -> tuple[list[str], dict[int, str]]:
    """Find each row's group; and the rows, with the reason, for which the pack's function failed."""
    groups, faults = [], {}
    for place, record in enumerate(records):
        try:
            groups.append(str(group_of(record.value)))
        except Exception as error:
            groups.append(UNGROUPED)
            faults[place] = explain(error)
    return groups, faults


def _measure_group(primary: Score, members: Sequence[bool], resamples: int) -> intervals.Interval:
    chosen = np.array(members, dtype=bool) & primary.scored
    if not chosen.any() or not primary.has_value:
        return NO_VALUE
    try:
        interval = intervals.bootstrap(
            primary.matrix[chosen], primary.metric.aggregate, resamples, clusters=primary.clusters_of(chosen)
        )
    except Exception:  # the aggregate needs more rows than the group has: the group has no value
        return NO_VALUE
    return interval if math.isfinite(interval.value + interval.low + interval.high) else NO_VALUE


def _describe_unscored(name: str, score: Score, records: Sequence[Record]) -> Remark | None:
    if score.fault:
        return Remark(f"{name} has no value: its aggregate failed", score.fault)
    failed = [place for place, why in score.unscored.items() if why != NOT_APPLICABLE]
    if not failed:
        return None
    place = min(failed)
    rest = len(records) - len(score.unscored)
    value = f"its value is over the other {rest}" if rest else "it has no value"
    return Remark(
        f"{name} could not score {len(failed)} of {len(records)} rows, {value}",
        f"{records[place].place}: {score.unscored[place]}",
    )
