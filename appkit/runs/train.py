"""`appkit.train`: from a configuration to a bundle with its evidence, step by step."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from appkit.bundles import manifest as manifests
from appkit.config import RunConfig, build_run_config, to_values, to_yaml
from appkit.data.rows import fingerprint
from appkit.data.splits import subset
from appkit.errors import AppkitError, ConfigError, Interrupted, RunError
from appkit.evaluation import plots
from appkit.evaluation import report as reports
from appkit.evaluation.scores import Evaluation, fit_score, score
from appkit.heads.label import Labelling
from appkit.heads.lm import Generating
from appkit.progress import watched
from appkit.runs import directory
from appkit.runs import rivals as measured
from appkit.runs.events import Done, Events, Failed, Forecast, Phase, Stopped
from appkit.runs.prepare import Prepared, Say, prepare, quiet, servable_of
from appkit.stats import intervals
from appkit.stats.calibration import calibration_error
from appkit.stats.confidence import Calibration, LabelCalibration, Uncalibrated
from appkit.storage.atomic import write_text
from appkit.training import forecast as forecasts

if TYPE_CHECKING:
    from appkit.heads import Head
    from appkit.models.base import Base

__all__ = ["TrainResult", "train"]


@dataclass(frozen=True)
class TrainResult:
    """What a run made.

    run_dir holds report.md, the plots, predictions and checkpoints; bundle is the directory to serve.
    base: what the adapter has to beat, the base with examples in its prompt, or the strongest baseline of a label task;
    None when eval.baseline is off. comparison: adapter against it, by metric.
    """

    run_dir: Path
    bundle: Path
    base: Evaluation | None
    adapter: Evaluation
    comparison: Mapping[str, intervals.Comparison]
    verdict: str


def train(
    config: RunConfig | None = None,
    *,
    resume: str | Path | None = None,
    say: Say = quiet,
    **values: Any,
) -> TrainResult:
    """Train an adapter, measure it against the base, and write the bundle.

    Give a RunConfig, or its values by keyword (`task="nl2fol", method={"rank": 8}`), or the run directory to
    resume. `say` receives progress lines.

    Raises AppkitError for everything a user can cause; Interrupted after ctrl-C, with whatever there was saved.
    """
    _one_process()
    if resume is not None:
        run_dir = Path(resume)
        config = build_run_config(directory.read_state(run_dir)["config"])
        with directory.locked_run(run_dir):
            if directory.read_state(run_dir).get("phase") == "done":
                return _finished(prepare(config, say), run_dir, say)
            with _recorded(run_dir) as events:
                events.write(Phase(phase="preparing"))
                return _train(prepare(config, say), run_dir, events, say)
    config = config or build_run_config(values)
    try:
        prepared = prepare(config, say)  # before the directory is made: bad data leaves none behind
    except KeyboardInterrupt:
        raise Interrupted("stopped while reading the data; nothing was written, start it again") from None
    run_dir = directory.create(config.run_dir, config.task.name)
    with directory.locked_run(run_dir), _recorded(run_dir) as events:
        return _train(prepared, run_dir, events, say)


@contextmanager
def _recorded(run_dir: Path) -> Iterator[Events]:
    """Records progress, and how the run ends if it does not end well."""
    events = Events(run_dir)

    def ended(event: Stopped | Failed) -> None:
        # before its state is there a run can only be started anew, in a directory without files
        if (run_dir / directory.STATE).exists():
            with suppress(AppkitError):  # a full disk is most likely the reason that is being recorded
                events.write(event)

    try:
        with watched(events.bar):
            yield events
    except KeyboardInterrupt:
        reason = f"stopped; what was finished is kept, go on with: appkit train --resume {run_dir}"
        ended(Stopped(reason=reason))
        raise Interrupted(reason) from None
    except Interrupted as stopped:
        ended(Stopped(reason=str(stopped)))
        raise
    except AppkitError as error:
        ended(Failed(reason=str(error)))
        raise
    except Exception as error:
        ended(Failed(reason=f"{type(error).__name__}: {error}"))
        raise


def _finished(prepared: Prepared, run_dir: Path, say: Say) -> TrainResult:
    """The result of a run that is done, read back; its files stay as they are."""
    say(f"{run_dir} is finished already")
    options = prepared.config.eval
    if not (run_dir / "predictions.adapter.jsonl").exists():
        raise RunError(f"{run_dir} is damaged: predictions.adapter.jsonl is missing; start a new run")
    rivals = measured.kept_rivals(run_dir, prepared)
    adapter = measured.kept(run_dir, "adapter", prepared)
    base = reports.strongest(rivals, prepared.task) if rivals else None
    compared = reports.comparisons(base, adapter, options.resamples) if base else {}
    verdict = str(directory.read_state(run_dir)["verdict"])
    return TrainResult(run_dir, run_dir / "bundle", base, adapter, compared, verdict)


def _train(prepared: Prepared, run_dir: Path, events: Events, say: Say) -> TrainResult:
    began = time.monotonic()
    config, task = prepared.config, prepared.task
    set_threads(config.threads)
    values = to_values(config)
    fresh = not (run_dir / directory.STATE).exists()
    if fresh:
        directory.state(
            run_dir,
            task=task.name,
            phase="started",
            config=values,
            versions=directory.versions(),
            seed=config.seed,
            data={"sources": prepared.splits.sources, **_data_fingerprints(prepared)},
        )
    else:
        _check_same_data(run_dir, prepared)
    # behind the state: a directory with a config but no state could be neither resumed nor started anew
    write_text(run_dir / "config.yaml", to_yaml(config))
    write_text(run_dir / "audit.md", prepared.kind.render(prepared.examples, prepared.records))
    events.write(Phase(phase="loading"))
    base = _load(prepared, run_dir, events, say)
    recorded = (
        directory.read_state(run_dir).get("base", {}).get("fingerprint_with_dtype", base.fingerprint.id)
    )
    if recorded != base.fingerprint.id:
        raise RunError(
            f"the base is not the one {run_dir} was started with (fingerprint {recorded[:19]}… then, "
            f"{base.fingerprint.id[:19]}… now); restore it, or start a new run"
        )
    directory.state(run_dir, phase="training", base=_base_facts(config, base))
    options = config.eval

    events.write(Phase(phase="measuring rivals"))
    rivals = measured.rivals(run_dir, base, prepared, _plainly(prepared, run_dir, say), say)

    import torch

    torch.manual_seed(config.seed)
    model = prepared.method.build(prepared.kind.attach(base.model), config.method)
    if config.train.gradient_checkpointing == "on" or (
        config.train.gradient_checkpointing == "auto" and base.device.type == "cuda"
    ):
        base.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if prepared.method.before_training:
        head = prepared.kind.head
        first = (
            head.collate([prepared.examples[row] for row in b], base.device)
            for step in prepared.plan
            for b in step.batches
        )
        prepared.method.before_training(model, first)
    outcome = _fit(model, prepared, run_dir, events, say)
    events.write(Phase(phase="evaluating"))
    prepared = replace(prepared, kind=prepared.kind.settled(model, prepared.splits.dev))
    bare = measured.without_passages(run_dir, model, prepared, say)
    adapter = measured.adapter(run_dir, model, prepared, say)
    cost = _cost_of_quantization(model, base, prepared, adapter, say)
    calibrated = _calibrated(prepared, adapter, say)

    columns = [*rivals, *bare, adapter]
    baseline = reports.strongest(rivals, task) if rivals else None
    compared = reports.comparisons(baseline, adapter, options.resamples) if baseline else {}
    summary = (
        reports.verdict(task, compared[task.primary], _named(baseline.who), "the adapter")
        if baseline
        else f"{task.primary} {adapter.scores[task.primary].interval.value:.3f} on {len(prepared.test)} rows; "
        "nothing was measured beside it (eval.baseline=false)."
    )
    events.write(Phase(phase="bundling"))
    facts = _facts(prepared, base, outcome, cost, time.monotonic() - began)
    notes = [*prepared.notes, *outcome.notes]
    plots.plot_curve(run_dir / "metrics.jsonl", run_dir / "loss.png", task.primary)
    plots.plot_scores(columns, task, run_dir / "scores.png")
    if isinstance(calibrated, Calibration):
        plots.plot_confidence(calibrated, run_dir / "confidence.png")
    values_of = [record.value for record in prepared.test]
    report, public = (
        reports.report(
            task,
            columns,
            compared,
            summary,
            calibrated,
            facts,
            shown,
            task.appendix(values_of, adapter.predictions, folder, config.task) if task.appendix else "",
            rows_shown=folder is not None,
        )
        for shown, folder in ((notes, run_dir), ([], None))
    )
    write_text(run_dir / "report.md", report)
    path = _bundle(run_dir, model, prepared, base, columns, cost, calibrated, public, summary)
    directory.state(
        run_dir,
        phase="done",
        verdict=summary,
        score=" → ".join(f"{one.scores[task.primary].interval.value:.3f}" for one in columns)
        + f" {task.primary}",
        bundle=str(path),
        results={one.who: one.summary() for one in columns},
        quantization=cost,
    )
    events.write(Done(verdict=summary, bundle=str(path)))
    return TrainResult(run_dir, path, baseline, adapter, compared, summary)


def _one_process() -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RunError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}: training in several processes is not supported yet; "
            "start appkit without torchrun"
        )


def set_threads(threads: int | None) -> None:
    import torch

    if threads:
        torch.set_num_threads(threads)


def _data_fingerprints(prepared: Prepared) -> dict[str, Any]:
    return {
        "train": fingerprint(prepared.records),
        "dev": fingerprint(prepared.dev),
        "test": fingerprint(prepared.test),
        "rows": {"train": len(prepared.records), "dev": len(prepared.dev), "test": len(prepared.test)},
        "documents": prepared.documents,
    }


def _check_same_data(run_dir: Path, prepared: Prepared) -> None:
    recorded = directory.read_state(run_dir)["data"]
    for name, now in _data_fingerprints(prepared).items():
        if recorded.get(name) != now:
            raise RunError(
                f"the {name} rows changed since {run_dir} was started ({recorded[name]} then, {now} now); "
                "restore the file, or start a new run"
            )


def _load(prepared: Prepared, run_dir: Path, events: Events, say: Say) -> Base:
    import torch

    from appkit.models import attention
    from appkit.models.base import compute_dtype
    from appkit.models.files import load_config, parameter_count
    from appkit.models.load import load_base
    from appkit.models.sources import locate

    config = prepared.config
    device = "cuda" if torch.cuda.is_available() else "cpu"
    path = locate(config.model)
    architecture = load_config(path)
    context = getattr(architecture.get_text_config(), "max_position_embeddings", None)
    longest = max(len(example.tokens) for example in prepared.examples) + prepared.cap
    if context and longest > context:
        raise ConfigError(
            f"rows and answers reach {longest} tokens, {config.model.name} was made for {context}; "
            "lower data.max_length (with data.on_long=drop) or decoding.max_new_tokens, or choose another model"
        )
    writes = isinstance(prepared.kind, Generating)
    answered = len(prepared.test) * (1 + (config.eval.baseline and writes)) + config.eval.quant_rows
    needed = forecasts.forecast(
        config,
        architecture,
        parameter_count(architecture),
        compute_dtype(config.model, torch.device(device)),
        device,
        prepared.examples,
        prepared.plan,
        answered,
        prepared.cap,
        run_dir,
    )
    for line in needed.lines():
        events.write(Forecast(text=line))
        say(f"forecast: {line}")
    forecasts.check(needed)
    base = load_base(config.model, config.quant)
    say(f"base: {config.model.name}, {base.quantizer}")
    attention.use(base.model)
    return base


def _base_facts(config: RunConfig, base: Base) -> dict[str, Any]:
    return {
        "name": config.model.name,
        "id": config.model.id,
        "source": config.model.source,
        "revision": config.model.revision,
        "fingerprint": base.fingerprint.base,
        "fingerprint_with_dtype": base.fingerprint.id,
        "dtype": base.fingerprint.dtype,
        "quantizer": base.quantizer,
        "licence": config.model.licence,
    }


def _fit(model: Any, prepared: Prepared, run_dir: Path, events: Events, say: Say) -> Any:
    """Train the adapter, measuring the dev rows as it goes."""
    task, kind = prepared.task, prepared.kind

    def measure(current: Any) -> dict[str, float]:
        rows = [record.value for record in prepared.dev]
        scores = score(task, prepared.dev, kind.answer(current, rows, show=False), 100)
        return {name: one.interval.value for name, one in scores.items()}

    def train() -> Any:
        from appkit.training.loop import fit

        primary = task.metric(task.primary)
        examples, plan = prepared.examples, prepared.plan
        config, method = prepared.config, prepared.method
        return fit(model, config, method, kind.head, examples, plan, measure, primary, run_dir, say, events)

    return _unless_stopped(train, run_dir, len(prepared.plan))


def _plainly(prepared: Prepared, run_dir: Path, say: Say) -> measured.Train:
    """Train something else beside the adapter, in a folder of its own, with nothing measured on the way."""
    config, task = prepared.config, prepared.task
    config = config.model_copy(
        update={"train": config.train.model_copy(update={"eval_steps": None, "select": "last"})}
    )

    def train(model: Any, head: Head, examples: Sequence[Any], plan: Sequence[Any], folder: Path) -> Any:
        from appkit.training.loop import fit

        primary = task.metric(task.primary)

        def fitted() -> Any:
            return fit(
                model, config, prepared.method, head, examples, plan, lambda _: {}, primary, folder, say
            )

        return _unless_stopped(fitted, run_dir, len(plan))

    return train


def _unless_stopped(train: Callable[[], Any], run_dir: Path, steps: int) -> Any:
    """The outcome; Interrupted after ctrl-C, once all is saved."""
    outcome = train()
    if outcome.interrupted:
        directory.state(run_dir, phase="interrupted")
        raise Interrupted(
            f"stopped after step {outcome.steps} of {steps}, all saved; go on with: "
            f"appkit train --resume {run_dir}"
        )
    return outcome


def _named(who: str) -> str:
    """In a sentence."""
    return "the base" if who.startswith("base,") else f"the baseline {who}"


def _cost_of_quantization(
    model: Any, base: Base, prepared: Prepared, adapter: Evaluation, say: Say
) -> dict[str, Any] | None:
    """The adapter on the unquantized base against the adapter on the base it was trained on, same rows."""
    config, task = prepared.config, prepared.task
    if (
        config.quant.name == "none"
        or not config.eval.quant_rows
        or getattr(base.model, "is_quantized", False)
    ):
        return None
    if getattr(config.method, "changes_base", False):  # its weights are no longer the quantized ones
        return None
    from appkit.models.quantize import unquantized

    chosen = subset(prepared.test, config.eval.quant_rows)
    place = {id(record): row for row, record in enumerate(prepared.test)}
    rows = [place[id(record)] for record in chosen]
    with unquantized(model, base):
        values = [record.value for record in chosen]
        predictions = prepared.kind.answer(model, values, title="measuring the cost of quantization")
    plain = score(task, chosen, predictions, config.eval.resamples)[task.primary]
    compared = intervals.compare(
        plain.matrix, adapter.scores[task.primary].matrix[rows], plain.metric.aggregate, config.eval.resamples
    )
    return {
        "metric": task.primary,
        "rows": len(chosen),
        "unquantized": plain.interval.value,
        "difference": compared.difference,
        "low": compared.low,
        "high": compared.high,
    }


def _calibrated(
    prepared: Prepared, adapter: Evaluation, say: Say
) -> Calibration | LabelCalibration | Uncalibrated:
    """The calibration of the adapter's confidence, or why there is none."""
    task, kind = prepared.task, prepared.kind
    if isinstance(kind, Labelling):
        found_label = _label_calibration(kind, prepared, adapter)
        say(f"confidence: {found_label}")
        return found_label
    try:
        found = fit_score(adapter.scores[task.primary], adapter.predictions)
    except Uncalibrated as reason:
        say(f"confidence: not calibrated, {reason}")
        return reason
    say(f"confidence: AUROC {found.auroc:.3f}, ECE {found.ece:.3f}, cross-fitted on {found.n} test rows")
    return found


def _label_calibration(
    kind: Labelling, prepared: Prepared, adapter: Evaluation
) -> LabelCalibration | Uncalibrated:
    """What the temperature that was chosen on dev does on the test rows."""
    spec = kind.spec
    if spec.kind == "token" or spec.problem == "regression":
        return Uncalibrated("it is not one of a few labels that a row has")
    before = after = None
    if spec.problem == "single":
        logits = np.array([one.logits for one in adapter.predictions])
        targets = [kind.task.target(record.value, kind.options).values for record in prepared.test]  # type: ignore[union-attr]
        before, after = calibration_error(spec, logits, targets)
    rows = len(prepared.splits.dev)
    return LabelCalibration(
        temperature=spec.temperature, threshold=spec.threshold, dev_rows=rows, ece_before=before, ece=after
    )


def _facts(
    prepared: Prepared, base: Base, outcome: Any, cost: Mapping[str, Any] | None, seconds: float
) -> dict[str, str]:
    config = prepared.config
    speed = outcome.tokens / outcome.seconds if outcome.seconds else 0.0
    return {
        "base": f"{config.model.id} ({config.model.source}), {base.fingerprint.base[:19]}…",
        "quantized": base.quantizer,
        "cost of quantization": (
            f"{cost['metric']} {cost['difference']:+.3f} [{cost['low']:+.3f}, {cost['high']:+.3f}] against the "
            f"unquantized base, adapter on, {cost['rows']} rows"
            if cost
            else "not measured"
        ),
        "method": f"{config.method.name}: "
        + ", ".join(f"{key} {value}" for key, value in config.method.model_dump().items() if key != "name"),
        "data": f"{len(prepared.records)} train, {len(prepared.dev)} dev, {len(prepared.test)} test",
        "optimization": f"{outcome.steps} steps, preset {config.train.name}, learning rate "
        f"{config.train.learning_rate:g}, {config.train.schedule}, seed {config.seed}",
        "speed": f"{speed:.0f} tokens/s, {outcome.supervised / max(outcome.seconds, 1e-9):.0f} supervised tokens/s",
        "time": f"{outcome.seconds:.0f} s of training, {seconds:.0f} s in all",
    }


def _bundle(
    run_dir: Path,
    model: Any,
    prepared: Prepared,
    base: Base,
    columns: Sequence[Evaluation],
    cost: Mapping[str, Any] | None,
    calibrated: Calibration | LabelCalibration | Uncalibrated,
    report: str,
    summary: str,
) -> Path:
    config, task = prepared.config, prepared.task
    kind = prepared.kind
    tensors, metadata = kind.reference(model)
    exported = prepared.method.export(model, config.method)
    servable = servable_of(prepared.method, config, kind)
    manifest = {
        "name": config.name or task.name,
        "task": {"name": task.name, "version": task.version, "kind": task.kind},
        "base": _base_facts(config, base),
        "quant": config.quant.model_dump(),
        "method": config.method.model_dump(),
        "exported": {"kind": exported.kind, "rank": servable.rank, "error": exported.error},
        "template": kind.chat.fingerprint(),
        **kind.facts(),
        "metrics": {one.who: one.summary() for one in columns},
        "verdict": summary,
        "quantization": cost,
        "confidence": calibrated.model_dump(mode="json") if isinstance(calibrated, Calibration) else None,
        "calibration": calibrated.model_dump(mode="json")
        if isinstance(calibrated, LabelCalibration)
        else None,
        "no_confidence": str(calibrated) if isinstance(calibrated, Uncalibrated) else None,
        "data": {"sources": prepared.splits.sources, **_data_fingerprints(prepared)},
        "seed": config.seed,
        "versions": directory.versions(),
        "servable_by": list(servable.engines),
        "config": to_values(config),
    }
    card = reports.model_card(task, manifest, summary)
    return manifests.write(run_dir / "bundle", exported, tensors, metadata, manifest, report, card)
