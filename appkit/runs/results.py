"""Results holds a run's measurements, and writes the report, its pictures and the bundle from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appkit.bundles import manifest as manifests
from appkit.config import to_values
from appkit.data.splits import subset
from appkit.evaluation import plots
from appkit.evaluation import report as reports
from appkit.evaluation.scores import Evaluation, compare_scores, explain, score
from appkit.runs import directory
from appkit.runs.base import base_facts
from appkit.runs.general import describe_general
from appkit.runs.prepare import Prepared
from appkit.runs.stages import StageResult, curves
from appkit.stats import intervals
from appkit.stats.confidence import Calibration, LabelCalibration, Uncalibrated
from appkit.storage.atomic import write_text

if TYPE_CHECKING:
    from appkit.method import Form
    from appkit.models.base import Base
    from appkit.training.loop import Outcome

__all__ = ["Results", "compared", "measure_quantization", "write_bundle", "write_report"]


@dataclass(frozen=True)
class Results:
    """All measurements of a run."""

    prepared: Prepared
    """with the calibrated head"""
    outcome: Outcome
    """steps, tokens and seconds of training, of the last stage"""
    stages: Sequence[StageResult]
    """the stages before the last"""
    rivals: Sequence[Evaluation]
    """the base or the baselines, on the test rows"""
    variants: Sequence[Evaluation]
    """the adapter on the test rows as the pack varies them"""
    adapter: Evaluation
    """the adapter on the test rows"""
    quantization: Mapping[str, Any] | None
    """its cost in the primary metric; None: not measured"""
    form: Form
    """the adapter as it is exported"""
    confidence: Calibration | LabelCalibration | Uncalibrated
    """calibration of the adapter's confidence, or why there is none"""
    general: tuple[Evaluation, Evaluation] | None = None
    """rows of eval.general before and after training"""

    @property
    def columns(self) -> list[Evaluation]:
        """The evaluations in the report's order, the adapter last."""
        return [*self.rivals, *self.variants, self.adapter]


def compared(
    rivals: Sequence[Evaluation], adapter: Evaluation, prepared: Prepared
) -> tuple[Evaluation | None, dict[str, intervals.Comparison], str]:
    """Compare the adapter with the strongest rival; return that rival, the comparison by metric, and the verdict."""
    task = prepared.head.task
    if not rivals:
        interval = adapter.scores[task.primary].interval
        return (
            None,
            {},
            f"{task.primary} {reports.format_value(interval)} on {interval.n} rows; nothing was measured beside it "
            "(eval.baseline=false).",
        )
    rival = reports.strongest(rivals, task)
    comparison = reports.comparisons(rival, adapter, prepared.config.eval.resamples)
    name = "the base" if rival.who.startswith("base,") else f"the baseline {rival.who}"
    return rival, comparison, reports.verdict(task, comparison.get(task.primary), name, "the adapter")


def measure_quantization(
    model: Any, base: Base, prepared: Prepared, adapter: Evaluation
) -> dict[str, Any] | None:
    """Compare the adapter on the unquantized base with the adapter on its own base; None where that is not measured."""
    config, task = prepared.config, prepared.head.task
    if (
        config.quant.name == "none"
        or not config.eval.quant_rows
        or getattr(base.model, "is_quantized", False)
    ):
        return None
    from appkit.models.quantize import unquantized

    chosen = subset(prepared.test, config.eval.quant_rows)
    place = {id(record): row for row, record in enumerate(prepared.test)}
    rows = [place[id(record)] for record in chosen]
    with unquantized(model, base):
        values = [record.value for record in chosen]
        predictions = prepared.head.answer(model, values, title="measuring the cost of quantization")
    plain = score(task, chosen, predictions, config.eval.resamples)[task.primary]
    own = score(task, chosen, [adapter.predictions[row] for row in rows], config.eval.resamples)[task.primary]
    difference = compare_scores(plain, own, config.eval.resamples)
    if difference is None:
        return None
    return {
        "metric": task.primary,
        "rows": difference.n,
        "unquantized": plain.interval.value,
        "difference": difference.difference,
        "low": difference.low,
        "high": difference.high,
    }


def write_report(run_dir: Path, results: Results, base: Base, seconds: float) -> str:
    """Write report.md and its pictures; return the report for the bundle, which shows no row."""
    prepared = results.prepared
    task = prepared.head.task
    _, comparison, verdict = compared(results.rivals, results.adapter, prepared)
    plots.plot_curve(curves(run_dir, prepared), run_dir / "loss.png", task.primary)
    plots.plot_scores(results.columns, run_dir / "scores.png")
    if isinstance(results.confidence, Calibration):
        plots.plot_confidence(results.confidence, run_dir / "confidence.png")
    facts = _collect_facts(results, base)
    # not in the bundle's, whose sha is to depend on what was trained and on nothing else
    times = _collect_times(results, seconds)
    rows = [record.value for record in prepared.test]
    report, public = (
        reports.report(
            task,
            results.columns,
            comparison,
            verdict,
            results.confidence,
            facts | measured,
            notes,
            _write_appendix(rows, results, pictures),
            describe_general(results.general, prepared.config.eval.resamples) if results.general else "",
            rows_shown=pictures is not None,
        )
        for notes, pictures, measured in (
            ([*prepared.notes, *results.outcome.notes], run_dir, times),
            ([], None, {}),
        )
    )
    write_text(run_dir / "report.md", report)
    return public


def describe_rank(form: Form) -> str:
    """Describe an exported form and its rank in words, with the ranks of single layers where they differ."""
    if form.rank is None:
        return f"{form.kind}, of no rank"
    ranks = {len(tensor) for name, tensor in form.tensors.items() if ".lora_A." in name}
    layers = f"{min(ranks)} to {max(ranks)}" if len(ranks) > 1 else str(form.rank)
    return f"{form.kind} of rank {layers}"


def _write_appendix(rows: Sequence[Any], results: Results, pictures: Path | None) -> str:
    """Write the pack's own part of the report; where the pack fails, one line that says so."""
    task = results.prepared.head.task
    if task.appendix is None:
        return ""
    try:
        return task.appendix(rows, results.adapter.predictions, pictures, results.prepared.config.task)
    except Exception as error:  # a pack's own code: the answers and the other figures are kept
        why = f": {explain(error)}" if pictures else ""  # the reason may quote a row
        return f"The pack could not write this part{why}."


def _collect_times(results: Results, seconds: float) -> dict[str, str]:
    outcome = results.outcome
    speed = outcome.tokens / outcome.seconds if outcome.seconds else 0.0
    return {
        "speed": f"{speed:.0f} tokens/s, {outcome.supervised / max(outcome.seconds, 1e-9):.0f} supervised tokens/s",
        "time": f"{outcome.seconds:.0f} s of training, {seconds:.0f} s in all",
    }


def _collect_facts(results: Results, base: Base) -> dict[str, str]:
    prepared, outcome, cost = results.prepared, results.outcome, results.quantization
    config = prepared.config
    return {
        "base": f"{config.model.public_id} ({config.model.source}), {base.fingerprint.base[:19]}…",
        "quantized": base.quantizer,
        "cost of quantization": (
            f"{cost['metric']} {cost['difference']:+.3f} [{cost['low']:+.3f}, {cost['high']:+.3f}] against the "
            f"unquantized base, adapter on, {cost['rows']} rows"
            if cost
            else "not measured"
        ),
        "method": f"{config.method.name}: "
        + ", ".join(f"{key} {value}" for key, value in config.method.model_dump().items() if key != "name"),
        "adapter": f"{outcome.trained:,} trained parameters, exported as {describe_rank(results.form)}",
        "data": f"{len(prepared.records)} train, {len(prepared.dev)} dev, {len(prepared.test)} test",
        **{f"stage {stage.name}": _describe_stage(stage, prepared) for stage in results.stages},
        "optimization": f"{outcome.steps} steps, preset {config.train.name}, learning rate "
        f"{config.train.learning_rate:g}, {config.train.schedule}, seed {config.seed}",
    }


def _describe_stage(stage: StageResult, prepared: Prepared) -> str:
    primary = prepared.head.task.primary
    dev = "no value" if stage.dev is None else f"{stage.dev:.3f}"
    return (
        f"{stage.rows} rows, {stage.outcome.steps} steps, learning rate {stage.learning_rate:g}; then {primary} {dev} "
        "on its dev rows"
    )


def write_bundle(run_dir: Path, model: Any, results: Results, base: Base, report: str) -> Path:
    """Write the bundle, with the live model's answers to the pack's examples; return its directory."""
    prepared, confidence = results.prepared, results.confidence
    config, head = prepared.config, prepared.head
    task = head.task
    tensors, metadata = head.reference(model)
    servable = prepared.servable
    _, _, verdict = compared(results.rivals, results.adapter, prepared)
    manifest = {
        "name": config.name or task.name,
        "task": {"name": task.name, "version": task.version, "kind": task.head.name},
        "base": base_facts(config, base),
        "quant": config.quant.model_dump(),
        "method": config.method.model_dump(),
        "exported": manifests.describe_form(results.form, results.outcome.trained),
        "template": head.chat.fingerprint(),
        **head.facts(),
        "metrics": {evaluation.who: evaluation.summary() for evaluation in results.columns},
        "verdict": verdict,
        "quantization": results.quantization,
        "confidence": confidence.model_dump(mode="json") if isinstance(confidence, Calibration) else None,
        "calibration": (
            confidence.model_dump(mode="json") if isinstance(confidence, LabelCalibration) else None
        ),
        "no_confidence": str(confidence) if isinstance(confidence, Uncalibrated) else None,
        "data": {"sources": prepared.sources, **prepared.data_fingerprints()},
        "rows": prepared.hash_rows(),
        "seed": config.seed,
        "versions": directory.versions(),
        "servable_by": list(servable.engines),
        "config": to_values(config),
    }
    card = reports.model_card(task, manifest, verdict)
    return manifests.write(run_dir / "bundle", results.form, tensors, metadata, manifest, report, card)
