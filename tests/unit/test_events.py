"""Events of a run: appended, read from an offset, and read as a history without what was repeated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from appkit.errors import RunError
from appkit.progress import Progress, watched
from appkit.runs import events as module
from appkit.runs.events import (
    EVENTS,
    Done,
    Events,
    Failed,
    Forecast,
    History,
    Metrics,
    Phase,
    Step,
    Training,
    read_events,
)


def steps(events: Events, first: int, last: int) -> None:
    for step in range(first, last + 1):
        events.step(step, 1 / step, 100.0)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    events = Events(tmp_path)
    written = [
        Phase(phase="loading"),
        Forecast(text="memory 1 GiB of 2 free"),
        Training(step=0, steps=2),
        Step(step=1, loss=0.5, tokens_per_s=10),
        Metrics(step=1, values={"macro F1": 0.25, "undefined": float("inf")}),
        Failed(reason="the loss became nan at step 2"),
        Done(verdict="better", bundle="run/bundle"),
    ]
    for event in written:
        events.write(event)
    read, offset = read_events(tmp_path)
    assert read == written
    assert offset == (tmp_path / EVENTS).stat().st_size
    assert [json.loads(line)["event"] for line in (tmp_path / EVENTS).read_text().splitlines()] == [
        "phase",
        "forecast",
        "training",
        "step",
        "metrics",
        "failed",
        "done",
    ]


def test_an_offset_leads_to_what_is_new(tmp_path: Path) -> None:
    assert read_events(tmp_path) == ([], 0)
    events = Events(tmp_path)
    steps(events, 1, 3)
    _, offset = read_events(tmp_path)
    assert read_events(tmp_path, offset) == ([], offset)
    steps(events, 4, 5)
    new, end = read_events(tmp_path, offset)
    assert [event.step for event in new if isinstance(event, Step)] == [4, 5]
    assert read_events(tmp_path, end) == ([], end)


def test_a_half_written_line_is_left_alone_then_removed(tmp_path: Path) -> None:
    steps(Events(tmp_path), 1, 2)
    with (tmp_path / EVENTS).open("a") as handle:
        handle.write('{"event": "step", "st')
    read, offset = read_events(tmp_path)
    assert len(read) == 2
    events = Events(tmp_path)  # of the process that goes on
    steps(events, 3, 3)
    new, _ = read_events(tmp_path, offset)
    assert [event.step for event in new if isinstance(event, Step)] == [3]


def test_a_line_that_is_no_event_is_told_by_place(tmp_path: Path) -> None:
    (tmp_path / EVENTS).write_text('{"event": "phase", "phase": "loading"}\n{"event": "dance"}\n')
    with pytest.raises(RunError, match=r"damaged, line 2 behind byte 0: .*'dance'"):
        read_events(tmp_path)


def test_a_resumed_run_repeats_its_steps_and_its_history_has_each_once(tmp_path: Path) -> None:
    events = Events(tmp_path)
    events.training(0, 6)
    steps(events, 1, 5)
    events.metrics(3, {"accuracy": 0.1})
    events.metrics(5, {"accuracy": 0.2})
    events.training(3, 6)
    steps(events, 4, 6)
    history = History()
    history.add(read_events(tmp_path)[0])
    assert [step.step for step in history.curve] == [1, 2, 3, 4, 5, 6]
    assert [entry.step for entry in history.metrics] == [3]
    assert history.steps == 6


def test_bars_are_recorded_once_a_second_and_at_their_end(tmp_path: Path) -> None:
    events = Events(tmp_path)
    with watched(events.bar), Progress("training", 50, "steps", 10) as bar:
        for _ in range(40):
            bar.advance(1, "loss 0.500")
    with Progress("unwatched", 2, "rows") as bar:
        bar.advance(2)
    bars = [event for event in read_events(tmp_path)[0] if isinstance(event, module.Bar)]
    assert [(bar.title, bar.done, bar.total, bar.unit) for bar in bars] == [
        ("training", 11, 50, "steps"),
        ("training", 50, 50, "steps"),
    ]
    assert bars[0].note == "loss 0.500 · 0:00 elapsed, ETA 0:00"
    assert bars[1].note == "loss 0.500 · 0:00 elapsed"
