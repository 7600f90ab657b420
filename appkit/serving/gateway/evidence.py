"""Collects a bundle's evidence for a page, from its own files and from its run, if that is still there."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from appkit.serving.deployment import Deployment

__all__ = ["evidence_of"]

PICTURES = 12
"""pictures of a run, at most"""
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
"""keys of the manifest that are shown; none holds a path of this machine"""


def evidence_of(deployment: Deployment, *, rows: bool) -> dict[str, Any]:
    """Collects report (Markdown), pictures (name -> PNG in base64) and audit (Markdown; None without `rows` or run)."""
    run = deployment.path.parent if (deployment.path.parent / "run.json").is_file() else None
    pictures = sorted(run.glob("*.png"))[:PICTURES] if run else []
    return {
        "model": deployment.ref,
        "sha": deployment.sha,
        "task": deployment.task.name,
        "primary": deployment.task.primary,
        "report": _read_text(deployment.path / "report.md"),
        "manifest": {name: deployment.manifest.get(name) for name in SHOWN},
        "certificate": deployment.certificate,
        "pictures": {
            picture.stem: base64.b64encode(picture.read_bytes()).decode()
            for picture in pictures
            if picture.stat().st_size <= LARGEST
        },
        "audit": _read_text(run / "audit.md") if run and rows else None,
    }


def _read_text(path: Path) -> str | None:
    if not path.is_file() or path.stat().st_size > LARGEST:
        return None
    return path.read_text(encoding="utf-8")
