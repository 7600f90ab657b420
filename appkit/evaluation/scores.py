"""Scores measures predictions for rows with the pack's metrics."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from appkit.data.rows import Record
from appkit.stats import intervals
from appkit.storage.atomic import write_text
from appkit.task import Metric, Prediction, Task

if TYPE_CHECKING:
    from appkit.heads.head import Head

__all__ = [
    "Evaluation",
    "Score",
    "evaluate_rows",
    "read_evaluation",
    "score",
    "scored",
]


@dataclass(frozen=True)
class Score:
    """One metric over the rows."""

    metric: Metric
    interval: intervals.Interval
    """value and 95 % bootstrap interval"""
    matrix: np.ndarray
    """(N, K) statistics of the rows"""


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
            "metrics": {name: asdict(score.interval) for name, score in self.scores.items()},
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
                "statistics": {name: score.matrix[place].tolist() for name, score in self.scores.items()},
            }
            lines.append(json.dumps(entry, ensure_ascii=False) + "\n")
        write_text(path, "".join(lines))


def read_evaluation(
    path: Path, who: str, head: Head, records: Sequence[Record], resamples: int
) -> Evaluation:
    """Read the predictions that `Evaluation.write` wrote, and score them again."""
    with path.open(encoding="utf-8") as lines:  # str.splitlines would cut texts at U+2028 too
        entries = [json.loads(line) for line in lines]
    predictions = [head.reread(entry) for entry in entries]
    return scored(who, head.task, records, predictions, 0.0, resamples)


def score(
    task: Task, records: Sequence[Record], predictions: Sequence[Prediction], resamples: int
) -> dict[str, Score]:
    """Compute the pack's metrics with bootstrap intervals."""
    scores = {}
    for metric in task.metrics:
        matrix = np.array(
            [metric.statistics(r.value, p) for r, p in zip(records, predictions, strict=True)],
            dtype=np.float64,
        )
        scores[metric.name] = Score(metric, intervals.bootstrap(matrix, metric.aggregate, resamples), matrix)
    return scores


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
    primary = scores[task.primary]
    strata: dict[str, dict[str, intervals.Interval]] = {}
    for name, group_of in task.strata.items():
        groups = [group_of(record.value) for record in records]
        strata[name] = {
            group: intervals.bootstrap(
                primary.matrix[[place for place, row_group in enumerate(groups) if row_group == group]],
                primary.metric.aggregate,
                resamples,
            )
            for group in sorted(set(groups))
        }
    return Evaluation(who, records, predictions, scores, strata, seconds)
