"""Loop is the one training loop: a small subclass of transformers.Trainer, for every head and method.

What it changes: one item of the dataloader is one optimizer step (its micro-batches laid out by the plan), so the loss
is divided by the units of the whole step and resuming needs only the step's number; checkpoints are staged, synced and
renamed; every step is logged.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainerState, TrainingArguments

from appkit.config import RunConfig
from appkit.errors import RunError
from appkit.heads.head import Head
from appkit.method import Method, Training
from appkit.models.batch import Batch
from appkit.progress import Progress
from appkit.storage.atomic import explained, sync, write_text
from appkit.task import Metric
from appkit.training import checkpoint
from appkit.training.callbacks import ForecastCorrection, MethodHooks, ProgressBar, Stopper
from appkit.training.domains import DomainLosses
from appkit.training.forecast import Pace
from appkit.training.optimizer import make_optimizer, schedule, trackers
from appkit.training.plan import Step
from appkit.training.state import load_method_state, load_state, save_state

__all__ = ["Journal", "Outcome", "fit"]


@dataclass(frozen=True)
class Outcome:
    """How training ended."""

    steps: int
    """optimizer steps done in all"""
    interrupted: bool
    """the user stopped it"""
    best_step: int
    """of the checkpoint whose weights the model now has"""
    seconds: float
    """of this call alone"""
    tokens: int
    """trained on in this call"""
    supervised: int
    """units of the loss in this call"""
    trained: int
    """parameters that were trained, a head's included"""
    notes: tuple[str, ...]
    """for the report, a line each"""


class Journal(Protocol):
    """Where the loop records its progress, such as a run's events."""

    def training(self, step: int, steps: int) -> None:
        """Record that training begins after `step` of `steps`; steps recorded after it are repeated."""

    def forecast(self, text: str) -> None:
        """Record the time that training will take, corrected by its first steps."""

    def step(self, step: int, loss: float, tokens_per_s: float) -> None:
        """Record an optimizer step."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Record the metrics of the dev rows."""

    def sync(self) -> None:
        """Sync the records to the disk: after a power cut, all up to the last checkpoint must be there."""


class Loop(Trainer):  # type: ignore[misc]
    """Trainer over a plan of steps."""

    optimizer: Any
    lr_scheduler: Any
    control: Any

    def __init__(
        self,
        model: Any,
        arguments: TrainingArguments,
        config: RunConfig,
        method: Method,
        head: Head,
        examples: Sequence[Any],
        plan: Sequence[Step],
        measure: Callable[[Any], dict[str, float]],
        run_dir: Path,
        callbacks: list[TrainerCallback],
        training: Training,
        journal: Journal | None = None,
    ) -> None:
        self.journal, self.training = journal, training
        # fixed here: a method may freeze parameters for some steps, and a checkpoint holds all of them
        self.trained = tuple(name for name, parameter in model.named_parameters() if parameter.requires_grad)
        self.config, self.method, self.examples, self.plan = config, method, examples, plan
        self.head = head
        self.measure, self.folder = measure, run_dir / "checkpoints"
        self.curve = run_dir / "metrics.jsonl"
        self.device = next(model.parameters()).device
        self.fresh_tokens = self.fresh_supervised = 0
        self.domain_losses: dict[str, float] = {}
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=list(plan),
            eval_dataset=[],
            callbacks=callbacks,
        )
        from transformers.trainer_callback import PrinterCallback, ProgressCallback

        self.remove_callback(PrinterCallback)
        self.remove_callback(ProgressCallback)

    def go_on(self, newest: Path | None) -> None:
        """Train from the newest checkpoint, or from the start."""
        if newest and _is_patience_used_up(newest, self.config.train.patience):
            # on loading, the trainer's control does not know that early stopping had ended the run
            load_state(newest, self.model, self.trained, self.method)
            self.state = TrainerState.load_from_json(str(newest / "trainer_state.json"))
        else:
            self.train(resume_from_checkpoint=str(newest) if newest else None)

    def count_trained(self) -> int:
        """Count the parameters that are trained."""
        parameters = dict(self.model.named_parameters())
        return sum(parameters[name].numel() for name in self.trained)

    def get_train_dataloader(self) -> DataLoader[Step]:
        return DataLoader(self.train_dataset, batch_size=1, shuffle=False, collate_fn=lambda steps: steps[0])

    def get_batch_samples(
        self, epoch_iterator: Any, num_batches: int, device: Any
    ) -> tuple[list[Step], None]:
        # the loss is normalized in training_step, over the units that the head declares
        return [next(epoch_iterator)], None

    def floating_point_ops(self, inputs: Any) -> int:
        return 0  # counted from the architecture in benchmarks, not guessed from input shapes

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            parameters = dict(self.model.named_parameters())
            trained = {name: parameters[name] for name in self.trained}
            self.optimizer = make_optimizer(self.model, trained, self.config, self.method, self.device)
        optimizer: torch.optim.Optimizer = self.optimizer
        return optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        if self.lr_scheduler is None:
            shape = schedule(self.config.train, num_training_steps)
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, shape)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """Run one step's micro-batches forward and backward; return the step's mean loss per unit of the head."""
        model.train()
        rows = [[self.examples[row] for row in batch] for batch in inputs.batches]
        units = sum(example.targets for batch in rows for example in batch)
        total = torch.zeros((), device=self.device)
        by_domain = DomainLosses()
        for examples in rows:
            batch = self.head.collate(examples, self.device)
            losses = self.head.losses(model, batch)
            by_domain.add(examples, losses)
            loss = losses.sum() / units
            if self.method.extra_loss:
                share = sum(example.targets for example in examples) / units
                loss = loss + self.method.extra_loss(model, batch, self.training) * share
            self.accelerator.backward(loss)
            total += loss.detach()
        if not torch.isfinite(total):
            raise RunError(
                f"the loss became {float(total)} at step {self.state.global_step + 1}; "
                f"lower train.learning_rate (now {self.config.train.learning_rate:g}) or raise train.warmup"
            )
        self.domain_losses = by_domain.means()
        self.fresh_supervised += units
        self.fresh_tokens += sum(len(example.tokens) for batch in rows for example in batch)
        return total

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Measure the task's metrics on the dev rows; a checkpoint always follows, so that the best one exists."""
        self.model.eval()
        values = self.measure(self.model)
        metrics = {f"eval_{name}": value for name, value in values.items()}
        self.log(dict(metrics))
        if self.journal:
            known = {name: value for name, value in values.items() if math.isfinite(value)}
            self.journal.metrics(self.state.global_step, known)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        self.control.should_save = True
        return metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        super().log(logs, start_time)
        entry = {"step": self.state.global_step, **{k: v for k, v in logs.items() if k != "epoch"}}
        if "loss" in logs and len(self.domain_losses) > 1:
            entry["losses"] = self.domain_losses
        if any(key == "loss" or key.startswith("eval_") for key in logs):
            with self.curve.open("a", encoding="utf-8") as handle:
                handle.write(json.dumps(entry) + "\n")

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        step = self.state.global_step
        if checkpoint.of(self.folder, step) is None:
            # after a power cut, the lines of all steps up to a checkpoint must be there
            with explained(self.curve):
                sync(self.curve)
                sync(self.curve.parent)
            if self.journal:
                self.journal.sync()
            checkpoint.save(self.folder, step, self._write, {"config": self.config.train.name})
        checkpoint.prune(self.folder, self.config.train.keep_checkpoints, self.state.best_global_step)

    def _write(self, stage: Path) -> None:
        save_state(stage, self.model, self.trained, self.method)
        self._save_optimizer_and_scheduler(str(stage))
        self._save_rng_state(str(stage))
        for callback in [*self.callback_handler.callbacks, self.control]:
            if hasattr(callback, "from_state"):
                self.state.stateful_callbacks[type(callback).__name__] = callback.state()
        self.state.save_to_json(str(stage / "trainer_state.json"))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_state(Path(resume_from_checkpoint), self.model, self.trained, self.method)


def fit(
    model: Any,
    config: RunConfig,
    method: Method,
    head: Head,
    examples: Sequence[Any],
    plan: Sequence[Step],
    measure: Callable[[Any], dict[str, float]],
    primary: Metric,
    run_dir: Path,
    say: Callable[[str], None] = lambda line: None,
    journal: Journal | None = None,
    *,
    carried: bool = False,
) -> Outcome:
    """Train `model` over `plan`, from the newest complete checkpoint of `run_dir` if there is one.

    examples: what `head` collates, each with `tokens` and `targets`. measure: model in eval mode -> the task's dev
    metrics by name. `say` receives the first step, the corrected forecast and every damaged checkpoint; `journal` every
    step. carried: the adapter was trained before, so the method does not prepare it anew. On return the model has the
    weights that `train.select` names. Raises RunError when the loss is not finite.
    """
    train, folder = config.train, run_dir / "checkpoints"
    newest, notes = _find_newest_checkpoint(run_dir, len(plan), say)
    first_step = int(newest.name.removeprefix("step-")) if newest else 0
    if journal:
        journal.training(first_step, len(plan))
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(run_dir / "tensorboard")
    arguments = _arguments(config, len(plan), primary, run_dir)
    stopper = Stopper()
    bar = Progress("training", len(plan), "steps", first_step)
    training = _begin_training(model, config, method, head, examples, plan, newest, carried)
    progress = ProgressBar(bar)
    correction = ForecastCorrection(
        [_count_tokens(step, examples) for step in plan[first_step:]],
        lambda pace: _record_pace(pace, say, journal),
    )
    callbacks: list[TrainerCallback] = [MethodHooks(method, training), progress, correction, stopper]
    if train.patience and train.eval_steps:
        callbacks.append(EarlyStoppingCallback(train.patience))
    loop = Loop(
        model,
        arguments,
        config,
        method,
        head,
        examples,
        plan,
        measure,
        run_dir,
        callbacks,
        training,
        journal,
    )
    progress.loop = loop
    began = time.monotonic()
    with stopper, bar:
        loop.go_on(newest)
    steps = loop.state.global_step
    chosen = loop.state.best_global_step if train.select == "best" and loop.state.best_global_step else steps
    interrupted = stopper.requested and steps < len(plan)
    if chosen != steps and not interrupted:
        load_state(checkpoint.of_step(folder, chosen), model, loop.trained, method)
        notes.append(f"the weights of step {chosen} are kept: best {primary.name} on the dev rows")
    if steps < len(plan) and not stopper.requested:
        notes.append(f"stopped early at step {steps} of {len(plan)}: no gain in {train.patience} evaluations")
    model.eval()
    return Outcome(
        steps,
        interrupted,
        chosen,
        time.monotonic() - began,
        loop.fresh_tokens,
        loop.fresh_supervised,
        loop.count_trained(),
        tuple(notes),
    )


def _count_tokens(step: Step, examples: Sequence[Any]) -> int:
    return sum(len(examples[row].tokens) for batch in step.batches for row in batch)


def _record_pace(pace: Pace, say: Callable[[str], None], journal: Journal | None) -> None:
    say(f"forecast: {pace}")
    if journal:
        journal.forecast(str(pace))


def _find_newest_checkpoint(
    run_dir: Path, steps: int, say: Callable[[str], None]
) -> tuple[Path | None, list[str]]:
    """Find the checkpoint to go on from, with notes on damaged ones; remove later checkpoints and curve lines."""
    folder = run_dir / "checkpoints"
    newest, notes = checkpoint.latest(folder)
    step = int(newest.name.removeprefix("step-")) if newest else 0
    for note in notes:
        say(note)
    say(
        f"training: going on from step {step} of {steps}"
        if step
        else f"training: from the start, {steps} steps"
    )
    _cut_curve(run_dir / "metrics.jsonl", step)
    for damaged in checkpoint.checkpoints(folder):
        if newest is None or damaged.name > newest.name:
            checkpoint.discard(damaged)
    return newest, notes


def _begin_training(
    model: Any,
    config: RunConfig,
    method: Method,
    head: Head,
    examples: Sequence[Any],
    plan: Sequence[Step],
    newest: Path | None,
    carried: bool,
) -> Training:
    """Make the hooks' Training; call the method's `before_training`, or of a resumed run load the method's state."""
    device = next(model.parameters()).device

    def batches() -> Iterator[Batch]:
        for step in plan:
            for rows in step.batches:
                yield head.collate([examples[row] for row in rows], device)

    training = Training(config.method, config.seed, len(plan), head.loss, batches)
    if newest is not None and method.load_state:
        load_method_state(newest, model, method)
    elif method.before_training and not carried:
        method.before_training(model, training)
    return training


def _is_patience_used_up(newest: Path, patience: int | None) -> bool:
    if patience is None:
        return False
    state = json.loads((newest / "trainer_state.json").read_text(encoding="utf-8"))
    stopping = state["stateful_callbacks"].get("EarlyStoppingCallback")
    return bool(stopping and stopping["attributes"]["early_stopping_patience_counter"] >= patience)


def _arguments(config: RunConfig, steps: int, primary: Metric, run_dir: Path) -> TrainingArguments:
    train = config.train
    return TrainingArguments(
        output_dir=str(run_dir / "checkpoints"),
        per_device_train_batch_size=1,
        max_steps=steps,
        learning_rate=train.learning_rate,
        max_grad_norm=train.max_grad_norm,
        logging_steps=1,
        logging_nan_inf_filter=False,
        eval_strategy="steps" if train.eval_steps else "no",
        eval_steps=train.eval_steps,
        save_strategy="steps",
        save_steps=train.save_steps or train.eval_steps or max(10, steps // 8),
        metric_for_best_model=primary.name,
        greater_is_better=primary.higher_is_better,
        report_to=trackers(train.trackers),
        seed=config.seed,
        data_seed=config.seed,
        use_cpu=not torch.cuda.is_available(),
        remove_unused_columns=False,
        disable_tqdm=True,
        dataloader_pin_memory=False,
        average_tokens_across_devices=False,
        log_level="error",
    )


def _cut_curve(curve: Path, step: int) -> None:
    """Remove the lines logged after the checkpoint: those steps are repeated."""
    if not curve.exists():
        return
    lines = []
    for line in curve.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # the line that a killed process was writing
            continue
        if entry["step"] <= step:
            lines.append(line)
    write_text(curve, "".join(line + "\n" for line in lines))
