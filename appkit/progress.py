"""Progress shows long work: a bar with ETA on a terminal, a line now and then elsewhere, calls of a watcher."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType

__all__ = ["Progress", "watched"]

QUIET_S = float(os.environ.get("APPKIT_PROGRESS_S", "15"))
"""seconds between lines when the output is not a terminal; `inf`: one line when the work ends"""
WATCH_S = 1.0
"""seconds between calls of a watcher"""

_watcher: ContextVar[Callable[[Progress], None] | None] = ContextVar("watcher", default=None)


@contextmanager
def watched(watcher: Callable[[Progress], None]) -> Iterator[None]:
    """Call `watcher` with every bar of the block as it advances, once a second, and when it ends."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


class Progress:
    """`with Progress("training", 80, "steps") as bar: bar.advance(1, "loss 0.41 · 180 tokens/s")`."""

    def __init__(self, title: str, total: int, unit: str, done: int = 0, *, show: bool = True) -> None:
        self.title, self.total, self.unit, self.done, self.show = title, total, unit, done, show
        self.first = done
        self.note = ""
        self.began = self.printed_at = time.monotonic()
        self.watched_at = -WATCH_S
        self.watcher = _watcher.get() if show else None
        self.bar = None
        if show and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )

            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn(self.unit),
                TextColumn("{task.fields[note]}"),
                TimeElapsedColumn(),
                TextColumn("ETA"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self.task = self.bar.add_task(title, total=total, completed=done, note="")

    def __enter__(self) -> Progress:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.done > self.first and self.watcher:
            self.watcher(self)
        if self.bar:
            self.bar.stop()
        elif self.show and self.done > self.first:
            self._print()

    def advance(self, by: int, note: str = "") -> None:
        """Count `by` more units; `note` is shown beside the bar."""
        self.done += by
        self.note = note or self.note
        now = time.monotonic()
        if self.watcher and now - self.watched_at >= WATCH_S and self.done < self.total:
            self.watched_at = now
            self.watcher(self)
        if self.bar:
            self.bar.update(self.task, completed=self.done, note=self.note)
        elif self.show and now - self.printed_at >= QUIET_S and self.done < self.total:
            self._print()

    def figures(self) -> str:
        """Write the note and the time: `loss 0.41 · 0:12 elapsed, ETA 0:30`."""
        elapsed = time.monotonic() - self.began
        rate = (self.done - self.first) / elapsed if elapsed else 0.0
        remaining = (
            f", ETA {_format_clock((self.total - self.done) / rate)}"
            if rate and self.done < self.total
            else ""
        )
        return f"{self.note} · {_format_clock(elapsed)} elapsed{remaining}".removeprefix(" · ")

    def _print(self) -> None:
        self.printed_at = time.monotonic()
        print(
            f"{self.title}: {self.done}/{self.total} {self.unit} · {self.figures()}",
            file=sys.stderr,
            flush=True,
        )


def _format_clock(seconds: float) -> str:
    """Write seconds as 0:07 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
