"""`appkit.evaluate`: bundles on the same rows, alone, against their base or against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from appkit.bundles import specialist
from appkit.config import RunConfig, build_run_config
from appkit.data.rows import Record
from appkit.data.splits import Splits, subset
from appkit.errors import RunError
from appkit.evaluation import report as reports
from appkit.evaluation.baselines import measure
from appkit.evaluation.scores import Evaluation, evaluate_rows, few_shot_messages
from appkit.heads.head import Kind
from appkit.heads.label import Labelling
from appkit.heads.lm import Generating, token_cap
from appkit.models.chat import Chat
from appkit.plugins import load_task
from appkit.rag.rows import load_rows, without_passages
from appkit.runs.prepare import Say, quiet
from appkit.runs.train import set_threads
from appkit.stats import intervals
from appkit.task import Task

__all__ = ["Comparison", "evaluate"]


@dataclass(frozen=True)
class Comparison:
    """Bundles (or the base) on the same rows; verdict is None for a single one."""

    evaluations: Sequence[Evaluation]
    comparison: Mapping[str, intervals.Comparison]
    verdict: str | None


def evaluate(
    *targets: str | Path,
    config: RunConfig | None = None,
    say: Say = quiet,
    **values: Any,
) -> Comparison:
    """Measure bundles on test rows: one alone, or each against the first (the base with few shots if one).

    Without targets, the configured base is measured alone. The rows are those of `config` (or of the keyword
    values), else those of the first bundle.

    A bundle's answers may have as many tokens as it was trained to give, unless decoding.max_new_tokens says
    otherwise.

    Raises BundleError for a bundle that does not load, RunError for bundles of different tasks, ConfigError
    for a keyword that would change nothing.
    """
    specialists = [specialist.load(target) for target in targets[:1]]
    if config is None:
        own = [one.manifest for one in specialists]
        config = specialist.eval_config(own[0], values) if own else build_run_config(values)
    set_threads(config.threads)
    task = specialists[0].task if specialists else load_task(config.task.name)
    splits, _ = load_rows(task, config)
    rows = subset(splits.test, config.eval.rows) if config.eval.rows else list(splits.test)
    done: list[Evaluation] = []
    beside: list[Evaluation] = []  # shown, and nothing is compared with them
    for number, target in enumerate(targets):
        one = specialists[0] if number == 0 else specialist.load(target)
        if one.task.name != task.name:
            raise RunError(f"{target} is a bundle of task {one.task.name!r}, the rows are of {task.name!r}")
        kind = _measured_as(one, config, splits)
        if number == 0 and len(targets) == 1 and config.eval.baseline:
            if isinstance(kind, Generating):
                train_rows = [record.value for record in splits.train]
                shots = few_shot_messages(task, config.task, train_rows, config.eval.few_shot)
                plain = replace(kind, shots=tuple(shots), log_probabilities=False)
                with one.model.disable_adapter():
                    done.append(
                        _evaluate_one(f"base, {config.eval.few_shot}-shot", one, plain, rows, config, say)
                    )
            elif isinstance(kind, Labelling):
                done += [
                    measure.measured(name, kind, splits.train, splits.dev, rows, config.eval.resamples)
                    for name in measure.names(kind, config.eval.baselines)
                ]
        if task.retrieval:
            bare = without_passages(task, rows)
            beside.append(_evaluate_one(f"{target}, without passages", one, kind, bare, config, say))
        done.append(_evaluate_one(str(target), one, kind, rows, config, say))
    if not targets:
        done.append(_evaluate_base(config, task, splits, rows, say))
    compared: Mapping[str, intervals.Comparison] = {}
    summary = None
    if len(done) > 1:
        strongest = reports.strongest(done[:-1], task) if len(targets) == 1 else done[0]
        compared = reports.comparisons(strongest, done[-1], config.eval.resamples)
        summary = reports.verdict(task, compared[task.primary], strongest.who, done[-1].who)
    return Comparison([*done[:-1], *beside, *done[-1:]], compared, summary)


def _measured_as(one: specialist.Specialist, config: RunConfig, splits: Splits) -> Kind:
    """The bundle's kind, with the batches and the longest answer that `config` asks for."""
    kind = one.kind
    if not isinstance(kind, Generating):
        return kind
    same = config.decoding.max_new_tokens == one.config.decoding.max_new_tokens
    cap = one.cap if same else _cap(config, one.task, one.chat, splits)
    return replace(
        kind,
        decoding=config.decoding,
        cap=cap,
        batch_rows=config.eval.batch_rows,
        log_probabilities=True,  # of bundles, as in their runs
    )


def _evaluate_one(
    who: str, one: specialist.Specialist, kind: Kind, rows: Sequence[Record], config: RunConfig, say: Say
) -> Evaluation:
    done = evaluate_rows(who, kind, one.model, rows, resamples=config.eval.resamples)
    say(f"{who}: {len(rows)} rows in {done.seconds:.0f} s")
    return done


def _evaluate_base(
    config: RunConfig, task: Task, splits: Splits, rows: Sequence[Record], say: Say
) -> Evaluation:
    from appkit.models import attention
    from appkit.models.load import load_base

    if task.kind != "generate":
        raise RunError(
            f"task {task.name!r} labels, which a base without a trained head cannot; name a bundle to measure"
        )
    base = load_base(config.model, config.quant)
    attention.use(base.model)
    chat = Chat.of(base)
    train_rows = [record.value for record in splits.train]
    shots = tuple(few_shot_messages(task, config.task, train_rows, config.eval.few_shot))
    cap = _cap(config, task, chat, splits)
    kind = Generating(task, config.task, chat, config.decoding, cap, config.eval.batch_rows, shots)
    who = f"base, {config.eval.few_shot}-shot"
    return evaluate_rows(who, kind, base.model, rows, resamples=config.eval.resamples)


def _cap(config: RunConfig, task: Task, chat: Chat, splits: Splits) -> int:
    """The most tokens of an answer, by the configuration and the rows to train on."""
    longest = max(len(chat.ids(task.answer_text(record.value, config.task))) for record in splits.train)
    return token_cap(config.decoding, longest)
