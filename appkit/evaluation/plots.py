"""Plots draws a run's pictures: scores with intervals, the reliability of confidence, the loss curve."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from appkit.evaluation.scores import Evaluation
from appkit.stats.confidence import Calibration
from appkit.stats.intervals import Comparison

__all__ = ["plot_confidence", "plot_curve", "plot_differences", "plot_scores"]

INK, MUTED, BASE, OURS = "#1f2430", "#6b7280", "#b8c0cc", "#2563eb"
DOMAINS = ("#0f766e", "#9333ea", "#be123c", "#a16207", "#0369a1", "#4d7c0f")


def _make_axes(width: float, height: float) -> tuple[Any, Any]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(width, height), dpi=150, layout="constrained")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(colors=INK)
    return figure, axes


def plot_scores(columns: Sequence[Evaluation], path: Path) -> None:
    """Draw grouped bars with 95 % intervals, as shares of the score of perfect answers.

    The metrics are those of the last column for which all columns have a value; a pack may have others for other heads.
    """
    from matplotlib import pyplot

    metrics = {name: score.metric for name, score in columns[-1].scores.items()}
    names = [
        name
        for name, metric in metrics.items()
        if metric.higher_is_better
        and all(name in column.scores and column.scores[name].has_value for column in columns)
    ]
    scale = [metrics[name].scale for name in names]
    figure, axes = _make_axes(1.6 + 1.25 * max(1, len(names)), 3.4)
    width = 0.8 / len(columns)
    for place, evaluation in enumerate(columns):
        intervals = [evaluation.scores[name].interval for name in names]
        values = [interval.value / s for interval, s in zip(intervals, scale, strict=True)]
        errors = [
            [max(0.0, (i.value - i.low) / s) for i, s in zip(intervals, scale, strict=True)],
            [max(0.0, (i.high - i.value) / s) for i, s in zip(intervals, scale, strict=True)],
        ]
        at = [n + (place - (len(columns) - 1) / 2) * width for n in range(len(names))]
        colour = OURS if place == len(columns) - 1 else BASE
        axes.bar(
            at, values, width * 0.92, yerr=errors, color=colour, label=evaluation.who, ecolor=MUTED, capsize=2
        )
        for x, value, high in zip(at, values, errors[1], strict=True):
            axes.annotate(f"{value:.2f}", (x, value + high + 0.02), ha="center", fontsize=8, color=INK)
    axes.set_xticks(
        range(len(names)),
        [name if s == 1 else f"{name} / {s:g}" for name, s in zip(names, scale, strict=True)],
    )
    axes.set_ylim(0, 1.12)
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.14), ncols=len(columns))
    figure.savefig(path)
    pyplot.close(figure)


def plot_differences(differences: Sequence[tuple[str, Comparison]], title: str, path: Path) -> None:
    """Draw each difference with its 95 % interval beside zero, the largest above."""
    from matplotlib import pyplot

    ordered = sorted(differences, key=lambda one: one[1].difference)
    figure, axes = _make_axes(5.6, 1.2 + 0.3 * max(1, len(ordered)))
    axes.axvline(0, color=MUTED, linewidth=1)
    for place, (_, compared) in enumerate(ordered):
        apart = compared.low > 0 or compared.high < 0
        axes.plot([compared.low, compared.high], [place, place], color=OURS if apart else BASE, linewidth=2)
        axes.plot(compared.difference, place, "o", color=OURS if apart else MUTED)
    axes.set_yticks(range(len(ordered)), [name for name, _ in ordered])
    axes.set_xlabel(title, color=INK)
    figure.savefig(path)
    pyplot.close(figure)


def plot_confidence(calibration: Calibration, path: Path) -> None:
    """Draw a reliability diagram: the share right of answers of similar confidence; the diagonal is perfect."""
    from matplotlib import pyplot

    figure, axes = _make_axes(3.8, 3.6)
    axes.plot([0, 1], [0, 1], "--", color=MUTED, linewidth=1)
    at, right = zip(*((b.confidence, b.right) for b in calibration.bins), strict=True)
    axes.plot(at, right, "o-", color=OURS, linewidth=2)
    axes.set_xlabel("confidence", color=INK)
    axes.set_ylabel("share right", color=INK)
    axes.set_title(f"ECE {calibration.ece:.3f}, n = {calibration.n}", fontsize=9, color=INK)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    figure.savefig(path)
    pyplot.close(figure)


def _smooth(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Compute the running mean of values by step."""
    smooth, mean = [], points[0][1]
    for step, value in points:
        mean = 0.9 * mean + 0.1 * value
        smooth.append((step, mean))
    return smooth


def _list_domains(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """List the domains whose loss was logged."""
    return list(dict.fromkeys(domain for entry in entries for domain in entry.get("losses", {})))


def _read_curves(curves: Sequence[tuple[str, Path]]) -> tuple[list[dict[str, Any]], list[tuple[str, int]]]:
    """Read the curves of a run's stages as one; and the step before each stage, by its name."""
    entries: list[dict[str, Any]] = []
    starts = []
    for name, curve in curves:
        start = max((entry["step"] for entry in entries), default=0)
        starts.append((name, start))
        with curve.open(encoding="utf-8") as lines:
            entries += [entry | {"step": start + entry["step"]} for entry in map(json.loads, lines)]
    return entries, starts


def plot_curve(curves: Sequence[tuple[str, Path]], path: Path, primary: str) -> None:
    """Draw the training loss by step, its running mean, that of each domain, and the dev metric where measured.

    curves: the name of each stage and its metrics.jsonl, in order; one without a name is a run without stages.
    """
    from matplotlib import pyplot

    entries, starts = _read_curves(curves)
    steps = [(entry["step"], entry["loss"]) for entry in entries if "loss" in entry]
    measured = [(entry["step"], entry[f"eval_{primary}"]) for entry in entries if f"eval_{primary}" in entry]
    figure, axes = _make_axes(6.4, 3.4)
    axes.plot(*zip(*steps, strict=True), color=BASE, linewidth=1, label="loss of the step")
    axes.plot(*zip(*_smooth(steps), strict=True), color=OURS, linewidth=2, label="running mean")
    for domain, colour in zip(_list_domains(entries), itertools.cycle(DOMAINS)):
        own = [(e["step"], e["losses"][domain]) for e in entries if domain in e.get("losses", {})]
        axes.plot(*zip(*_smooth(own), strict=True), color=colour, linewidth=1.2, label=domain or "other rows")
    for name, start in starts:
        if name:
            axes.axvline(start + 0.5, color=MUTED, linewidth=1, linestyle=":")
            axes.annotate(name, (start + 0.5, axes.get_ylim()[1]), fontsize=8, color=MUTED, va="top")
    axes.set_xlabel("optimizer step", color=INK)
    axes.set_ylabel("loss of the step", color=INK)
    axes.set_ylim(bottom=0)
    if measured:
        right = axes.twinx()
        right.plot(*zip(*measured, strict=True), "o-", color="#d97706", markersize=4, label=f"dev {primary}")
        right.set_ylabel(f"dev {primary}", color="#d97706")
        right.spines["top"].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path)
    pyplot.close(figure)
