"""Evaluate is `appkit.evaluate`: it measures bundles on the same rows, alone, against their base or each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appkit.bundles import specialist
from appkit.bundles.manifest import find, read_manifest
from appkit.config import RunConfig, build_run_config, require_alone
from appkit.data.rows import Record
from appkit.data.splits import Splits
from appkit.data.variants import vary
from appkit.errors import RunError
from appkit.evaluation import report as reports
from appkit.evaluation.scores import Evaluation, evaluate_rows
from appkit.heads.choose import base_answers, head_of_rows
from appkit.heads.head import Head
from appkit.models.chat import Chat
from appkit.plugins import load_task
from appkit.rag.rows import load_rows
from appkit.runs.base import set_threads
from appkit.runs.prepare import Say, quiet
from appkit.runs.seen import check_seen
from appkit.stats import intervals
from appkit.task import Task

__all__ = ["Comparison", "evaluate"]

FAULTS = 10
"""rows left out that are named, at most"""


@dataclass(frozen=True)
class Comparison:
    """Bundles (or the base) measured on the same rows."""

    evaluations: Sequence[Evaluation]
    """in the order of the report, the last bundle last"""
    comparison: Mapping[str, intervals.Comparison]
    """the last bundle against the first, or a single one against its strongest rival, by metric; else empty"""
    verdict: str | None
    """in words; None for a single evaluation"""
    notes: Sequence[str] = ()
    """how many rows a bundle was trained on, or that it is unknown; and whether they are its own test rows"""


def evaluate(
    *targets: str | Path,
    config: RunConfig | None = None,
    say: Say = quiet,
    **values: Any,
) -> Comparison:
    """Measure bundles on test rows: one against its base or baselines, of several the last against the first.

    Without targets, the configured base is measured alone. The rows are those of `config` (or of the keyword
    values), else those of the first bundle.

    Says what was decided while reading the rows, and how many of them a bundle was trained on or selected by
    (`eval.seen`: report, exclude or refuse).

    The length cap of a bundle's answers is the one it was trained with, unless decoding.max_new_tokens is set.

    Raises BundleError for a bundle that does not load, RunError for bundles of different tasks, ConfigError
    for a keyword that would have no effect, DataError for rows that eval.seen refuses.
    """
    require_alone(config, values)
    _check_tasks(targets)
    first = [specialist.load(target) for target in targets[:1]]
    if config is None:
        config = specialist.eval_config(first[0].manifest, values) if first else build_run_config(values)
    set_threads(config.threads)
    task = first[0].task if first else load_task(config.task.name).under(config.task)
    splits, _ = load_rows(task, config)
    manifests = {str(target): read_manifest(find(target), verify=False) for target in targets}
    rows, notes = check_seen(task, manifests, splits.test, config.eval.seen, config.eval.rows)
    faults = [f"dropped: {fault}" for fault in splits.faults]
    for note in [*splits.notes, *faults[:FAULTS], *notes]:
        say(f"note: {note}")
    if not first:
        evaluation = _evaluate_base(config, task, splits, rows, say)
        _say_remarks([evaluation], say)
        return Comparison([evaluation], {}, None)
    evaluations: list[Evaluation] = []
    uncompared: list[Evaluation] = []  # shown, but not compared with
    for number, target in enumerate(targets):
        loaded = first[0] if number == 0 else specialist.load(target)
        head = loaded.head.measured_as(config, splits.train)
        if head.spec is not None:
            label_head: Any = head  # only a label head has labels that it knows
            for note in label_head.unknown(rows, f"{target}, test"):
                say(f"note: {note}")
        if len(targets) == 1 and config.eval.baseline:
            evaluations += _evaluate_rivals(loaded, head, splits, rows, config, say)
        uncompared += [
            _evaluate_rows(f"{target}, {name}", head, loaded.model, varied, config, say)
            for name, varied in vary(task, rows).items()
        ]
        evaluations.append(_evaluate_rows(str(target), head, loaded.model, rows, config, say))
    compared: Mapping[str, intervals.Comparison] = {}
    summary = None
    if len(evaluations) > 1:
        strongest = reports.strongest(evaluations[:-1], task) if len(targets) == 1 else evaluations[0]
        compared = reports.comparisons(strongest, evaluations[-1], config.eval.resamples)
        summary = reports.verdict(task, compared.get(task.primary), strongest.who, evaluations[-1].who)
    evaluations = [*evaluations[:-1], *uncompared, *evaluations[-1:]]
    _say_remarks(evaluations, say)
    return Comparison(evaluations, compared, summary, notes)


def _check_tasks(targets: Sequence[str | Path]) -> None:
    """Check the bundles before the first is measured, whose answers would be lost: all must be there, of one task."""
    names = [read_manifest(find(target), verify=False)["task"]["name"] for target in targets]
    for target, name in zip(targets, names, strict=True):
        if name != names[0]:
            raise RunError(f"{target} is a bundle of task {name!r}, the rows are of {names[0]!r}")


def _say_remarks(evaluations: Sequence[Evaluation], say: Say) -> None:
    """Say what could not be scored, a line each."""
    for evaluation in evaluations:
        for remark in evaluation.remarks:
            say(f"{evaluation.who}: {remark}")


def _evaluate_rivals(
    loaded: specialist.Specialist,
    head: Head,
    splits: Splits,
    rows: Sequence[Record],
    config: RunConfig,
    say: Say,
) -> list[Evaluation]:
    """Measure the rivals of a single bundle: the base, or the baselines that need no training of a model."""
    evaluations = []
    for who in head.rivals(config.eval.baselines):
        if who == "base":
            shots = [record.value for record in splits.train]
            plain = head.answering(confidence=False).shown(shots, config.eval.few_shot)
            with loaded.model.disable_adapter():
                label = f"base, {config.eval.few_shot}-shot"
                evaluations.append(_evaluate_rows(label, plain, loaded.model, rows, config, say))
        elif who != "generative":  # that one would need a training
            from appkit.evaluation.baselines.measure import measure

            label_head: Any = head  # only a label head names such a rival
            evaluations.append(
                measure(who, label_head, splits.train, splits.dev, rows, config.eval.resamples)
            )
    return evaluations


def _evaluate_rows(
    who: str, head: Head, model: Any, rows: Sequence[Record], config: RunConfig, say: Say
) -> Evaluation:
    evaluation = evaluate_rows(who, head, model, rows, resamples=config.eval.resamples)
    say(f"{who}: {len(rows)} rows in {evaluation.seconds:.0f} s")
    return evaluation


def _evaluate_base(
    config: RunConfig, task: Task, splits: Splits, rows: Sequence[Record], say: Say
) -> Evaluation:
    """Measure the configured base, with examples in its prompt. Raises RunError for a task that it cannot answer."""
    from appkit.models import attention
    from appkit.models.load import load_base

    if not base_answers(task):
        raise RunError(
            f"task {task.name!r} labels, which a base without a trained head cannot; name a bundle to measure"
        )
    base = load_base(config.model, config.quant)
    attention.use(base.model)
    head, _ = head_of_rows(task, config, Chat.of(base), splits.train, {})
    head = head.measured_as(config, splits.train).answering(confidence=False)
    head = head.shown([record.value for record in splits.train], config.eval.few_shot)
    return evaluate_rows(
        f"base, {config.eval.few_shot}-shot", head, base.model, rows, resamples=config.eval.resamples
    )
