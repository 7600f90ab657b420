"""Builds a data set from raw material, such as a repository, by a pack's own way: `appkit data build`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from appkit.errors import ConfigError, DataError
from appkit.plugins import load_task, modules
from appkit.storage import atomic

if TYPE_CHECKING:
    from appkit.task import Build

__all__ = ["build_rows", "find_build"]


def find_build(name: str) -> Build:
    """Finds how a pack builds rows. Raises ConfigError when it does not."""
    task = load_task(name)
    if task.build is None:
        able = [other for other in sorted(modules("appkit.tasks")) if _builds(other)]
        raise ConfigError(
            f"task {name!r} builds no rows: give it a file, data.train=FILE; these build some: "
            f"{', '.join(able) or 'none'}"
        )
    return task.build


def _builds(name: str) -> bool:
    try:
        return load_task(name).build is not None
    except Exception:  # another pack that cannot be loaded; the message is not about it
        return False


def build_rows(build: Build, options: Any, out: Path) -> list[str]:
    """Builds rows and writes a JSONL file for each split, with a card; returns lines for the user.

    Nothing is written where anything fails. Raises ConfigError when `out` holds something, DataError for material that
    cannot be read.
    """
    if out.resolve() == Path.cwd():  # it would be replaced under the user's feet
        raise ConfigError(f"{out} is the working directory; name one in it: --out data")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is there already; choose another --out, or remove it")
    try:
        built = build.run(options)
    except ValueError as error:
        raise DataError(" ".join(str(error).split())) from error
    if not any(built.splits.values()):
        raise DataError(
            "no row is left: " + "; ".join(f"{count:,} {what}" for what, count in built.counts.items())
        )
    files: dict[str, dict[str, Any]] = {}
    with atomic.staged(out) as stage:
        for split, rows in built.splits.items():
            path = stage / f"{split}.jsonl"
            with path.open("w", encoding="utf-8", newline="\n") as file:
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            files[path.name] = {"rows": len(rows), "sha256": atomic.file_sha256(path)}
        card = {"name": out.name, **built.facts, "counts": dict(built.counts), "files": files}
        text = yaml.safe_dump(card, sort_keys=False, allow_unicode=True)
        (stage / "card.yaml").write_text(text, encoding="utf-8")
    return [
        *(f"{count:>9,}  {what}" for what, count in built.counts.items()),
        *(f"written: {out / name}, {about['rows']:,} rows" for name, about in files.items()),
        *(f"note: {note}" for note in [*built.notes, *_describe_empty(files)]),
    ]


def _describe_empty(files: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Says which files have no row: a training refuses to read them."""
    empty = [name for name, about in files.items() if not about["rows"]]
    words = ", ".join(f"data.{Path(name).stem}=" for name in empty)
    return (
        [f"{', '.join(empty)}: no row; leave {words} out of a training, or build from more"] if empty else []
    )
