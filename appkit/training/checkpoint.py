"""Checkpoints are written whole or not at all.

A checkpoint is written under a hidden name, synced, and renamed; its manifest lists every file with size and
hash, and is verified before anything is loaded. After a power cut the previous checkpoint is there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from appkit.errors import RunError
from appkit.storage.atomic import file_sha256, staged

__all__ = ["checkpoints", "discard", "latest", "of", "of_step", "prune", "save", "verify"]

MANIFEST = "manifest.json"


def save(folder: Path, step: int, write: Callable[[Path], None], info: dict[str, Any]) -> Path:
    """Write `folder/step-<step>` by calling `write` on a staging directory.

    Raises AppkitError when the disk is full, and leaves no partial checkpoint.
    """
    target = folder / f"step-{step:06d}"
    with staged(target) as stage:
        write(stage)
        files = {
            path.name: {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
            for path in sorted(stage.iterdir())
        }
        (stage / MANIFEST).write_text(
            json.dumps({"step": step, **info, "files": files}, indent=1), encoding="utf-8"
        )
    return target


def verify(path: Path) -> str | None:
    """Say what is wrong with a checkpoint; None if it is complete."""
    try:
        files = dict(json.loads((path / MANIFEST).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"its {MANIFEST} cannot be read ({type(error).__name__})"
    for name, recorded in files.items():
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != recorded["bytes"]:
            return f"{name} has {file.stat().st_size} bytes, {recorded['bytes']} were written"
        if file_sha256(file) != recorded["sha256"]:
            return f"{name} is not what was written (sha256 differs)"
    return None


def checkpoints(folder: Path) -> list[Path]:
    """List the directories of checkpoints, oldest first, unverified."""
    return sorted(folder.glob("step-*")) if folder.is_dir() else []


def latest(folder: Path) -> tuple[Path | None, list[str]]:
    """Find the newest complete checkpoint, and write one line for each damaged one that is newer."""
    notes: list[str] = []
    for path in reversed(checkpoints(folder)):
        if (fault := verify(path)) is None:
            return path, notes
        notes.append(f"checkpoint {path.name} is damaged and was passed over: {fault}")
    return None, notes


def prune(folder: Path, keep: int, also: int | None = None) -> None:
    """Remove all but the newest `keep` checkpoints and the one of step `also`."""
    for path in checkpoints(folder)[:-keep]:
        if also is None or path.name != f"step-{also:06d}":
            shutil.rmtree(path)


def discard(path: Path) -> None:
    """Remove a damaged checkpoint, so that a complete one can take its place."""
    shutil.rmtree(path)


def of(folder: Path, step: int) -> Path | None:
    """Find the checkpoint of a step, unverified; None if there is none."""
    path = folder / f"step-{step:06d}"
    return path if path.is_dir() else None


def of_step(folder: Path, step: int) -> Path:
    """Find the checkpoint of a step. Raises RunError if it is missing or damaged."""
    path = folder / f"step-{step:06d}"
    if (fault := verify(path)) is not None:
        raise RunError(f"checkpoint {path} cannot be loaded: {fault}; start the run anew")
    return path
