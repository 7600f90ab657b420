"""Reads inputs of commands, and writes tables and lines to the terminal."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from appkit.errors import AppkitError

__all__ = ["outlive_reader", "print_table", "quiet_libraries", "read_inputs", "say", "show_citations"]


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
    console = Console(width=None if sys.stdout.isatty() else 200)
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


def quiet_libraries() -> None:
    """Silences libraries' own bars and warnings, which would break into ours."""
    import warnings

    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore")


def read_inputs(sentences: list[str] | None, file: Path | None) -> list[str | dict[str, Any]]:
    """Reads inputs from arguments, a file or stdin: a text a line, or JSONL rows if every line is an object.

    Raises AppkitError for both sentences and a file, and for a file that is missing, not UTF-8 or broken JSON.
    """
    if sentences and file:
        raise AppkitError("give sentences or --file, not both")
    if sentences:
        return list(sentences)
    if file is None and sys.stdin.isatty():
        return []
    try:
        raw = file.read_bytes() if file else sys.stdin.buffer.read()
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise AppkitError(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise AppkitError(f"{file or 'stdin'}:{line}: not UTF-8 ({error.reason}); convert it first") from None
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not all(line.lstrip().startswith("{") for _, line in lines):
        return [line.strip() for _, line in lines]
    rows = []
    for number, line in lines:
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise AppkitError(f"{file or 'stdin'}:{number}: broken JSON: {error}; correct the line") from None
    return rows
