"""Defines the options that several commands take, and reads a run's configuration from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from appkit.config import RunConfig

__all__ = ["ConfigFile", "DryRun", "Overrides", "PrintConfig", "run_config"]


Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE...", help="task=nl2fol model=smollm2-135m train=quick method.rank=16 ..."
    ),
]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML file; the words override it.")]
PrintConfig = Annotated[bool, typer.Option("--print-config", help="Print the whole configuration and stop.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Do everything but the work itself: data, labels, plan.")
]


def run_config(words: list[str] | None, file: Path | None) -> RunConfig:
    """Reads the configuration of a run: the file first, the words over it."""
    from appkit.config import load_run_config

    return load_run_config(words or (), file)
