"""Answers and scores: decode rows through the one decoding path, measure them with the pack's metrics."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from appkit import stats
from appkit.cache import write_text
from appkit.chat import Chat
from appkit.data import Record
from appkit.progress import Progress
from appkit.task import Decoding, Message, Metric, Prediction, Task

__all__ = [
    "Evaluation",
    "Score",
    "answer",
    "evaluate_rows",
    "few_shot_messages",
    "read_evaluation",
    "score",
    "token_cap",
]


@dataclass(frozen=True)
class Score:
    """One metric over the rows: its interval, and the (N, K) statistics it came from."""

    metric: Metric
    interval: stats.Interval
    matrix: np.ndarray


@dataclass(frozen=True)
class Evaluation:
    """What a model answered to the rows, and how good it was.

    strata: name of the stratification -> group -> the primary metric's interval. seconds: of decoding.
    """

    who: str
    records: Sequence[Record]
    predictions: Sequence[Prediction]
    scores: Mapping[str, Score]
    strata: Mapping[str, Mapping[str, stats.Interval]]
    seconds: float

    @property
    def tokens(self) -> int:
        return sum(prediction.tokens for prediction in self.predictions)

    def summary(self) -> dict[str, Any]:
        """Plain values for reports and manifests."""
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
        """One JSON object a row: what was asked, expected and answered, and each metric's statistics."""
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
                "statistics": {name: score.matrix[place].tolist() for name, score in self.scores.items()},
            }
            lines.append(json.dumps(entry, ensure_ascii=False) + "\n")
        write_text(path, "".join(lines))


def read_evaluation(
    path: Path, who: str, task: Task, records: Sequence[Record], resamples: int
) -> Evaluation:
    """The evaluation that `Evaluation.write` kept, scored again."""
    entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    predictions = [
        Prediction(
            entry["text"],
            task.parse(entry["text"]),
            entry["tokens"],
            entry["truncated"],
            tuple(entry.get("log_probabilities", ())),  # runs of older versions kept none
        )
        for entry in entries
    ]
    return _scored(who, task, records, predictions, 0.0, resamples)


def few_shot_messages(task: Task, options: Any, rows: Sequence[Any], count: int) -> list[Message]:
    """Earlier turns that show `count` answered rows: the base's best chance without training."""
    turns: list[Message] = []
    for row in task.few_shot(rows, options)[:count]:
        asked = [message for message in task.prompt(row, options) if message.role != "system"]
        turns += [*asked, Message.of("assistant", task.answer_text(row, options))]
    return turns


def token_cap(decoding: Decoding, longest_target: int) -> int:
    """The most tokens an answer may have."""
    return (
        decoding.max_new_tokens
        if isinstance(decoding.max_new_tokens, int)
        else max(16, longest_target * 3 // 2)
    )


def answer(
    model: Any,
    chat: Chat,
    task: Task,
    options: Any,
    rows: Sequence[Any],
    decoding: Decoding,
    max_new_tokens: int,
    *,
    shots: Sequence[Message] = (),
    batch_rows: int = 128,
    log_probabilities: bool = False,
    title: str = "answering",
    show: bool = True,
) -> list[Prediction]:
    """The model's answers to rows (values of the pack's schema; their target fields are not looked at).

    Everything that answers goes through here: eval, predict and serving. `show` draws a progress bar; a
    terminal has room for one at a time.
    """
    from appkit.generate import generate

    prompts = []
    for row in rows:
        messages = list(task.prompt(row, options))
        opening = 1 if messages[0].role == "system" else 0
        prompts.append(chat.prompt([*messages[:opening], *shots, *messages[opening:]]))
    model.eval()
    with Progress(title, len(prompts), "rows", show=show) as bar:
        generated = generate(
            model,
            prompts,
            max_new_tokens=max_new_tokens,
            stop=chat.stops(decoding.stop),
            batch_rows=batch_rows,
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            top_k=decoding.top_k,
            seed=decoding.seed,
            loop=decoding.loop,
            log_probabilities=log_probabilities,
            progress=bar.advance,
        )
    predictions = []
    for one in generated:
        text = chat.decode(one.tokens).strip()
        tokens = len(one.tokens) + (not one.truncated)
        predictions.append(Prediction(text, task.parse(text), tokens, one.truncated, one.log_probabilities))
    return predictions


def score(
    task: Task, records: Sequence[Record], predictions: Sequence[Prediction], resamples: int
) -> dict[str, Score]:
    """The pack's metrics with bootstrap intervals."""
    scores = {}
    for metric in task.metrics:
        matrix = np.array(
            [metric.statistics(r.value, p) for r, p in zip(records, predictions, strict=True)],
            dtype=np.float64,
        )
        scores[metric.name] = Score(metric, stats.bootstrap(matrix, metric.aggregate, resamples), matrix)
    return scores


def evaluate_rows(
    who: str,
    model: Any,
    chat: Chat,
    task: Task,
    options: Any,
    records: Sequence[Record],
    decoding: Decoding,
    max_new_tokens: int,
    *,
    shots: Sequence[Message] = (),
    batch_rows: int = 128,
    log_probabilities: bool = False,
    resamples: int = 2000,
) -> Evaluation:
    """Answer the records and score the answers."""
    began = time.monotonic()
    predictions = answer(
        model,
        chat,
        task,
        options,
        [record.value for record in records],
        decoding,
        max_new_tokens,
        shots=shots,
        batch_rows=batch_rows,
        log_probabilities=log_probabilities,
        title=f"evaluating {who}",
    )
    return _scored(who, task, records, predictions, time.monotonic() - began, resamples)


def _scored(
    who: str,
    task: Task,
    records: Sequence[Record],
    predictions: Sequence[Prediction],
    seconds: float,
    resamples: int,
) -> Evaluation:
    scores = score(task, records, predictions, resamples)
    primary = scores[task.primary]
    strata: dict[str, dict[str, stats.Interval]] = {}
    for name, group_of in task.strata.items():
        groups = [group_of(record.value) for record in records]
        strata[name] = {
            group: stats.bootstrap(
                primary.matrix[[place for place, other in enumerate(groups) if other == group]],
                primary.metric.aggregate,
                resamples,
            )
            for group in sorted(set(groups))
        }
    return Evaluation(who, records, predictions, scores, strata, seconds)
