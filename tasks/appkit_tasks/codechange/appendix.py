"""Writes the pack's part of the report: what leaving every comment as it is would score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from appkit.task import NotApplicable, Parsed, Prediction
from appkit_tasks.codechange.config import CodeChangeConfig
from appkit_tasks.codechange.load import ChangeRow
from appkit_tasks.codechange.metrics import METRICS

__all__ = ["appendix"]


def appendix(
    rows: Sequence[ChangeRow],
    predictions: Sequence[Prediction],
    folder: Path | None,
    options: CodeChangeConfig,
) -> str:
    """Compares the answers with the comments as they were: a new comment has most of its words from the old one."""
    if options.problem != "comment_update" or not rows:
        return ""
    lines = ["## Beside comments left as they were\n", "| metric | answers | old comments |", "|---|---|---|"]
    unchanged = [Prediction(row.comment, Parsed(row.comment), 0, False) for row in rows]
    for metric in METRICS["comment_update"]:
        values = []
        for answers in (predictions, unchanged):
            matrix = []
            for row, answer in zip(rows, answers, strict=True):
                try:
                    matrix.append(metric.statistics(row, answer))
                except NotApplicable:
                    continue
            values.append(f"{metric.aggregate(np.array(matrix)):.3f}" if matrix else "none")
        note = "" if metric.higher_is_better else " (lower is better)"
        lines.append(f"| {metric.name}{note} | {values[0]} | {values[1]} |")
    lines.append(
        "\nA comment that follows its code differs from the old one: where the old ones score more, answers lose words."
    )
    return "\n".join(lines) + "\n"
