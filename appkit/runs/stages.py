"""Stages trains an adapter through the stages of a run: the last one in the run's folder, others in `stages/<name>/`.

A finished stage has its last and its best checkpoint; training it again from there takes no step, so a resumed run
goes through the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appkit.config import RunConfig
from appkit.data.rows import Record
from appkit.evaluation.scores import score, score_domains
from appkit.runs.events import Events
from appkit.runs.general import BEFORE, measure_general
from appkit.runs.prepare import Prepared, Say
from appkit.training.plan import Step

if TYPE_CHECKING:
    from appkit.training.loop import Outcome

__all__ = ["StageResult", "curves", "fit_stages"]


@dataclass(frozen=True)
class StageResult:
    """How a stage before the last one went."""

    name: str
    rows: int
    """that it trained on"""
    outcome: Outcome
    dev: float | None
    """the primary metric on the stage's dev rows at its end; None where it has no value"""
    learning_rate: float
    """peak"""


@dataclass(frozen=True)
class _Shifted:
    """A journal that counts the steps of all stages."""

    events: Events
    before: int
    """steps of the stages before"""
    steps: int
    """of all stages"""

    def training(self, step: int, steps: int) -> None:
        self.events.training(self.before + step, self.steps)

    def forecast(self, text: str) -> None:
        self.events.forecast(text)

    def step(self, step: int, loss: float, tokens_per_s: float) -> None:
        self.events.step(self.before + step, loss, tokens_per_s)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self.events.metrics(self.before + step, values)

    def sync(self) -> None:
        self.events.sync()


def fit_stages(
    model: Any, prepared: Prepared, run_dir: Path, events: Events, say: Say
) -> tuple[Outcome, list[StageResult]]:
    """Train all stages, measuring dev rows on the way; return the last one's outcome, and the results of the others.

    The optimizer and the schedule begin anew with each stage, the adapter does not. An outcome that was interrupted is
    returned at once, with the stages that came before it.
    """
    results: list[StageResult] = []
    before, steps = 0, sum(len(stage.plan) for stage in prepared.earlier) + len(prepared.plan)
    for stage in prepared.earlier:
        say(f"stage {stage.name}")
        folder = run_dir / "stages" / stage.name
        folder.mkdir(parents=True, exist_ok=True)
        journal = _Shifted(events, before, steps)
        outcome = _fit(
            model, prepared, stage.config, stage.examples, stage.plan, stage.dev, folder, journal, say,
            carried=bool(results),
        )  # fmt: skip
        if outcome.interrupted:
            return outcome, results
        measured = _measure(prepared, stage.dev)(model)[prepared.head.task.primary]
        say(f"stage {stage.name}: {prepared.head.task.primary} {measured:.3f} on its dev rows")
        results.append(
            StageResult(
                stage.name,
                len(stage.records),
                outcome,
                measured if measured == measured else None,
                stage.config.train.learning_rate,
            )
        )
        before += len(stage.plan)
    if prepared.earlier:
        measure_general(run_dir, BEFORE, model, prepared, say)
    journal = _Shifted(events, before, steps)
    outcome = _fit(
        model, prepared, prepared.config, prepared.examples, prepared.plan, prepared.dev, run_dir, journal, say,
        carried=bool(results),
    )  # fmt: skip
    return replace(outcome, steps=outcome.steps + before if outcome.interrupted else outcome.steps), results


def _fit(
    model: Any,
    prepared: Prepared,
    config: RunConfig,
    examples: Sequence[Any],
    plan: Sequence[Step],
    dev: Sequence[Record],
    folder: Path,
    journal: _Shifted,
    say: Say,
    *,
    carried: bool,
) -> Outcome:
    from appkit.training.loop import fit

    task, head = prepared.head.task, prepared.head
    measure, primary = _measure(prepared, dev), task.metric(task.primary)
    return fit(
        model, config, prepared.method, head, examples, plan, measure, primary, folder, say, journal, carried=carried
    )  # fmt: skip


def _measure(prepared: Prepared, dev: Sequence[Record]) -> Callable[[Any], dict[str, float]]:
    """Make the function that measures a model on these dev rows: each metric by name, the primary by domain too."""
    head, task = prepared.head, prepared.head.task

    def measure(model: Any) -> dict[str, float]:
        answers = head.answer(model, [record.value for record in dev], show=False)
        scores = score(task, dev, answers, 100)
        values = {name: entry.interval.value for name, entry in scores.items()}
        return values | score_domains(scores[task.primary], dev)

    return measure


def curves(run_dir: Path, prepared: Prepared) -> list[tuple[str, Path]]:
    """List the stages' names and loss curves in order; of a run without stages its own, without a name."""
    earlier = [(stage.name, run_dir / "stages" / stage.name / "metrics.jsonl") for stage in prepared.earlier]
    last = list(prepared.config.stages)[-1] if prepared.config.stages else ""
    return [*earlier, (last, run_dir / "metrics.jsonl")]
