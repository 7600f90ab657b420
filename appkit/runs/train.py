"""Train is `appkit.train`: it goes from a configuration to a bundle with its evidence, in named steps.

Start, load the base, measure the rivals, build, fit, calibrate, measure the adapter, report, bundle. A resumed run
reads the results of finished steps from the run directory.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appkit.arguments import read_path
from appkit.config import RunConfig, build_run_config, require_alone, to_values, to_yaml
from appkit.errors import AppkitError, ConfigError, Interrupted, RunError
from appkit.evaluation.report import format_value
from appkit.evaluation.scores import Evaluation
from appkit.progress import watched
from appkit.runs import directory
from appkit.runs.base import base_facts, load_run_base, set_threads
from appkit.runs.events import Done, Events, Failed, Phase, Stopped
from appkit.runs.general import AFTER, BEFORE, measure_general
from appkit.runs.prepare import Prepared, Say, prepare, quiet
from appkit.runs.results import Results, compared, measure_quantization, write_bundle, write_report
from appkit.runs.rivals import (
    measure_adapter,
    measure_rivals,
    measure_variants,
    read_adapter,
    read_rivals,
)
from appkit.runs.stages import StageResult, fit_stages
from appkit.stats import intervals
from appkit.stats.confidence import Uncalibrated
from appkit.storage.atomic import write_text

if TYPE_CHECKING:
    from appkit.heads.head import Head
    from appkit.models.base import Base
    from appkit.training.loop import Outcome

__all__ = ["TrainResult", "train"]


@dataclass(frozen=True)
class TrainResult:
    """The result of a run."""

    run_dir: Path
    """holds report.md, the plots, predictions and checkpoints"""
    bundle: Path
    """the directory to serve"""
    base: Evaluation | None
    """the strongest rival: the base with examples in its prompt, or a label task's strongest baseline; None when
    eval.baseline is off"""
    adapter: Evaluation
    """the adapter on the test rows"""
    comparison: Mapping[str, intervals.Comparison]
    """the adapter against that rival, by metric"""
    verdict: str
    """the comparison of the primary metric, in words"""


def train(
    config: RunConfig | None = None,
    *,
    resume: str | Path | None = None,
    say: Say = quiet,
    **values: Any,
) -> TrainResult:
    """Train an adapter, measure it against the base, and write the bundle.

    Pass a RunConfig, or its values by keyword (`task="nl2fol", method={"rank": 8}`), or the run directory to
    resume. `say` receives progress lines.

    Raises AppkitError for every error a user can cause; Interrupted after ctrl-C, once the state is saved.
    """
    _require_one_process()
    require_alone(config, values)
    if resume is not None:
        if config is not None or values:
            raise ConfigError(
                f"a resumed run has its own configuration, got {', '.join(values) or 'config'} beside resume; leave "
                "it out, or start a new run"
            )
        run_dir = read_path(resume, "the run to resume")
        config = build_run_config(directory.read_state(run_dir)["config"])
        with directory.locked_run(run_dir):
            if directory.read_state(run_dir).get("phase") == "done":
                return _read_result(prepare(config, say), run_dir, say)
            with _record_events(run_dir) as events:
                events.write(Phase(phase="preparing"))
                return _run(prepare(config, say), run_dir, events, say)
    config = build_run_config(values if config is None else to_values(config))
    try:
        prepared = prepare(config, say)  # before the directory is created, so that bad data leaves none
    except KeyboardInterrupt:
        raise Interrupted("stopped while reading the data; nothing was written, start it again") from None
    run_dir = directory.create(config.run_dir, config.task.name)
    with directory.locked_run(run_dir), _record_events(run_dir) as events:
        return _run(prepared, run_dir, events, say)


def _require_one_process() -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RunError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}: training in several processes is not supported yet; "
            "start appkit without torchrun"
        )


@contextmanager
def _record_events(run_dir: Path) -> Iterator[Events]:
    """Record progress, and a stop or an error that ends the run."""
    events = Events(run_dir)

    def record_end(event: Stopped | Failed) -> None:
        # a run without a state file can only be started anew, in a directory without files
        if (run_dir / directory.STATE).exists():
            with suppress(AppkitError):  # a full disk is most likely the reason that is being recorded
                events.write(event)

    try:
        with watched(events.bar):
            yield events
    except KeyboardInterrupt:
        reason = f"stopped; what was finished is kept, go on with: appkit train --resume {run_dir}"
        record_end(Stopped(reason=reason))
        raise Interrupted(reason) from None
    except Interrupted as stopped:
        record_end(Stopped(reason=str(stopped)))
        raise
    except AppkitError as error:
        record_end(Failed(reason=str(error)))
        raise
    except Exception as error:
        record_end(Failed(reason=f"{type(error).__name__}: {error}"))
        raise


def _read_result(prepared: Prepared, run_dir: Path, say: Say) -> TrainResult:
    """Read the result of a finished run; its files stay as they are."""
    say(f"{run_dir} is finished already")
    if not (run_dir / "predictions.adapter.jsonl").exists():
        raise RunError(f"{run_dir} is damaged: predictions.adapter.jsonl is missing; start a new run")
    adapter = read_adapter(run_dir, prepared)
    rival, comparison, _ = compared(read_rivals(run_dir, prepared), adapter, prepared)
    verdict = str(directory.read_state(run_dir)["verdict"])
    return TrainResult(run_dir, run_dir / "bundle", rival, adapter, comparison, verdict)


def _run(prepared: Prepared, run_dir: Path, events: Events, say: Say) -> TrainResult:
    """Run the steps in their order."""
    began = time.monotonic()
    set_threads(prepared.config.threads)
    start(prepared, run_dir)
    events.write(Phase(phase="loading"))
    base = load_run_base(prepared, run_dir, events, say)
    directory.state(run_dir, phase="training", base=base_facts(prepared.config, base))
    events.write(Phase(phase="measuring rivals"))
    rivals = measure_rivals(run_dir, base, prepared, _make_rival_training(prepared, run_dir, say), say)
    before = None if prepared.earlier else measure_general(run_dir, BEFORE, base.model, prepared, say)
    model = build(prepared, base)
    outcome, stages = fit_adapter(model, prepared, run_dir, events, say)
    events.write(Phase(phase="evaluating"))
    prepared = replace(prepared, head=prepared.head.calibrate(model, prepared.splits.dev))
    # with stages it was measured before the last one
    before = before or measure_general(run_dir, BEFORE, None, prepared, say)
    after = measure_general(run_dir, AFTER, model, prepared, say)
    variants = measure_variants(run_dir, model, prepared, say)
    adapter = measure_adapter(run_dir, model, prepared, say)
    results = Results(
        prepared,
        outcome,
        stages,
        rivals,
        variants,
        adapter,
        measure_quantization(model, base, prepared, adapter),
        prepared.method.export(model, prepared.config.method),
        calibrate_confidence(prepared, adapter, say),
        (before, after) if before and after else None,
    )
    events.write(Phase(phase="bundling"))
    public = write_report(run_dir, results, base, time.monotonic() - began)
    bundle = write_bundle(run_dir, model, results, base, public)
    result = finish(run_dir, bundle, results)
    events.write(Done(verdict=result.verdict, bundle=str(bundle)))
    return result


def start(prepared: Prepared, run_dir: Path) -> None:
    """Write the run's state, config and audit; of a resumed run, raises RunError when its rows changed."""
    config = prepared.config
    if (run_dir / directory.STATE).exists():
        _check_same_data(run_dir, prepared)
    else:
        directory.state(
            run_dir,
            task=prepared.head.task.name,
            phase="started",
            config=to_values(config),
            versions=directory.versions(),
            seed=config.seed,
            data={"sources": prepared.sources, **prepared.data_fingerprints()},
        )
    # after the state: a directory with a config but no state could be neither resumed nor started anew
    write_text(run_dir / "config.yaml", to_yaml(config))
    write_text(run_dir / "audit.md", prepared.head.render(prepared.examples, prepared.records))


def _check_same_data(run_dir: Path, prepared: Prepared) -> None:
    recorded = directory.read_state(run_dir)["data"]
    for name, now in prepared.data_fingerprints().items():
        if recorded.get(name) != now:
            raise RunError(
                f"the {name} rows changed since {run_dir} was started ({recorded[name]} then, {now} now); "
                "restore the file, or start a new run"
            )


def build(prepared: Prepared, base: Base) -> Any:
    """Build the model to train: the head on the base, the method's adapter on both."""
    import torch

    config = prepared.config
    torch.manual_seed(config.seed)
    model = prepared.method.build(prepared.head.attach(base.model), config.method)
    checkpointing = config.train.gradient_checkpointing
    if checkpointing == "on" or (checkpointing == "auto" and base.device.type == "cuda"):
        base.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model


def fit_adapter(
    model: Any, prepared: Prepared, run_dir: Path, events: Events, say: Say
) -> tuple[Outcome, list[StageResult]]:
    """Train the adapter through its stages. Raises Interrupted after ctrl-C, once the state is saved."""
    outcome, stages = fit_stages(model, prepared, run_dir, events, say)
    steps = sum(len(stage.plan) for stage in prepared.earlier) + len(prepared.plan)
    return _raise_if_stopped(outcome, run_dir, steps), stages


def _make_rival_training(prepared: Prepared, run_dir: Path, say: Say) -> Any:
    """Make the function that trains a rival like the adapter, without measuring dev rows."""
    config, task = prepared.config, prepared.head.task
    config = config.model_copy(
        update={"train": config.train.model_copy(update={"eval_steps": None, "select": "last"})}
    )

    def train(model: Any, head: Head, examples: Sequence[Any], plan: Sequence[Any], folder: Path) -> Outcome:
        from appkit.training.loop import fit

        primary = task.metric(task.primary)
        outcome = fit(
            model, config, prepared.method, head, examples, plan, lambda _: {}, primary, folder, say
        )
        return _raise_if_stopped(outcome, run_dir, len(plan))

    return train


def _raise_if_stopped(outcome: Outcome, run_dir: Path, steps: int) -> Outcome:
    """Return the outcome; raises Interrupted, after noting it in the run's state, if ctrl-C ended the training."""
    if outcome.interrupted:
        directory.state(run_dir, phase="interrupted")
        raise Interrupted(
            f"stopped after step {outcome.steps} of {steps}, all saved; go on with: "
            f"appkit train --resume {run_dir}"
        )
    return outcome


def calibrate_confidence(prepared: Prepared, adapter: Evaluation, say: Say) -> Any:
    """Calibrate the adapter's confidence on the test rows, or say why it has none."""
    task = prepared.head.task
    judge = adapter.scores[task.judge or task.primary]
    scored = [place for place in range(len(prepared.test)) if place not in judge.unscored]
    confidence: Any = Uncalibrated(f"{judge.metric.name} could score none of the test rows")
    if scored:
        confidence = prepared.head.confidence(
            judge.metric,
            judge.matrix[scored],
            [prepared.test[place] for place in scored],
            [adapter.predictions[place] for place in scored],
            len(prepared.splits.dev),
        )
    missing = "not calibrated, " if isinstance(confidence, Uncalibrated) else ""
    say(f"confidence: {missing}{confidence}")
    return confidence


def finish(run_dir: Path, bundle: Path, results: Results) -> TrainResult:
    """Write the run's last state and return its result."""
    prepared = results.prepared
    primary = prepared.head.task.primary
    rival, comparison, verdict = compared(results.rivals, results.adapter, prepared)
    figures = [format_value(evaluation.scores[primary].interval) for evaluation in results.columns]
    directory.state(
        run_dir,
        phase="done",
        verdict=verdict,
        score=f"{' → '.join(figures)} {primary}",
        bundle=str(bundle),
        results={evaluation.who: evaluation.summary() for evaluation in results.columns},
        quantization=results.quantization,
    )
    return TrainResult(run_dir, bundle, rival, results.adapter, comparison, verdict)
