"""Writes the pack's part of the report: how the metrics were computed, and the worst segments as word diffs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from appkit.task import Prediction
from appkit_tasks.translation.config import TranslationConfig
from appkit_tasks.translation.load import TranslationRow

__all__ = ["appendix"]


def appendix(
    rows: Sequence[TranslationRow],
    predictions: Sequence[Prediction],
    folder: Path | None,
    options: TranslationConfig,
) -> str:
    """Writes sacreBLEU's signatures; with a folder, and so for the user alone, the worst segments too."""
    from appkit_tasks.translation.differences import worst_segments
    from appkit_tasks.translation.metrics import signatures

    text = "### Signatures\n\n" + "".join(f"- {line}\n" for line in signatures(rows))
    if folder is None:
        return text
    return f"{text}\n### Worst segments\n\n{worst_segments(rows, predictions)}"
