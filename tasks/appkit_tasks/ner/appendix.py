"""Writes the report's appendix on entities: scores of each type, kinds of error, confused types. No text of a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from appkit_tasks.ner.errors import KINDS, compare, total
from appkit_tasks.ner.load import NerRow, word_spans
from appkit_tasks.ner.metrics import predicted
from appkit_tasks.ner.tags import Entity, tags_of

if TYPE_CHECKING:
    from pathlib import Path

    from appkit.task import Prediction

__all__ = ["appendix", "by_type"]

INK, MUTED, WRONG, RIGHT = "#1f2430", "#6b7280", "#b8c0cc", "#2563eb"
SHOWN = 10
"""most pairs of types in the table of confusions"""


def appendix(
    rows: Sequence[NerRow], predictions: Sequence[Prediction], folder: Path | None, options: Any = None
) -> str:
    """Writes Markdown on the answers; with a folder, two pictures in it and links to them."""
    answers = [predicted(prediction) for prediction in predictions]
    if not any(answers) and not any(row.entities for row in rows):
        return "### By type\n\nNeither the rows nor the answers have an entity.\n"
    types = by_type(rows, answers)
    errors = total(compare(row.entities, entities) for row, entities in zip(rows, answers, strict=True))
    parts = ["### By type\n", _type_table(types)]
    if folder is not None:
        f1 = {name: figures["f1-score"] for name, figures in types.items()}
        _bars(f1, "F1", folder / "f1_by_type.png", "{:.2f}", [RIGHT] * len(f1), most=1.1)
        parts.append("![F1 of each type](f1_by_type.png)\n")
    parts += ["### Kinds of error\n", _kind_table(errors.kinds)]
    if folder is not None:
        kinds = {kind: errors.kinds[kind] for kind in KINDS}
        colours = [RIGHT if kind == "right" else WRONG for kind in kinds]
        _bars(kinds, "entities", folder / "error_kinds.png", "{:d}", colours)
        parts.append("![kinds of error](error_kinds.png)\n")
    if errors.confused:
        parts += ["### Types taken for others\n", _confusions(errors.confused)]
    return "\n".join(parts)


def by_type(rows: Sequence[NerRow], answers: Sequence[Sequence[Entity]]) -> dict[str, dict[str, float]]:
    """Scores each type by seqeval: type -> precision, recall, f1-score and support, in alphabetical order."""
    from seqeval.metrics import classification_report
    from seqeval.scheme import IOB2

    names = sorted(
        {entity.type for row in rows for entity in row.entities}
        | {entity.type for answer in answers for entity in answer}
    )
    # seqeval strips hyphens from names of types, and averages stand beside them under names such as "micro avg"
    plain = {name: f"type{place}" for place, name in enumerate(names)}

    def tags(row: NerRow, entities: Sequence[Entity]) -> list[str]:
        return tags_of([entity._replace(type=plain[entity.type]) for entity in entities], word_spans(row))

    report: dict[str, Any] = classification_report(
        [tags(row, row.entities) for row in rows],
        [tags(row, entities) for row, entities in zip(rows, answers, strict=True)],
        output_dict=True,
        mode="strict",
        scheme=IOB2,
        zero_division=0,
    )
    return {name: report[plain[name]] for name in names}


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    # a bar in the name of a type would end the cell
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _type_table(types: Mapping[str, Mapping[str, float]]) -> str:
    return _table(
        ["type", "precision", "recall", "F1", "in the rows"],
        [
            [
                name,
                *(f"{figures[key]:.3f}" for key in ("precision", "recall", "f1-score")),
                str(int(figures["support"])),
            ]
            for name, figures in types.items()
        ],
    )


def _kind_table(kinds: Mapping[str, int]) -> str:
    return _table(["kind", "entities", ""], [[kind, str(kinds[kind]), what] for kind, what in KINDS.items()])


def _confusions(confused: Mapping[tuple[str, str], int]) -> str:
    commonest = sorted(confused.items(), key=lambda item: (-item[1], item[0]))[:SHOWN]
    return _table(
        ["in the row", "in the answer", "entities"],
        [[gold, answer, str(count)] for (gold, answer), count in commonest],
    )


def _bars(
    values: Mapping[str, float],
    label: str,
    path: Path,
    form: str,
    colours: Sequence[str],
    most: float | None = None,
) -> None:
    """Draws horizontal bars, in order from the top, each with its value.

    most: where the axis ends; none: with the longest bar.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 0.9 + 0.34 * len(values)), dpi=150, layout="constrained")
    bars = axes.barh(range(len(values)), list(values.values()), 0.7, color=list(colours))
    axes.bar_label(bars, [form.format(value) for value in values.values()], padding=3, fontsize=8, color=INK)
    axes.set_yticks(range(len(values)), list(values))
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlim(0, most)
    axes.set_xlabel(label, color=MUTED)
    axes.tick_params(colors=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path)
    pyplot.close(figure)
