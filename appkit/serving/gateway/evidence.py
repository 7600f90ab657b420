"""Collects a bundle's evidence for a page, from its own files and from its run, if that is still there."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from appkit.bundles.files import open_file, read_bytes
from appkit.bundles.manifest import list_licences
from appkit.errors import BundleError
from appkit.serving.deployment import Deployment
from appkit.task import Task

__all__ = ["describe_measures", "evidence_of"]

PICTURES = 12
"""pictures of a run, at most"""
PICTURE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ ()-]{0,127}\.png")
LARGEST = 2_000_000
"""bytes of one file that is shown"""
SHOWN = (
    "metrics",
    "verdict",
    "quantization",
    "confidence",
    "calibration",
    "base",
    "method",
    "quant",
    "labels",
    "servable_by",
    "seed",
    "versions",
)
"""keys of the manifest that are shown; of these only `base` may hold a path, which `_describe_base` cuts"""


def evidence_of(deployment: Deployment, *, rows: bool) -> dict[str, Any]:
    """Collects report (Markdown), pictures (name -> PNG in base64) and audit (Markdown; None without `rows` or run).

    Links are not followed: a bundle, and the run beside it, may come from a stranger.
    """
    run = deployment.path.parent if _is_file(deployment.path.parent, "run.json") else None
    return {
        "model": deployment.ref,
        "sha": deployment.sha,
        "task": deployment.task.name,
        "primary": deployment.task.primary,
        "measures": describe_measures(deployment.task),
        "report": _read_text(deployment.path, "report.md"),
        "manifest": {name: deployment.manifest.get(name) for name in SHOWN}
        | {"base": _describe_base(deployment)},
        "rows": deployment.manifest["data"]["rows"],
        "licences": list_licences(deployment.manifest),
        "size": deployment.sizes,
        "certificate": deployment.certificate,
        "pictures": dict(_read_pictures(run)) if run else {},
        "audit": _read_text(run, "audit.md") if run and rows else None,
    }


def describe_measures(task: Task) -> dict[str, Any]:
    """Describes each metric: what it measures, its better side, and its value of perfect answers, None if unknown."""
    return {
        metric.name: {
            "description": metric.description,
            "higher_is_better": metric.higher_is_better,
            "perfect": metric.scale if metric.higher_is_better else None,
        }
        for metric in task.metrics
    }


def _describe_base(deployment: Deployment) -> dict[str, Any]:
    """Describes the base; of one in a directory, the last part of its path only: the rest is its trainer's own."""
    base = deployment.manifest["base"]
    if base["source"] != "directory":
        return dict(base)
    return {**base, **{name: Path(base[name]).name for name in ("name", "id")}}


def _read_pictures(run: Path) -> Iterator[tuple[str, str]]:
    names = sorted(name for name in os.listdir(run) if PICTURE.fullmatch(name))
    for name in names[:PICTURES]:
        content = _read(run, name)
        if content is not None:
            yield name.removesuffix(".png"), base64.b64encode(content).decode()


def _is_file(folder: Path, name: str) -> bool:
    try:
        with open_file(folder, name):
            return True
    except (OSError, BundleError):
        return False


def _read_text(folder: Path, name: str) -> str | None:
    """Reads a text, with U+FFFD where its bytes are no UTF-8."""
    content = _read(folder, name)
    return None if content is None else content.decode("utf-8", errors="replace")


def _read(folder: Path, name: str) -> bytes | None:
    """Reads a file to show; None where it is missing, too large, a link, or no file."""
    try:
        return read_bytes(folder, name, LARGEST)
    except (OSError, BundleError):
        return None
