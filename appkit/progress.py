"""Progress of long work: a bar with ETA on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType

__all__ = ["Progress"]

QUIET_S = float(os.environ.get("APPKIT_PROGRESS_S", "15"))
"""Seconds between lines when the output is not a terminal; a gateway that shows them asks for more."""


class Progress:
    """`with Progress("training", 80, "steps") as bar: bar.advance(1, "loss 0.41 · 180 tokens/s")`."""

    def __init__(self, title: str, total: int, unit: str, done: int = 0, *, show: bool = True) -> None:
        self.title, self.total, self.unit, self.done, self.show = title, total, unit, done, show
        self.first = done
        self.note = ""
        self.began = self.said = time.monotonic()
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
        if self.bar:
            self.bar.stop()
        elif self.show and self.done > self.first:
            self._say()

    def advance(self, by: int, note: str = "") -> None:
        """Count `by` more; `note` stands beside the bar."""
        self.done += by
        self.note = note or self.note
        if self.bar:
            self.bar.update(self.task, completed=self.done, note=self.note)
        elif self.show and time.monotonic() - self.said >= QUIET_S and self.done < self.total:
            self._say()

    def _say(self) -> None:
        self.said = time.monotonic()
        elapsed = self.said - self.began
        rate = (self.done - self.first) / elapsed if elapsed else 0.0
        left = f", ETA {_clock((self.total - self.done) / rate)}" if rate and self.done < self.total else ""
        note = f" · {self.note}" if self.note else ""
        print(
            f"{self.title}: {self.done}/{self.total} {self.unit}{note} · {_clock(elapsed)} elapsed{left}",
            file=sys.stderr,
            flush=True,
        )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
