"""Draws the pictures of the report: confusions, reliability, predicted against actual numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["confusion", "regression", "reliability"]

INK, MUTED, OURS = "#1f2430", "#6b7280", "#2563eb"  # as in the core's report
NUMBERED = 20
"""most labels with figures in large print"""

LONGEST = 24
"""most characters of a label on an axis"""


def _axes(width: float, height: float, columns: int = 1) -> tuple[Any, Any]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, columns, figsize=(width, height), dpi=150, layout="constrained")
    for axis in np.atleast_1d(axes):
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
        axis.tick_params(colors=INK)
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    from matplotlib import pyplot

    figure.savefig(path)
    pyplot.close(figure)


def _short(label: str) -> str:
    plain = " ".join(label.split()).replace("$", r"\$")  # else matplotlib reads mathematics
    return plain if len(plain) <= LONGEST else f"{plain[: LONGEST - 1]}…"


def confusion(
    gold: Sequence[str], answers: Sequence[str], labels: Sequence[str], total: int, path: Path
) -> None:
    """Draws the share of each label's rows (down) that got each answer (across).

    labels: those that are drawn, of `total` labels. The shares are of all rows of a label, so a row of the picture need
    not add up to 1.
    """
    from matplotlib.colors import LinearSegmentedColormap

    place = {label: number for number, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)))
    support = np.zeros(len(labels))
    for reference, answer in zip(gold, answers, strict=True):
        if reference in place:
            support[place[reference]] += 1
            if answer in place:
                counts[place[reference], place[answer]] += 1
    shares = counts / np.maximum(support, 1)[:, None]  # a label that is only answered has no rows: all zeros

    side = max(3.6, 1.6 + 0.34 * len(labels))
    figure, axes = _axes(side + 0.6, side)
    colours = LinearSegmentedColormap.from_list("ours", ["#ffffff", OURS])
    axes.imshow(shares, cmap=colours, vmin=0, vmax=1)
    names = [_short(label) for label in labels]
    axes.set_xticks(range(len(labels)), names, rotation=90, fontsize=8)
    axes.set_yticks(range(len(labels)), names, fontsize=8)
    axes.set_xlabel("answered", color=INK)
    axes.set_ylabel("label", color=INK)
    part = f"the most confused {len(labels)} of {total} labels; " if total > len(labels) else ""
    axes.set_title(f"{part}share of a label's rows", fontsize=9, color=INK)
    axes.set_xticks(np.arange(len(labels) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(labels) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#e5e7eb", linewidth=0.6)
    axes.tick_params(which="minor", length=0)
    size = 8 if len(labels) <= NUMBERED else 6
    for down, across in zip(*np.nonzero(shares >= 0.005), strict=True):
        share = shares[down, across]
        colour = "white" if share > 0.7 else INK
        axes.text(
            across, down, f"{share:.2f}".lstrip("0"), ha="center", va="center", fontsize=size, color=colour
        )
    _save(figure, path)


def reliability(bins: np.ndarray, path: Path) -> None:
    """Draws the share that is right over the probability; on the diagonal the two are equal.

    bins (B, 3), as `metrics.reliability` gives them.
    """
    right, share, rows = bins.T
    error = float(np.abs(right - share) @ rows / rows.sum())
    figure, axes = _axes(3.8, 3.6)
    axes.plot([0, 1], [0, 1], "--", color=MUTED, linewidth=1)
    axes.plot(share, right, "o-", color=OURS, linewidth=2)
    axes.set_xlabel("probability of the likeliest label", color=INK)
    axes.set_ylabel("share right", color=INK)
    axes.set_title(f"ECE {error:.3f}, n = {rows.sum():.0f}", fontsize=9, color=INK)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    _save(figure, path)


def regression(gold: np.ndarray, answers: np.ndarray, path: Path) -> None:
    """Draws answers over references, and errors over answers. gold (N,), answers (N,), in the label's unit."""
    figure, (left, right) = _axes(7.4, 3.6, columns=2)
    ends = [min(gold.min(), answers.min()), max(gold.max(), answers.max())]
    alpha = float(np.clip(10 / np.sqrt(len(gold)), 0.15, 0.8))  # thousands of points would be one blot
    left.plot(ends, ends, "--", color=MUTED, linewidth=1)
    left.scatter(gold, answers, s=12, color=OURS, alpha=alpha, linewidths=0)
    left.set_xlabel("reference", color=INK)
    left.set_ylabel("answer", color=INK)
    right.axhline(0, linestyle="--", color=MUTED, linewidth=1)
    right.scatter(answers, answers - gold, s=12, color=OURS, alpha=alpha, linewidths=0)
    right.set_xlabel("answer", color=INK)
    right.set_ylabel("answer less reference", color=INK)
    _save(figure, path)
