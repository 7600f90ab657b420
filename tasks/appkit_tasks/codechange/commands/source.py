"""Finds the change that a command is about: piped in, in a file, staged, or between two commits."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from appkit.errors import shortened
from appkit_tasks.codechange.diffs import Change, parse, split_files
from appkit_tasks.codechange.git import DIFF, Repository, open_repository
from appkit_tasks.codechange.languages import is_generated
from appkit_tasks.codechange.load import LONGEST

__all__ = ["describe_unchanged", "fit", "open_range", "read_change", "read_diff"]

LARGEST = 50_000_000
"""bytes of a diff that are read"""


def read_diff(source: Path | None, folder: Path) -> str:
    """Reads a diff: of a file (`-`: standard input), else what is piped in, else what is staged in a repository.

    Raises ValueError where there is none, and for one of over 50 MB.
    """
    if source is not None and str(source) != "-":
        if not source.exists() or source.is_dir():
            raise ValueError(f"no file {str(source)!r}; name a diff, or pipe one in")
        with source.open("rb") as file:
            return _decode(file.read(LARGEST + 1), str(source))
    if source is not None or not (sys.stdin is None or sys.stdin.isatty()):
        text = _decode(sys.stdin.buffer.read(LARGEST + 1) if sys.stdin else b"", "standard input")
        if text.strip() or source is not None:
            return text
    text = _decode(open_repository(folder, empty=True).run("diff", "--staged", *DIFF), "what is staged")
    if not text.strip():
        raise ValueError("nothing is staged; git add the files first, or pipe a diff in: git diff | appkit …")
    return text


def _decode(content: bytes, name: str) -> str:
    if len(content) > LARGEST:
        raise ValueError(f"{name} is over {LARGEST // 1_000_000} MB; give a smaller diff")
    return content.decode("utf-8", "replace")


def read_change(text: str, name: str) -> Change:
    """Reads what a diff says. Raises ValueError, with what it begins with, for a text that is none."""
    if not text.strip():
        raise ValueError(f"{name} is empty; give a diff, such as git diff prints")
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"{name}: {error}; it begins with {shortened(text.strip())}") from None


def fit(text: str) -> tuple[str, int]:
    """Leaves out files until a diff fits into a row; returns it, and how many files are left out.

    Those that nobody wrote by hand go first, then the largest; of a file alone too large the beginning stays.
    """
    if len(text) <= LONGEST:
        return text, 0
    parts = split_files(text)
    order = sorted(range(len(parts)), key=lambda place: (_is_made(parts[place]), len(parts[place])))
    kept: list[int] = []
    left = LONGEST
    for place in order:
        if len(parts[place]) <= left:
            kept.append(place)
            left -= len(parts[place])
    if not kept:
        cut = parts[order[0]][:LONGEST]
        return cut[: cut.rfind("\n") + 1], len(parts) - 1
    return "".join(parts[place] for place in sorted(kept)), len(parts) - len(kept)


def _is_made(part: str) -> bool:
    path = re.match(r"diff --git a/(\S+)", part)
    return bool(path and is_generated(path[1]))


def describe_unchanged(words: str, paths: Sequence[str]) -> str:
    """Says that nothing changes in a range, which is spelled out: one name alone is up to HEAD."""
    chosen = f" in --paths {','.join(paths)}" if paths else ""
    return f"{words if '..' in words else f'{words}..HEAD'} changes nothing{chosen}"


def open_range(folder: Path, words: str, paths: Sequence[str]) -> tuple[Repository, str, str, str]:
    """Opens BASE..HEAD of a repository; returns it, both commits, and their diff.

    Raises ValueError where git does, and for a file in the range's place.
    """
    repository = open_repository(folder)
    try:
        base, head = repository.range(words)
    except ValueError:
        if not os.path.isfile(words):  # False too for what is no path at all
            raise
        raise ValueError(
            f"{words!r} is a file and no BASE..HEAD; pipe a diff in: < {shlex.quote(words)}"
        ) from None
    content = repository.diff(base, head, [f":(top){path}" for path in paths])
    return repository, base, head, _decode(content, words)
