"""Measures a run's adapter and its rivals: the base with few shots, or a label task's baselines.

Answers are stored in the run directory; a resumed run reads them from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appkit.data.variants import vary
from appkit.errors import DataError
from appkit.evaluation.report import format_value
from appkit.evaluation.scores import Evaluation, evaluate_rows, read_evaluation, scored
from appkit.runs.prepare import Prepared, Say, plan_steps

if TYPE_CHECKING:
    from appkit.heads.head import Head
    from appkit.models.base import Base
    from appkit.training.loop import Outcome

__all__ = [
    "Train",
    "measure_adapter",
    "measure_once",
    "measure_rivals",
    "measure_variants",
    "read_adapter",
    "read_rivals",
]

Train = Callable[[Any, "Head", Sequence[Any], Sequence[Any], Path], "Outcome"]
"""(model, head, examples, plan, folder) -> Outcome: trains in the folder, without measuring dev rows"""


def measure_adapter(run_dir: Path, model: Any, prepared: Prepared, say: Say) -> Evaluation:
    """Measure the trained model on the test rows."""
    head = prepared.head.answering(confidence=True)  # only the adapter's confidence is calibrated
    resamples = prepared.config.eval.resamples
    return measure_once(
        run_dir,
        "adapter",
        prepared,
        say,
        lambda: evaluate_rows("adapter", head, model, prepared.test, resamples=resamples),
    )


def measure_variants(run_dir: Path, model: Any, prepared: Prepared, say: Say) -> list[Evaluation]:
    """Measure the trained model on the test rows as the pack varies them; nothing for a pack without variants."""
    resamples = prepared.config.eval.resamples
    evaluations = []
    for name, rows in vary(prepared.head.task, prepared.test).items():
        who, varied = f"adapter-{name.replace(' ', '-')}", replace(prepared, test=rows)

        def measure(name: str = name, varied: Prepared = varied) -> Evaluation:
            return evaluate_rows(f"adapter, {name}", varied.head, model, varied.test, resamples=resamples)

        evaluations.append(measure_once(run_dir, who, varied, say, measure))
    return evaluations


def measure_rivals(run_dir: Path, base: Base, prepared: Prepared, train: Train, say: Say) -> list[Evaluation]:
    """Measure the adapter's rivals on the same rows; the base is unchanged afterwards.

    For a task in words the rival is the base with examples in its prompt, for a label task the baselines of
    `eval.baselines`.
    """

    def measure(who: str) -> Evaluation:
        if who == "base":
            return _measure_base(base, prepared)
        if who == "generative":
            say(f"{who}: the same base is trained to write the label")
            return _generative(run_dir / who, base, prepared, train)
        return _measure_baseline(who, prepared)

    return [
        measure_once(run_dir, who, prepared, say, lambda who=who: measure(who))  # type: ignore[misc]
        for who in _names(prepared)
    ]


def read_rivals(run_dir: Path, prepared: Prepared) -> list[Evaluation]:
    """Read the rivals' evaluations of a finished run."""
    return [
        _read(run_dir, who, prepared) for who in _names(prepared) if _predictions_file(run_dir, who).exists()
    ]


def read_adapter(run_dir: Path, prepared: Prepared) -> Evaluation:
    """Read the adapter's evaluation of a finished run."""
    return _read(run_dir, "adapter", prepared)


def _read(run_dir: Path, who: str, prepared: Prepared) -> Evaluation:
    label, resamples = _label(who, prepared), prepared.config.eval.resamples
    return read_evaluation(_predictions_file(run_dir, who), label, prepared.head, prepared.test, resamples)


def measure_once(
    run_dir: Path, who: str, prepared: Prepared, say: Say, measure: Callable[[], Evaluation]
) -> Evaluation:
    """Measure on the test rows, and store the answers; of a resumed run, read those that are stored."""
    if _predictions_file(run_dir, who).exists():
        return _read(run_dir, who, prepared)
    task = prepared.head.task
    evaluation = measure()
    evaluation.write(_predictions_file(run_dir, who), task)
    primary = format_value(evaluation.scores[task.primary].interval)
    tokens = f", {evaluation.tokens} tokens" if evaluation.tokens else ""
    say(f"{evaluation.who}: {task.primary} {primary} in {evaluation.seconds:.0f} s{tokens}")
    for remark in evaluation.remarks:
        say(f"{evaluation.who}: {remark}")
    return evaluation


def _predictions_file(run_dir: Path, who: str) -> Path:
    return run_dir / f"predictions.{who}.jsonl"


def _label(who: str, prepared: Prepared) -> str:
    shots = prepared.config.eval.few_shot
    if who.startswith("adapter-"):
        return who.replace("-", ", ", 1).replace("-", " ")
    if who.startswith("general-"):
        return who.replace("-", " rows, ", 1)
    return f"base, {shots}-shot" if who == "base" else who


def _names(prepared: Prepared) -> tuple[str, ...]:
    options = prepared.config.eval
    return prepared.head.rivals(options.baselines) if options.baseline else ()


def _measure_base(base: Base, prepared: Prepared) -> Evaluation:
    options = prepared.config.eval
    head = prepared.head.shown([record.value for record in prepared.records], options.few_shot)
    label = _label("base", prepared)
    return evaluate_rows(label, head, base.model, prepared.test, resamples=options.resamples)


def _measure_baseline(who: str, prepared: Prepared) -> Evaluation:
    from appkit.evaluation.baselines.measure import measure

    head: Any = prepared.head  # only a label head names such a rival
    resamples = prepared.config.eval.resamples
    return measure(who, head, prepared.rows, prepared.splits.dev, prepared.test, resamples)


def _generative(folder: Path, base: Base, prepared: Prepared, train: Train) -> Evaluation:
    """Train the same base, method and rows to write the label, and measure that."""
    import torch

    from appkit.evaluation.baselines.generative import as_text, read_back
    from appkit.heads.lm.head import LmHead

    config, head = prepared.config, prepared.head
    task = as_text(head)  # type: ignore[arg-type]
    decoded = config.model_copy(update={"decoding": task.decoding})
    writing = LmHead.of_config(task, decoded, head.chat)
    examples, _, _ = writing.encode(prepared.rows, config.data.max_length, "drop")
    if not examples:
        raise DataError("no row is short enough for the generative baseline; raise data.max_length")
    writing = writing.fitted(examples)
    torch.manual_seed(config.seed)
    model = prepared.method.build(base.model, config.method)
    folder.mkdir(exist_ok=True)
    outcome = train(model, writing, examples, plan_steps(config, examples), folder)
    rows = [record.value for record in prepared.test]
    answers = writing.answer(model, rows, title=f"evaluating {folder.name}")
    model.unload()
    for parameter in base.model.parameters():
        parameter.requires_grad_(False)
    predictions = [
        read_back(head, row, answer)  # type: ignore[arg-type]
        for row, answer in zip(rows, answers, strict=True)
    ]
    resamples = config.eval.resamples
    return scored(folder.name, head.task, prepared.test, predictions, outcome.seconds, resamples)
