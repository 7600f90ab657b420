"""Writes tables and lines to the terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["print_table", "quiet_libraries", "say", "show_citations"]


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
    import os
    import warnings

    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore")
