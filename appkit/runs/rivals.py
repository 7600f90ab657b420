"""What a run measures: its adapter, and what that has to beat. Answers are kept; a resumed run reads them back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appkit.errors import DataError
from appkit.evaluation.baselines import measure
from appkit.evaluation.scores import Evaluation, evaluate_rows, few_shot_messages, read_evaluation, scored
from appkit.heads.label import Labelling
from appkit.heads.lm import Generating, token_cap
from appkit.training.plan import plan as batch_plan

if TYPE_CHECKING:
    from appkit.data.rows import Record
    from appkit.heads import Head
    from appkit.models.base import Base
    from appkit.runs.prepare import Prepared

__all__ = ["Train", "adapter", "kept", "kept_rivals", "rivals", "without_passages"]

Say = Callable[[str], None]
BARE = "adapter-without-passages"
Train = Callable[[Any, "Head", Sequence[Any], Sequence[Any], Path], Any]
"""(model, head, examples, plan, folder) -> loop.Outcome: train in the folder, with nothing measured on the way."""


def adapter(run_dir: Path, model: Any, prepared: Prepared, say: Say) -> Evaluation:
    """The trained model on the test rows."""
    kind = prepared.kind
    if isinstance(kind, Generating):
        kind = replace(kind, log_probabilities=True)  # its confidence is calibrated, the base's is not
    resamples = prepared.config.eval.resamples
    return _once(
        run_dir,
        "adapter",
        prepared,
        say,
        lambda: evaluate_rows("adapter", kind, model, prepared.test, resamples=resamples),
    )


def without_passages(run_dir: Path, model: Any, prepared: Prepared, say: Say) -> list[Evaluation]:
    """The trained model on the test rows without their documents; none of a pack that has no rule for any."""
    if prepared.task.retrieval is None:
        return []
    from appkit.rag import rows

    who, resamples = BARE, prepared.config.eval.resamples
    bare = rows.without_passages(prepared.task, prepared.test)
    prepared = replace(prepared, test=bare)
    return [
        _once(
            run_dir,
            who,
            prepared,
            say,
            lambda: evaluate_rows(_label(who, prepared), prepared.kind, model, bare, resamples=resamples),
        )
    ]


def rivals(run_dir: Path, base: Base, prepared: Prepared, train: Train, say: Say) -> list[Evaluation]:
    """What the adapter has to beat on the same rows; the base is afterwards as it was.

    Of a generative task the base with examples in its prompt. Of a label task the baselines of `eval.baselines`.
    """

    def fresh(who: str) -> Evaluation:
        kind = prepared.kind
        if isinstance(kind, Generating):
            return _few_shot(who, base, kind, prepared)
        assert isinstance(kind, Labelling)
        if who == "generative":
            say(f"{who}: the same base is trained to write the label")
            return _generative(run_dir / who, base, kind, prepared, train)
        resamples = prepared.config.eval.resamples
        return measure.measured(who, kind, _rows(prepared), prepared.splits.dev, prepared.test, resamples)

    return [
        _once(run_dir, who, prepared, say, lambda who=who: fresh(who))  # type: ignore[misc]
        for who in _names(prepared)
    ]


def kept_rivals(run_dir: Path, prepared: Prepared) -> list[Evaluation]:
    """Those of a run that is done."""
    return [kept(run_dir, who, prepared) for who in _names(prepared) if _file(run_dir, who).exists()]


def kept(run_dir: Path, who: str, prepared: Prepared) -> Evaluation:
    """An evaluation of this run read back, scored again."""
    label, resamples = _label(who, prepared), prepared.config.eval.resamples
    return read_evaluation(_file(run_dir, who), label, prepared.task, prepared.test, resamples)


def _once(
    run_dir: Path, who: str, prepared: Prepared, say: Say, fresh: Callable[[], Evaluation]
) -> Evaluation:
    if _file(run_dir, who).exists():
        return kept(run_dir, who, prepared)
    done = fresh()
    done.write(_file(run_dir, who), prepared.task)
    primary = done.scores[prepared.task.primary].interval
    tokens = f", {done.tokens} tokens" if done.tokens else ""
    say(f"{done.who}: {prepared.task.primary} {primary.value:.3f} in {done.seconds:.0f} s{tokens}")
    return done


def _file(run_dir: Path, who: str) -> Path:
    return run_dir / f"predictions.{who}.jsonl"


def _label(who: str, prepared: Prepared) -> str:
    shots = prepared.config.eval.few_shot
    return {"base": f"base, {shots}-shot", BARE: "adapter, without passages"}.get(who, who)


def _names(prepared: Prepared) -> tuple[str, ...]:
    options = prepared.config.eval
    if not options.baseline:
        return ()
    if not isinstance(prepared.kind, Labelling):
        return ("base",)
    generative = ("generative",) if options.baselines == "all" else ()
    return (*measure.names(prepared.kind, options.baselines), *generative)


def _rows(prepared: Prepared) -> list[Record]:
    """The rows that the adapter learns from, no more."""
    return list({id(record): record for record in prepared.records}.values())


def _few_shot(who: str, base: Base, kind: Generating, prepared: Prepared) -> Evaluation:
    config = prepared.config
    rows = [record.value for record in prepared.records]
    shots = few_shot_messages(prepared.task, config.task, rows, config.eval.few_shot)
    kind = replace(kind, shots=tuple(shots))
    resamples = config.eval.resamples
    return evaluate_rows(_label(who, prepared), kind, base.model, prepared.test, resamples=resamples)


def _generative(folder: Path, base: Base, kind: Labelling, prepared: Prepared, train: Train) -> Evaluation:
    """The same base, method and rows, trained to write the label."""
    import torch

    from appkit.evaluation.baselines.generative import as_text, read_back

    config, task = prepared.config, as_text(kind)
    writing = Generating(task, config.task, kind.chat, task.decoding, 0, config.eval.batch_rows)
    examples, _, _ = writing.encode(_rows(prepared), config.data.max_length, "drop")
    if not examples:
        raise DataError("no row is short enough for the generative baseline; raise data.max_length")
    writing = replace(writing, cap=token_cap(task.decoding, max(example.targets for example in examples)))
    sizes = config.train
    lengths = [len(example.tokens) for example in examples]
    plan = batch_plan(lengths, sizes.batch_rows, sizes.batch_tokens, sizes.epochs, config.seed)
    torch.manual_seed(config.seed)
    model = prepared.method.build(base.model, config.method)
    folder.mkdir(exist_ok=True)
    outcome = train(model, writing.head, examples, plan, folder)
    answers = writing.answer(
        model, [record.value for record in prepared.test], title=f"evaluating {folder.name}"
    )
    model.unload()
    for parameter in base.model.parameters():
        parameter.requires_grad_(False)
    predictions = [
        read_back(kind, record.value, one) for record, one in zip(prepared.test, answers, strict=True)
    ]
    resamples = config.eval.resamples
    return scored(folder.name, prepared.task, prepared.test, predictions, outcome.seconds, resamples)
