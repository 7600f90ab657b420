"""Callbacks run around the steps of training: the method's hooks, the progress bar, ctrl-C."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from transformers import TrainerCallback

from appkit.method import Method, Training
from appkit.progress import Progress
from appkit.training.forecast import Pace, correct

__all__ = ["ForecastCorrection", "MethodHooks", "ProgressBar", "Stopper"]


class MethodHooks(TrainerCallback):  # type: ignore[misc]
    """Calls the method's own hooks around forward and optimizer step."""

    def __init__(self, method: Method, training: Training) -> None:
        self.method, self.training = method, training

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.training.step, self.training.optimizer = state.global_step, kwargs["optimizer"]
        if self.method.before_forward:
            self.method.before_forward(kwargs["model"], self.training)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.method.before_step:
            self.method.before_step(kwargs["model"], self.training)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.method.after_step:
            self.method.after_step(kwargs["model"], self.training)


class ProgressBar(TrainerCallback):  # type: ignore[misc]
    """Shows loss, speed and ETA, and writes each step to the journal."""

    def __init__(self, bar: Progress) -> None:
        self.bar = bar
        self.loop: Any = None
        """the `Loop` whose tokens are counted; set once it exists"""
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


class ForecastCorrection(TrainerCallback):  # type: ignore[misc]
    """Corrects the forecast of training's time, once, by the speed of the first steps."""

    def __init__(self, tokens: Sequence[int], record: Callable[[Pace], None]) -> None:
        """tokens: of each step of this call. record: receives the corrected time."""
        self.tokens, self.record = tokens, record
        self.seconds: list[float] = []
        self.recorded = False
        self.began = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.began = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.seconds.append(time.monotonic() - self.began)
        if not self.recorded and (pace := correct(self.seconds, self.tokens)):
            self.recorded = True
            self.record(pace)


class Stopper(TrainerCallback):  # type: ignore[misc]
    """Handles ctrl-C: the step is finished, the state saved, and training stops; a second ctrl-C stops at once."""

    def __init__(self) -> None:
        self.requested = False
        self.previous: Any = None

    def __enter__(self) -> Stopper:
        import threading

        if threading.current_thread() is threading.main_thread():
            self.previous = signal.signal(signal.SIGINT, self._request_stop)
        return self

    def __exit__(self, *_: object) -> None:
        if self.previous is not None:
            signal.signal(signal.SIGINT, self.previous)

    def _request_stop(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        line = "stopping after this step; the state will be saved (ctrl-C again to stop at once)"
        print(f"\n{line}", file=sys.stderr, flush=True)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        if self.requested:
            control.should_save = control.should_training_stop = True
        return control
