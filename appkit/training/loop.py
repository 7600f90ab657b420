"""THE training loop: a small subclass of transformers.Trainer, for every head and method.

What it changes: one item of the dataloader is one optimizer step (its micro-batches laid out by the plan), so
the loss is divided by the units of the whole step and resuming is a matter of the step's number; checkpoints
are staged, synced and renamed; every step is logged.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainerState, TrainingArguments

from appkit.config import RunConfig, TrainConfig
from appkit.errors import ConfigError, RunError
from appkit.heads.head import Head
from appkit.method import Method
from appkit.progress import Progress
from appkit.storage.atomic import explained, sync, write_text
from appkit.task import Metric
from appkit.training import checkpoint
from appkit.training.plan import Step

__all__ = ["Journal", "Outcome", "check_choices", "fit"]

WEIGHTS = "trainable.safetensors"


@dataclass(frozen=True)
class Outcome:
    """How training ended.

    steps: optimizer steps done in all. interrupted: the user stopped it. best_step: of the checkpoint whose
    weights the model now has. seconds, tokens, supervised: of this call alone. notes: for the report.
    """

    steps: int
    interrupted: bool
    best_step: int
    seconds: float
    tokens: int
    supervised: int
    notes: tuple[str, ...]


class Journal(Protocol):
    """Where the loop records its way; a run's events are one."""

    def training(self, step: int, steps: int) -> None:
        """Training begins behind `step` of `steps`: what was recorded behind it is repeated."""

    def step(self, step: int, loss: float, tokens_per_s: float) -> None: ...

    def metrics(self, step: int, values: Mapping[str, float]) -> None: ...

    def sync(self) -> None:
        """A checkpoint stands for every record up to its step: after a power cut they must be there."""


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
        journal: Journal | None = None,
    ) -> None:
        self.journal = journal
        self.config, self.method, self.examples, self.plan = config, method, examples, plan
        self.head = head
        self.measure, self.folder = measure, run_dir / "checkpoints"
        self.curve = run_dir / "metrics.jsonl"
        self.device = next(model.parameters()).device
        self.fresh_tokens = self.fresh_supervised = 0
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
            train = self.config.train
            trainable = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
            groups: Any = [{"params": trainable}]
            if self.method.param_groups:
                groups = self.method.param_groups(self.model, self.config.method, train.learning_rate)
            self.optimizer = _optimizer(train, groups, self.device)
        optimizer: torch.optim.Optimizer = self.optimizer
        return optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        if self.lr_scheduler is None:
            shape = schedule(self.config.train, num_training_steps)
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, shape)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """Forward and backward of one step's micro-batches; the mean loss per unit of the head, over the whole step."""
        model.train()
        rows = [[self.examples[row] for row in batch] for batch in inputs.batches]
        units = sum(example.targets for batch in rows for example in batch)
        total = torch.zeros((), device=self.device)
        for batch in rows:
            loss = self.head.loss(model, self.head.collate(batch, self.device)) / units
            self.accelerator.backward(loss)
            total += loss.detach()
        if self.method.extra_loss:
            extra = self.method.extra_loss(model)
            self.accelerator.backward(extra)
            total += extra.detach()
        if not torch.isfinite(total):
            raise RunError(
                f"the loss became {float(total)} at step {self.state.global_step + 1}; "
                f"lower train.learning_rate (now {self.config.train.learning_rate:g}) or raise train.warmup"
            )
        self.fresh_supervised += units
        self.fresh_tokens += sum(len(example.tokens) for batch in rows for example in batch)
        return total

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """The task's metrics on the dev rows; always followed by a checkpoint, so that the best one exists."""
        self.model.eval()
        values = self.measure(self.model)
        metrics = {f"eval_{name}": value for name, value in values.items()}
        self.log(dict(metrics))
        if self.journal:
            self.journal.metrics(self.state.global_step, values)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        self.control.should_save = True
        return metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        super().log(logs, start_time)
        entry = {"step": self.state.global_step, **{k: v for k, v in logs.items() if k != "epoch"}}
        if any(key == "loss" or key.startswith("eval_") for key in logs):
            with self.curve.open("a", encoding="utf-8") as handle:
                handle.write(json.dumps(entry) + "\n")

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        step = self.state.global_step
        if checkpoint.of(self.folder, step) is None:
            # a checkpoint stands for every line up to its step: after a power cut they must be there
            with explained(self.curve):
                sync(self.curve)
                sync(self.curve.parent)
            if self.journal:
                self.journal.sync()
            checkpoint.save(self.folder, step, self._write, {"config": self.config.train.name})
        checkpoint.prune(self.folder, self.config.train.keep_checkpoints, self.state.best_global_step)

    def _write(self, stage: Path) -> None:
        tensors = {
            n: p.detach().cpu().contiguous() for n, p in self.model.named_parameters() if p.requires_grad
        }
        save_file(tensors, stage / WEIGHTS)
        self._save_optimizer_and_scheduler(str(stage))
        self._save_rng_state(str(stage))
        for callback in [*self.callback_handler.callbacks, self.control]:
            if hasattr(callback, "from_state"):
                self.state.stateful_callbacks[type(callback).__name__] = callback.state()
        self.state.save_to_json(str(stage / "trainer_state.json"))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_trainable(self.model, Path(resume_from_checkpoint))


def schedule(train: TrainConfig, steps: int) -> Callable[[int], float]:
    """Step number (from 0) -> share of the peak learning rate.

    The first step of the warm-up already moves: transformers' own schedules start at 0 and waste it.
    """
    warmup = min(train.warmup, steps - 1)

    def share(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        done = (step - warmup) / max(steps - warmup, 1)
        shapes = {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done, "constant": 1.0}
        return shapes[train.schedule]

    return share


def load_trainable(model: Any, path: Path) -> None:
    """Put a checkpoint's trained parameters into the model; RunError if the names or shapes differ."""
    stored = load_file(path / WEIGHTS)
    own = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if stored.keys() != own.keys():
        raise RunError(
            f"{path} holds {len(stored)} trained tensors, this run has {len(own)} and the names differ; "
            "resume with the run's own config"
        )
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(stored[name])


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
) -> Outcome:
    """Train `model` over `plan`, going on from the newest complete checkpoint of `run_dir` if there is one.

    examples: what `head` collates, each with `tokens` and `targets`. measure: model in eval mode -> the task's dev
    metrics by name. `say` receives where it starts and every damaged checkpoint; `journal` every step. On return the
    model has the weights that `train.select` asks for. Raises RunError when the loss is not finite.
    """
    train = config.train
    folder = run_dir / "checkpoints"
    newest, notes = checkpoint.latest(folder)
    done = int(newest.name.removeprefix("step-")) if newest else 0
    for note in notes:
        say(note)
    say(
        f"training: going on from step {done} of {len(plan)}"
        if done
        else f"training: from the start, {len(plan)} steps"
    )
    _cut_curve(run_dir / "metrics.jsonl", done)
    if journal:
        journal.training(done, len(plan))
    for damaged in checkpoint.checkpoints(folder):
        if newest is None or damaged.name > newest.name:
            checkpoint.discard(damaged)
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(run_dir / "tensorboard")
    arguments = _arguments(config, len(plan), primary, run_dir)
    stopper = _Stopper()
    bar = Progress("training", len(plan), "steps", done)
    callbacks: list[TrainerCallback] = [_Hooks(method), _Bar(bar), stopper]
    if train.patience and train.eval_steps:
        callbacks.append(EarlyStoppingCallback(train.patience))
    loop = Loop(model, arguments, config, method, head, examples, plan, measure, run_dir, callbacks, journal)
    for callback in callbacks:
        if isinstance(callback, _Bar):
            callback.loop = loop
    began = time.monotonic()
    if newest and _patience_used_up(newest, train.patience):
        # the trainer's control forgets on loading that early stopping had ended the run
        load_trainable(model, newest)
        loop.state = TrainerState.load_from_json(str(newest / "trainer_state.json"))
    else:
        with stopper, bar:
            loop.train(resume_from_checkpoint=str(newest) if newest else None)
    steps = loop.state.global_step
    chosen = loop.state.best_global_step if train.select == "best" and loop.state.best_global_step else steps
    interrupted = stopper.asked and steps < len(plan)
    if chosen != steps and not interrupted:
        load_trainable(model, checkpoint.of_step(folder, chosen))
        notes.append(f"the weights of step {chosen} are kept: best {primary.name} on the dev rows")
    if steps < len(plan) and not stopper.asked:
        notes.append(f"stopped early at step {steps} of {len(plan)}: no gain in {train.patience} evaluations")
    model.eval()
    return Outcome(
        steps,
        interrupted,
        chosen,
        time.monotonic() - began,
        loop.fresh_tokens,
        loop.fresh_supervised,
        tuple(notes),
    )


def _patience_used_up(newest: Path, patience: int | None) -> bool:
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
        report_to=_trackers(train.trackers),
        seed=config.seed,
        data_seed=config.seed,
        use_cpu=not torch.cuda.is_available(),
        remove_unused_columns=False,
        disable_tqdm=True,
        dataloader_pin_memory=False,
        average_tokens_across_devices=False,
        log_level="error",
    )


def check_choices(train: TrainConfig) -> None:
    """Raise ConfigError for trackers and optimizers that this machine cannot give, before any work is done."""
    _trackers(train.trackers)
    if "8bit" in train.optimizer and not torch.cuda.is_available():
        raise ConfigError(f"train.optimizer={train.optimizer} needs a GPU, this machine has none; use adamw")


def _trackers(names: Sequence[str]) -> list[str]:
    from importlib.util import find_spec

    packages = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow", "trackio": "trackio"}
    for name in names:
        if name not in packages:
            raise ConfigError(f"train.trackers: unknown tracker {name!r}; known: {', '.join(packages)}")
        if find_spec(packages[name]) is None:
            raise ConfigError(
                f"train.trackers names {name!r}, which is not installed; "
                f"pip install {packages[name]}, or train.trackers=[]"
            )
    return list(names) or ["none"]


def _optimizer(
    train: TrainConfig, groups: list[dict[str, Any]], device: torch.device
) -> torch.optim.Optimizer:
    name = train.optimizer
    if name == "auto":
        name = "paged_adamw_8bit" if device.type == "cuda" else "adamw"
    options: dict[str, Any] = {
        "lr": train.learning_rate,
        "weight_decay": train.weight_decay,
        "betas": (0.9, train.beta2),
    }
    if name == "adamw":
        return torch.optim.AdamW(groups, fused=True, **options)
    import bitsandbytes

    kinds = {
        "adamw_8bit": bitsandbytes.optim.AdamW8bit,
        "paged_adamw_8bit": bitsandbytes.optim.PagedAdamW8bit,
    }
    optimizer: torch.optim.Optimizer = kinds[name](groups, **options)
    return optimizer


def _cut_curve(curve: Path, step: int) -> None:
    """Drop what was logged after the checkpoint: those steps are about to be repeated."""
    if not curve.exists():
        return
    kept = []
    for line in curve.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # the line that a killed process was writing
            continue
        if entry["step"] <= step:
            kept.append(line)
    write_text(curve, "".join(line + "\n" for line in kept))


class _Hooks(TrainerCallback):  # type: ignore[misc]
    """The method's own hooks around the optimizer's step."""

    def __init__(self, method: Method) -> None:
        self.method = method

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.method.before_step:
            self.method.before_step(kwargs["model"], state.global_step)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.method.after_step:
            self.method.after_step(kwargs["model"], state.global_step)


class _Bar(TrainerCallback):  # type: ignore[misc]
    """Loss, speed and ETA."""

    def __init__(self, bar: Progress) -> None:
        self.bar = bar
        self.loop: Loop | None = None
        self.training_s = 0.0
        self.began = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.began = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.training_s += time.monotonic() - self.began

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any
    ) -> None:
        if logs and "loss" in logs and self.loop:
            speed = self.loop.fresh_tokens / self.training_s if self.training_s else 0.0
            if self.loop.journal:
                self.loop.journal.step(state.global_step, logs["loss"], speed)
            self.bar.advance(1, f"loss {logs['loss']:.3f} · {speed:.0f} tokens/s")


class _Stopper(TrainerCallback):  # type: ignore[misc]
    """Ctrl-C: finish the step, save, stop. A second one stops at once."""

    def __init__(self) -> None:
        self.asked = False
        self.previous: Any = None

    def __enter__(self) -> _Stopper:
        import threading

        if threading.current_thread() is threading.main_thread():
            self.previous = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        if self.previous is not None:
            signal.signal(signal.SIGINT, self.previous)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        line = "stopping after this step; the state will be saved (ctrl-C again to stop at once)"
        print(f"\n{line}", file=sys.stderr, flush=True)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        if self.asked:
            control.should_save = control.should_training_stop = True
        return control
