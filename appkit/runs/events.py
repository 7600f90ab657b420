"""Events record a run's progress in `events.jsonl`, which pages and the gateway read.

The file only ever grows, so that an offset into it stays valid. A resumed run repeats the steps after its checkpoint;
its `training` event names that checkpoint, and `History` drops the older records of those steps.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from appkit.errors import RunError
from appkit.progress import Progress
from appkit.storage.atomic import explained, sync

__all__ = [
    "EVENTS",
    "Bar",
    "Done",
    "Event",
    "Events",
    "Failed",
    "Forecast",
    "History",
    "Metrics",
    "Phase",
    "Step",
    "Stopped",
    "Training",
    "read_events",
]

EVENTS = "events.jsonl"


class _Recorded(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    time: float = Field(default_factory=time.time, description="seconds since 1970")


class Phase(_Recorded):
    """The run enters a phase; training has an event of its own."""

    event: Literal["phase"] = "phase"
    phase: Literal["preparing", "loading", "measuring rivals", "evaluating", "bundling"]


class Forecast(_Recorded):
    """The run forecasts memory, disk and time, before anything is loaded; training's first steps correct its time."""

    event: Literal["forecast"] = "forecast"
    text: str = Field(description="memory, disk and time, one line for people")


class Training(_Recorded):
    """Training begins after `step`, the last checkpoint's; steps recorded after it are repeated."""

    event: Literal["training"] = "training"
    step: int = Field(ge=0, description="optimizer steps done; 0 from the start")
    steps: int = Field(ge=1, description="optimizer steps in all")


class Step(_Recorded):
    """One optimizer step is done."""

    event: Literal["step"] = "step"
    step: int = Field(ge=1)
    loss: float = Field(description="mean in nats per unit of the head, before the step")
    tokens_per_s: float = Field(ge=0, description="mean since training began or went on")


class Metrics(_Recorded):
    """The dev rows were measured."""

    event: Literal["metrics"] = "metrics"
    step: int = Field(ge=0)
    values: dict[str, float] = Field(description="the task's metrics by name")


class Bar(_Recorded):
    """Long work advances; at most one event a second, and one when it ends."""

    event: Literal["bar"] = "bar"
    title: str
    done: int
    total: int
    unit: str
    note: str = Field(description="speed and time, for people")


class Done(_Recorded):
    """The run is finished."""

    event: Literal["done"] = "done"
    verdict: str
    bundle: str = Field(description="directory, as the run names it")


class Stopped(_Recorded):
    """The user stopped the run; it can be resumed."""

    event: Literal["stopped"] = "stopped"
    reason: str = Field(description="what is kept, and how to go on")


class Failed(_Recorded):
    """The run ended with an error."""

    event: Literal["failed"] = "failed"
    reason: str = Field(description="the error in one line")


Event = Annotated[
    Phase | Forecast | Training | Step | Metrics | Bar | Done | Stopped | Failed, Field(discriminator="event")
]
_EVENT: TypeAdapter[Event] = TypeAdapter(Event)


class Events:
    """Appends a run's events to its file, a line each; it is also the training loop's journal."""

    def __init__(self, run_dir: Path) -> None:
        """Remove a half-written last line, which a killed process left."""
        self.file = run_dir / EVENTS
        if self.file.exists():
            whole = self.file.read_bytes().rpartition(b"\n")
            with explained(self.file):
                os.truncate(self.file, len(whole[0]) + len(whole[1]))

    def write(self, event: Event) -> None:
        """Append an event. Raises AppkitError when the disk is full."""
        with explained(self.file), self.file.open("a", encoding="utf-8") as handle:
            handle.write(event.model_dump_json() + "\n")

    def sync(self) -> None:
        """Sync the file to the disk, so that a checkpoint never has a step whose event is lost."""
        if self.file.exists():
            with explained(self.file):
                sync(self.file)
                sync(self.file.parent)

    def training(self, step: int, steps: int) -> None:
        """Record that training begins after `step`."""
        self.write(Training(step=step, steps=steps))

    def forecast(self, text: str) -> None:
        """Record a corrected forecast."""
        self.write(Forecast(text=text))

    def step(self, step: int, loss: float, tokens_per_s: float) -> None:
        """Record an optimizer step."""
        self.write(Step(step=step, loss=loss, tokens_per_s=tokens_per_s))

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Record the metrics of the dev rows."""
        self.write(Metrics(step=step, values=dict(values)))

    def bar(self, bar: Progress) -> None:
        """Record a progress bar's state; pass this method to `progress.watched`."""
        self.write(Bar(title=bar.title, done=bar.done, total=bar.total, unit=bar.unit, note=bar.figures()))


def read_events(run_dir: Path, offset: int = 0) -> tuple[list[Event], int]:
    """Read the events after `offset` bytes; return them and the offset of the next call.

    A last line that is still being written is left for the next call. Without a file there are no events.
    Raises RunError for a line that is no event.
    """
    file = run_dir / EVENTS
    try:
        with file.open("rb") as handle:
            handle.seek(offset)
            whole, newline, _ = handle.read().rpartition(b"\n")
    except FileNotFoundError:
        return [], offset
    events = []
    for number, line in enumerate(whole.split(b"\n") if newline else (), 1):
        try:
            events.append(_EVENT.validate_json(line))
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise RunError(
                f"{file} is damaged, line {number} behind byte {offset}: {reason}; remove the line"
            ) from None
    return events, offset + len(whole) + len(newline)


class History:
    """Sums up a run's events: forecast, curve, metrics, last bar and last event."""

    def __init__(self) -> None:
        self.forecast: str | None = None
        self.steps: int | None = None
        self.curve: list[Step] = []
        self.metrics: list[Metrics] = []
        self.bar: Bar | None = None
        self.last: Event | None = None

    def add(self, events: Iterable[Event]) -> None:
        """Add further events, in the order of the file."""
        for event in events:
            self.last = event
            match event:
                case Forecast():
                    self.forecast = event.text
                case Training():
                    self.steps = event.steps
                    self.curve = [step for step in self.curve if step.step <= event.step]
                    self.metrics = [entry for entry in self.metrics if entry.step <= event.step]
                case Step():
                    self.curve.append(event)
                case Metrics():
                    self.metrics.append(event)
                case Bar():
                    self.bar = event
