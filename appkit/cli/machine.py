"""The commands around this machine: doctor, models, runs, cache."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from appkit.cli.terminal import print_table, quiet_libraries
from appkit.errors import AppkitError

__all__ = ["app", "cache", "models", "runs"]

app = typer.Typer()
models = typer.Typer(no_args_is_help=True, help="Base models: list, pull, show.")
runs = typer.Typer(no_args_is_help=True, help="Run directories: list, prune.")
cache = typer.Typer(no_args_is_help=True, help="Downloaded and converted bases: list, prune.")


@app.command()
def doctor() -> None:
    """Check this machine, and print the command that mends each fault."""
    from appkit.cli.doctor import diagnose

    faults = 0
    for check in diagnose():
        mark = {"ok": "ok  ", "info": "info", "fault": "FAULT"}[check.state]
        print(f"{mark:5} {check.name}: {check.detail}")
        if check.mend:
            print(f"      mend it with: {check.mend}")
        faults += check.state == "fault"
    print(f"\n{faults} fault{'s' * (faults != 1)}" if faults else "\nall is well")
    if faults:
        raise SystemExit(2)


@models.command("list")
def models_list() -> None:
    """List the presets, and which are on this machine."""
    from appkit.models.sources import known

    rows = [
        [
            name,
            model.source,
            model.id,
            model.licence or "",
            "yes" if path else ("gated" if model.gated else "no"),
        ]
        for name, (model, path) in known().items()
    ]
    print_table(["model", "source", "id", "licence", "here"], rows)


@models.command("pull")
def models_pull(
    name: str, force: Annotated[bool, typer.Option(help="Fetch again, even if it is here.")] = False
) -> None:
    """Download a base to this machine."""
    from appkit.config import model_config
    from appkit.models.sources import pull

    quiet_libraries()
    print(pull(model_config(name), force=force))


@models.command("show")
def models_show(name: str) -> None:
    """Show size, shape, licence, source and fingerprint of a base."""
    from appkit.config import model_config
    from appkit.models.sources import describe

    quiet_libraries()
    for key, value in describe(model_config(name)).items():
        print(f"{key:14} {value}")


@runs.command("list")
def runs_list(root: Annotated[Path, typer.Argument(help="Where to look.")] = Path("runs")) -> None:
    """List runs, newest first."""
    from appkit.runs.directory import listed

    rows = [
        [
            str(run.path),
            run.task,
            run.phase,
            _format_size(run.bytes),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(run.changed)),
            run.score,
        ]
        for run in listed(root)
    ]
    print_table(["run", "task", "phase", "size", "changed", "base → adapter"], rows) if rows else print(
        f"no runs below {root}"
    )


@runs.command("prune")
def runs_prune(
    root: Annotated[Path, typer.Argument(help="Where to look.")] = Path("runs"),
    older_than_days: Annotated[float, typer.Option(help="Leave newer runs alone.")] = 0.0,
    whole: Annotated[bool, typer.Option("--whole", help="Remove whole runs, bundles too.")] = False,
    unfinished: Annotated[bool, typer.Option("--unfinished", help="Unfinished runs too.")] = False,
) -> None:
    """Free space: checkpoints of finished runs, or whole runs."""
    from appkit.runs.directory import prune

    _report_pruned(prune(root, whole=whole, older_than_days=older_than_days, unfinished=unfinished))


@cache.command("list")
def cache_list() -> None:
    """List what is in the cache, least recently used first."""
    from appkit.storage.atomic import cache_dir
    from appkit.storage.cache import entries

    cached = entries()
    rows = [
        [
            entry.kind,
            entry.name,
            _format_size(entry.bytes),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used_at)),
        ]
        for entry in cached
    ]
    print(cache_dir())
    print_table(["kind", "name", "size", "last used"], rows) if rows else print("empty")


@cache.command("prune")
def cache_prune(
    names: Annotated[list[str] | None, typer.Argument(help="Only these entries.")] = None,
    older_than_days: Annotated[float, typer.Option(help="Keep what was used since.")] = 0.0,
) -> None:
    """Remove entries; they are fetched again when needed."""
    from appkit.storage.cache import entries, prune

    unknown = set(names or ()) - {entry.name for entry in entries()}
    if unknown:
        raise AppkitError(
            f"no cache entry {', '.join(sorted(map(repr, unknown)))}; `appkit cache list` shows them"
        )
    _report_pruned([(e.path, e.bytes) for e in prune(older_than_days=older_than_days, names=names)])


def _report_pruned(removed: list[tuple[Path, int]]) -> None:
    for path, size in removed:
        print(f"removed {path} ({_format_size(size)})")
    print(f"{_format_size(sum(size for _, size in removed))} freed")


def _format_size(size: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit in ("B", "KB") else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError
