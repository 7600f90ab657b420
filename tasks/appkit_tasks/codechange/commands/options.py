"""Checks what the commands have in common: the bundle's problem, --paths, --min-confidence, and texts to be printed."""

from __future__ import annotations

from typing import Any

__all__ = ["UNCALIBRATED", "clean_line", "require_problem", "split_paths"]

UNCALIBRATED = "the bundle has no calibrated confidence, so --min-confidence leaves nothing out"


def require_problem(options: Any, problem: str) -> None:
    """Raises ValueError when the bundle was trained for another problem."""
    if options.problem != problem:
        raise ValueError(
            f"the bundle was trained for task.problem={options.problem}; this command needs one for {problem}"
        )


def split_paths(paths: str) -> list[str]:
    """Lists the paths between commas."""
    return [path.strip() for path in paths.split(",") if path.strip()]


def clean_line(text: str, keep: str = "") -> str:
    """Removes characters that no terminal should meet; white space of any kind becomes blanks. keep: stays."""
    return "".join(c if c.isprintable() or c in keep else " " if c.isspace() else "" for c in text)
