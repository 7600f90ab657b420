"""Writes tables and lines to the terminal."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["outlive_reader", "print_table", "quiet_libraries", "say", "show_citations", "tell_unsound"]


class _Stderr(io.FileIO):
    """File descriptor 2; what nobody reads any more goes to the null device."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 2)
            os.close(null)
            return super().write(data)


def outlive_reader() -> None:
    """Makes messages no reason to end: a training or a gateway goes on when whoever read its stderr has gone."""
    if sys.stderr is sys.__stderr__ and sys.stderr is not None:
        buffer = io.BufferedWriter(_Stderr(2, "w", closefd=False))
        sys.stderr = io.TextIOWrapper(buffer, sys.stderr.encoding, "backslashreplace", line_buffering=True)


def say(line: str) -> None:
    """Prints a line to stderr."""
    print(line, file=sys.stderr, flush=True)


def print_table(header: list[str], rows: list[list[str]]) -> None:
    """Prints a table to stdout."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    # a pipe has no width: never wrap what a script may read
    # and what a stranger wrote is text, never rich's markup
    console = Console(width=None if sys.stdout.isatty() else 200, markup=False)
    table = Table(*header, box=SIMPLE, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def show_citations(citations: Sequence[Mapping[str, Any]]) -> None:
    """Prints the passages that an answer refers to, a line each."""
    for citation in citations:
        if citation["cited"]:
            number, score = citation["number"], citation["score"]
            text = " ".join(citation["text"].split())
            print(f"    [{number}] {score:.4f}  {citation['source']}:{citation['start']}  {text[:100]}")


def tell_unsound(answers: Sequence[tuple[str | None, bool]]) -> None:
    """Says on stderr which answers, printed bare, are not what they seem.

    answers: for each, why it could not be read (None: it could), and whether it was cut off.
    """
    cut = [number for number, (_, truncated) in enumerate(answers, 1) if truncated]
    unread = [
        (number, error) for number, (error, truncated) in enumerate(answers, 1) if error and not truncated
    ]
    parts = []
    if cut:
        parts.append(f"{len(cut)} cut off at the longest length (input {cut[0]} first)")
    if unread:
        number, error = unread[0]
        reason = " ".join(error.split())
        parts.append(f"{len(unread)} that cannot be read (input {number} first: {reason})")
    if parts:
        say(f"note: of {len(answers)} answers, {', '.join(parts)}; --jsonl tells each")


def quiet_libraries() -> None:
    """Silences libraries' own bars and warnings, which would break into ours."""
    import warnings

    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore")
