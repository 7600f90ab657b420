"""`appkit.evaluate`: bundles on the same rows, alone, against their base or against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appkit import bundle as bundles
from appkit import report as reports
from appkit import stats
from appkit.chat import Chat
from appkit.config import RunConfig, build_run_config
from appkit.data import Record, Splits, load_splits, subset
from appkit.errors import RunError
from appkit.evaluation import Evaluation, evaluate_rows, few_shot_messages, token_cap
from appkit.plugins import load_task
from appkit.run import Say, quiet, set_threads
from appkit.task import Task

__all__ = ["Comparison", "evaluate"]


@dataclass(frozen=True)
class Comparison:
    """Bundles (or the base) on the same rows; verdict is None for a single one."""

    evaluations: Sequence[Evaluation]
    comparison: Mapping[str, stats.Comparison]
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
    specialists = [bundles.load(target) for target in targets[:1]]
    if config is None:
        own = [one.manifest for one in specialists]
        config = bundles.eval_config(own[0], values) if own else build_run_config(values)
    set_threads(config.threads)
    task = load_task(config.task.name)
    splits = load_splits(task, config.task, config.data)
    rows = subset(splits.test, config.eval.rows) if config.eval.rows else list(splits.test)
    done: list[Evaluation] = []
    for number, target in enumerate(targets):
        one = specialists[0] if number == 0 else bundles.load(target)
        if one.task.name != task.name:
            raise RunError(f"{target} is a bundle of task {one.task.name!r}, the rows are of {task.name!r}")
        same = config.decoding.max_new_tokens == one.config.decoding.max_new_tokens
        cap = one.cap if same else _cap(config, task, one.chat, splits)
        if number == 0 and len(targets) == 1 and config.eval.baseline:
            train_rows = [record.value for record in splits.train]
            shots = few_shot_messages(task, config.task, train_rows, config.eval.few_shot)
            with one.model.disable_adapter():
                done.append(
                    _evaluate_one(f"base, {config.eval.few_shot}-shot", one, rows, config, cap, shots, say)
                )
        done.append(_evaluate_one(str(target), one, rows, config, cap, (), say))
    if not targets:
        done.append(_evaluate_base(config, task, splits, rows, say))
    compared: Mapping[str, stats.Comparison] = {}
    summary = None
    if len(done) > 1:
        compared = reports.comparisons(done[0], done[-1], config.eval.resamples)
        summary = reports.verdict(task, compared[task.primary], done[0].who, done[-1].who)
    return Comparison(done, compared, summary)


def _evaluate_one(
    who: str,
    one: bundles.Specialist,
    rows: Sequence[Record],
    config: RunConfig,
    cap: int,
    shots: Sequence[Any],
    say: Say,
) -> Evaluation:
    done = evaluate_rows(
        who,
        one.model,
        one.chat,
        one.task,
        one.config.task,
        rows,
        config.decoding,
        cap,
        shots=shots,
        batch_rows=config.eval.batch_rows,
        log_probabilities=not shots,  # of bundles, as in their runs
        resamples=config.eval.resamples,
    )
    say(f"{who}: {len(rows)} rows in {done.seconds:.0f} s")
    return done


def _evaluate_base(
    config: RunConfig, task: Task, splits: Splits, rows: Sequence[Record], say: Say
) -> Evaluation:
    from appkit import attention
    from appkit.models import load_base

    base = load_base(config.model, config.quant)
    attention.use(base.model)
    chat = Chat.of(base)
    train_rows = [record.value for record in splits.train]
    shots = few_shot_messages(task, config.task, train_rows, config.eval.few_shot)
    return evaluate_rows(
        f"base, {config.eval.few_shot}-shot",
        base.model,
        chat,
        task,
        config.task,
        rows,
        config.decoding,
        _cap(config, task, chat, splits),
        shots=shots,
        batch_rows=config.eval.batch_rows,
        resamples=config.eval.resamples,
    )


def _cap(config: RunConfig, task: Task, chat: Chat, splits: Splits) -> int:
    """The most tokens of an answer, by the configuration and the rows to train on."""
    longest = max(len(chat.ids(task.answer_text(record.value, config.task))) for record in splits.train)
    return token_cap(config.decoding, longest)
