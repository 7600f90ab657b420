"""Run directories hold one run each: locked while it works, listed and pruned by `appkit runs`."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from appkit.errors import RunError
from appkit.storage.atomic import explained, write_text

__all__ = ["RunInfo", "create", "listed", "locked_run", "prune", "read_state", "state", "versions"]

STATE = "run.json"
ROOT = Path("runs")


def create(run_dir: str | None, task: str) -> Path:
    """Make a new, empty run directory; by default runs/<task>/<time>.

    Raises RunError when it already holds a run.
    """
    if run_dir:
        path = Path(run_dir)
        if path.exists() and not path.is_dir():
            raise RunError(f"run_dir={path} is a file; give a directory")
        if path.is_dir() and not all(entry.name.startswith(".") for entry in path.iterdir()):
            raise RunError(
                f"run_dir={path} already holds files; give another directory, or go on with: "
                f"appkit train --resume {path}"
            )
        with explained(path):
            path.mkdir(parents=True, exist_ok=True)
        return path
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for number in range(1000):
        path = ROOT / task / (stamp if not number else f"{stamp}-{number}")
        try:
            with explained(path):
                path.mkdir(parents=True)
            return path
        except FileExistsError:
            continue
    raise RunError(f"no free name below {ROOT / task}; give run_dir=")


@contextmanager
def locked_run(path: Path) -> Iterator[None]:
    """Hold the run's lock, which the kernel frees when the process ends. Raises RunError when another one has it."""
    if not path.is_dir():
        raise RunError(f"no run at {path}; `appkit runs list` shows them")
    with explained(path):
        handle = (path / ".lock").open("a+")
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            raise RunError(
                f"{path} is in use by process {handle.read().strip() or '?'}; wait for it, or give another run_dir="
            ) from None
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield


def state(path: Path, **values: Any) -> None:
    """Merge values into the run's state file, in one atomic write."""
    current = read_state(path) if (path / STATE).exists() else {}
    write_text(path / STATE, json.dumps(current | values, indent=1, ensure_ascii=False, default=str) + "\n")


def read_state(path: Path) -> dict[str, Any]:
    """Read the run's state: phase, task, versions, fingerprints, results. Raises RunError when there is none."""
    try:
        loaded: dict[str, Any] = json.loads((path / STATE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{path} holds no run (no {STATE}); `appkit runs list` shows them") from None
    except ValueError as error:
        raise RunError(f"{path / STATE} is damaged: {error}; start the run anew") from None
    return loaded


def versions() -> dict[str, str]:
    """Collect the versions of Python and of every package that can change a result, and the project's git commit."""
    installed = {"python": sys.version.split()[0]}
    for name in (
        "appkit",
        "torch",
        "transformers",
        "peft",
        "accelerate",
        "bitsandbytes",
        "safetensors",
        "tokenizers",
    ):
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            continue
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    if commit.returncode == 0:
        installed["git"] = commit.stdout.strip()
    return installed


@dataclass(frozen=True)
class RunInfo:
    """One line of `appkit runs list`."""

    path: Path
    """the run directory"""
    task: str
    """name of the task pack; "?" if damaged"""
    phase: str
    """started, training, interrupted, done or damaged"""
    score: str
    """values of the primary metric, the adapter's last; empty before the end"""
    bytes: int
    """size of all its files"""
    changed: float
    """time of the last change of its state, seconds since 1970"""


def listed(root: Path = ROOT) -> list[RunInfo]:
    """List every run below `root`, newest first."""
    runs = []
    for file in root.rglob(STATE) if root.is_dir() else ():
        path = file.parent
        try:
            values = read_state(path)
        except RunError:
            values = {"phase": "damaged"}
        size = sum(entry.stat().st_size for entry in path.rglob("*") if entry.is_file())
        runs.append(
            RunInfo(
                path,
                values.get("task", "?"),
                values.get("phase", "?"),
                values.get("score", ""),
                size,
                file.stat().st_mtime,
            )
        )
    return sorted(runs, key=lambda run: -run.changed)


def prune(
    root: Path, *, whole: bool, older_than_days: float, unfinished: bool = False
) -> list[tuple[Path, int]]:
    """Remove the checkpoints of finished runs, or with `whole` the runs; return (path removed, its bytes).

    Unfinished runs are removed from only with `unfinished`; runs in use never.
    """
    removed = []
    for run in listed(root):
        if time.time() - run.changed < older_than_days * 86400 or (run.phase != "done" and not unfinished):
            continue
        doomed = run.path if whole else run.path / "checkpoints"
        if not doomed.is_dir():
            continue
        size = sum(entry.stat().st_size for entry in doomed.rglob("*") if entry.is_file())
        try:
            with locked_run(run.path):
                shutil.rmtree(doomed)
        except RunError:
            continue
        removed.append((doomed, size))
    return removed
