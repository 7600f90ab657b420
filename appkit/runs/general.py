"""General measures what training cost elsewhere: rows of another kind, before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appkit.evaluation import report as reports
from appkit.evaluation.scores import Evaluation, evaluate_rows
from appkit.runs.rivals import measure_once

if TYPE_CHECKING:
    from appkit.runs.prepare import Prepared, Say

__all__ = ["AFTER", "BEFORE", "describe_general", "measure_general"]

BEFORE, AFTER = "general-before", "general-after"


def measure_general(run_dir: Path, when: str, model: Any, prepared: Prepared, say: Say) -> Evaluation | None:
    """Measure a model on the general rows, BEFORE or AFTER training; None where there are none."""
    if not prepared.general:
        return None
    resamples, who = prepared.config.eval.resamples, when.replace("-", " rows, ", 1)
    return measure_once(
        run_dir,
        when,
        replace(prepared, test=prepared.general),
        say,
        lambda: evaluate_rows(who, prepared.head, model, prepared.general, resamples=resamples),
    )


def describe_general(pair: Sequence[Evaluation], resamples: int) -> str:
    """Write both evaluations and their paired differences in Markdown."""
    before, after = pair
    compared = reports.comparisons(before, after, resamples)
    header, rows = reports.table([before, after])
    for row in rows:
        difference = compared.get(row[0].removesuffix(" (lower is better)"))
        row.append(
            f"{difference.difference:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"
            if difference
            else ""
        )
    return reports.markdown_table([*header, "difference"], rows)
