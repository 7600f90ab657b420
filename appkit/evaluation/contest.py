"""Contest reports a comparison of methods: a table with paired intervals, a picture, and what it shows in words."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from appkit.evaluation.plots import plot_differences
from appkit.evaluation.report import markdown_table
from appkit.stats.intervals import Comparison, Interval
from appkit.storage.atomic import write_text
from appkit.task import Metric

__all__ = ["ContestResult", "Standing", "contest_table", "write_contest"]


@dataclass(frozen=True)
class Standing:
    """One method's result."""

    name: str
    learning_rate: float
    """of its best cell"""
    batch_rows: int
    """of its best cell"""
    dev: float
    """score of its best cell on the dev rows, after the share of the rows that tuning uses"""
    interval: Interval
    """on the test rows, mean over seeds"""
    seeds: Sequence[float]
    """on the test rows, of each seed"""
    comparison: Comparison | None
    """against the reference; None for the reference itself"""
    parameters: int
    """trained"""
    rank: int | None
    """of the export"""
    tokens_per_s: float
    """of training, in the first cell of the grid"""
    memory: int | None
    """bytes at the peak of training, in the first cell of the grid; None where it cannot be known"""


@dataclass(frozen=True)
class ContestResult:
    """All methods' results."""

    task: str
    metric: Metric
    reference: str
    standings: Sequence[Standing]
    """in the order that was asked for"""
    tuning: Sequence[Mapping[str, Any]]
    """a line for each method and cell"""
    rows: int
    """test rows"""
    cost_cell: tuple[float, int]
    """learning rate and rows of a step of the cell in which time and memory were measured"""

    @property
    def adjusted(self) -> dict[str, float]:
        """p of each method against the reference, adjusted for their number (Holm 1979)."""
        raw = sorted((one.comparison.p, one.name) for one in self.standings if one.comparison)
        largest, adjusted = 0.0, {}
        for place, (p, name) in enumerate(raw):
            largest = max(largest, min(1.0, p * (len(raw) - place)))
            adjusted[name] = largest
        return adjusted

    @property
    def verdict(self) -> str:
        """Say which methods differ from the reference beyond chance."""
        apart = [name for name, p in self.adjusted.items() if p < 0.05]
        detectable = [one.comparison.detectable for one in self.standings if one.comparison]
        if not detectable:
            return f"Only {self.reference} was measured."
        if not apart:
            return (
                f"No method differs from {self.reference} beyond chance (Holm-adjusted p >= 0.05); with {self.rows} "
                f"rows a true difference of {max(detectable):.3f} would be found four times in five."
            )
        by_name = {one.name: one for one in self.standings}
        sign = 1 if self.metric.higher_is_better else -1
        words = []
        for name in apart:
            compared = by_name[name].comparison
            assert compared is not None
            better = "better" if sign * compared.difference > 0 else "worse"
            words.append(
                f"{name} is {better} by {abs(compared.difference):.3f} (p = {self.adjusted[name]:.3f})"
            )
        return f"Against {self.reference}: {'; '.join(words)}. The others do not differ beyond chance."


def contest_table(result: ContestResult) -> tuple[list[str], list[list[str]]]:
    """Return header and rows, the best method first."""
    sign = -1 if result.metric.higher_is_better else 1
    header = [
        "method",
        result.metric.name,
        "seeds",
        f"against {result.reference}",
        "p (Holm)",
        "parameters",
        "rank",
        "tokens/s",
        "peak GiB",
        "learning rate",
        "rows",
    ]
    rows = []
    for one in sorted(result.standings, key=lambda one: sign * one.interval.value):
        spread = statistics.stdev(one.seeds) if len(one.seeds) > 1 else 0.0
        compared = one.comparison
        rows.append(
            [
                one.name,
                f"{one.interval.value:.3f} [{one.interval.low:.3f}, {one.interval.high:.3f}]",
                f"{len(one.seeds)}, sd {spread:.3f}",
                f"{compared.difference:+.3f} [{compared.low:+.3f}, {compared.high:+.3f}]"
                if compared
                else "-",
                f"{result.adjusted[one.name]:.3f}" if compared else "-",
                f"{one.parameters:,}",
                "none" if one.rank is None else str(one.rank),
                f"{one.tokens_per_s:.0f}",
                "?" if one.memory is None else f"{one.memory / 2**30:.2f}",
                f"{one.learning_rate:g}",
                str(one.batch_rows),
            ]
        )
    return header, rows


def write_contest(result: ContestResult, folder: Path) -> None:
    """Write results.json, methods.png and report.md."""
    values = {
        "task": result.task,
        "metric": result.metric.name,
        "reference": result.reference,
        "rows": result.rows,
        "verdict": result.verdict,
        "methods": [asdict(one) | {"p_adjusted": result.adjusted.get(one.name)} for one in result.standings],
        "tuning": list(result.tuning),
    }
    write_text(folder / "results.json", json.dumps(values, indent=1) + "\n")
    plot_differences(
        [(one.name, one.comparison) for one in result.standings if one.comparison],
        f"{result.metric.name} against {result.reference}",
        folder / "methods.png",
    )
    rate, rows = result.cost_cell
    write_text(
        folder / "report.md",
        f"# Methods on {result.task}\n\n{result.verdict}\n\n{markdown_table(*contest_table(result))}\n\n"
        f"{result.metric.name} on {result.rows} test rows, mean over seeds; intervals are 95 %, paired by row. Each "
        "method was tuned on the same grid by its dev score, then trained on the same rows. tokens/s and peak memory "
        f"are of training with learning rate {rate:g} and {rows} rows in a step.\n\n![differences](methods.png)\n\n"
        f"## Tuning\n\n{markdown_table(*_tuning_table(result))}\n",
    )


def _tuning_table(result: ContestResult) -> tuple[list[str], list[list[str]]]:
    """Return the dev score of each method and cell."""
    cells = list(dict.fromkeys((line["learning_rate"], line["batch_rows"]) for line in result.tuning))
    dev = {(line["method"], line["learning_rate"], line["batch_rows"]): line["dev"] for line in result.tuning}
    header = ["method", *(f"{rate:g}, {rows} rows" for rate, rows in cells)]
    body = []
    for one in result.standings:
        scores = [dev[one.name, rate, rows] for rate, rows in cells]
        body.append([one.name, *("-" if value is None else f"{value:.3f}" for value in scores)])
    return header, body
