"""Reads a run's report from its events, its state and its log."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Lock
from typing import Any

from appkit.bundles.files import open_file
from appkit.errors import BundleError, RunError
from appkit.runs.directory import read_state
from appkit.runs.events import Bar, Failed, History, read_events

__all__ = ["Histories", "log_tail", "state_of"]

TAIL = 48_000
"""bytes of a log that are read, from its end"""
POINTS = 500
"""points of a curve; of a longer one every second, third, ... is shown"""


class Histories:
    """Reads histories of runs. The last one is kept, so that a page that polls its run reads only what is new."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._folder: Path | None = None
        self._history, self._offset = History(), 0

    def report(self, folder: Path, after: int, *, running: bool, since: float) -> dict[str, Any]:
        """Reports how far a run is, with its curve after step `after`. since: Unix time of its last start.

        Raises RunError when its events are damaged.
        """
        with self._lock:
            history = self._read(folder)
            points = _list_points(history, after)
            last = history.last
            return {
                "progress": _describe_bar(history.bar) if running and history.bar else None,
                "step": max((point["step"] for point in points), default=after),
                "steps": history.steps,
                "forecast": history.forecast,
                "points": points,
                "error": last.reason if isinstance(last, Failed) and last.time >= since else None,
            }

    def _read(self, folder: Path) -> History:
        """Reads the run's history up to now."""
        if folder != self._folder:
            self._folder, self._history, self._offset = folder, History(), 0
        events, self._offset = read_events(folder, self._offset)
        self._history.add(events)
        return self._history


def state_of(folder: Path) -> dict[str, Any]:
    """Reads the run's own state; empty before it has one."""
    try:
        return read_state(folder)
    except RunError:
        return {}


def log_tail(file: Path) -> str:
    """Reads the end of what a run printed; empty before it was started."""
    try:
        with open_file(file.parent, file.name) as handle:
            handle.seek(max(0, handle.seek(0, os.SEEK_END) - TAIL))
            return handle.read().decode(errors="replace")
    except (FileNotFoundError, BundleError):  # a link leads to another file of the machine
        return ""


def _list_points(history: History, after: int) -> list[dict[str, Any]]:
    """Lists dev metrics and losses by step."""
    metrics = [
        {"step": entry.step, **{f"eval_{name}": value for name, value in entry.values.items()}}
        for entry in history.metrics
        if entry.step > after
    ]
    curve = [{"step": step.step, "loss": step.loss} for step in history.curve if step.step > after]
    every = -(-len(curve) // POINTS) or 1
    return metrics + curve[::-every][::-1]


def _describe_bar(bar: Bar) -> dict[str, Any]:
    """Describes the current work, how much of it is done, and its speed and remaining time."""
    return bar.model_dump(include={"title", "done", "total", "unit", "note"})
