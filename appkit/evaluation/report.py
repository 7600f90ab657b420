"""Report writes a run's results: the table, the verdict in words, the report and the model card."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from appkit.evaluation.scores import Evaluation, cluster, compare_scores
from appkit.stats import intervals
from appkit.stats.confidence import Calibration, LabelCalibration, Uncalibrated
from appkit.task import Task

__all__ = [
    "comparisons",
    "format_value",
    "markdown_table",
    "model_card",
    "report",
    "strongest",
    "table",
    "verdict",
]

WORST = 8
"""rows in the section of worst examples"""


def _format_number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def format_value(interval: intervals.Interval) -> str:
    """Write a metric's value, or that there is none."""
    return f"{interval.value:.3f}" if interval.n else "no value"


def _format_interval(interval: intervals.Interval, rows: int | None = None) -> str:
    """Write value and interval; rows: of the column's header, from which the interval's may differ."""
    if not interval.n:
        return "no value"
    text = (
        f"{_format_number(interval.value)}  [{_format_number(interval.low)}, {_format_number(interval.high)}]"
    )
    return text if rows in (None, interval.n) else f"{text}  n = {interval.n}"


def comparisons(a: Evaluation, b: Evaluation, resamples: int) -> dict[str, intervals.Comparison]:
    """Compare b with a, metric by metric, on the rows that both have scored; leave out metrics that have none."""
    compared = {
        name: compare_scores(a.scores[name], b.scores[name], resamples)
        for name in b.scores
        if name in a.scores
    }
    return {name: comparison for name, comparison in compared.items() if comparison is not None}


def strongest(columns: Sequence[Evaluation], task: Task) -> Evaluation:
    """Find the best evaluation by the primary metric."""
    sign = 1 if task.metric(task.primary).higher_is_better else -1

    def key(evaluation: Evaluation) -> float:
        primary = evaluation.scores[task.primary]
        return sign * primary.interval.value if primary.has_value else -math.inf

    return max(columns, key=key)


def verdict(task: Task, compared: intervals.Comparison | None, a: str, b: str) -> str:
    """Write one sentence on the primary metric: better, worse, or no difference shown and which one would have been.

    A difference is shown where p is below 0.05 and the interval leaves out 0. compared: None where no row has the
    metric for both.
    """
    if compared is None:
        return f"{b} and {a} could not be compared: {task.primary} has no value on the same rows."
    gain = compared.difference if task.metric(task.primary).higher_is_better else -compared.difference
    spread = f"{task.primary} {compared.difference:+.3f}, 95 % interval {compared.low:+.3f} to {compared.high:+.3f}"
    # of metrics that are no mean of rows, such as BLEU, the two can disagree: then neither is taken for proof
    apart = compared.p < 0.05 and (compared.low > 0 or compared.high < 0)
    if apart and gain > 0:
        return f"{b} is better than {a}: {spread}, p {_format_p(compared.p)}, n = {compared.n}."
    if apart:
        return f"{b} is WORSE than {a}: {spread}, p {_format_p(compared.p)}, n = {compared.n}."
    return (
        f"A difference between {b} and {a} is not shown: {spread}, p {_format_p(compared.p)}; "
        f"with n = {compared.n} a true difference of {compared.detectable:.3f} would be found four times in five."
    )


def _format_p(p: float) -> str:
    return f"= {p:.4f}" if p >= 0.001 else "< 0.001"


def table(columns: Sequence[Evaluation]) -> tuple[list[str], list[list[str]]]:
    """Make header and rows: a metric a row, an evaluation a column, with its 95 % interval."""
    header = ["metric", *(f"{evaluation.who} (n = {len(evaluation.records)})" for evaluation in columns)]
    rows = []
    for name, score in columns[-1].scores.items():
        arrow = "" if score.metric.higher_is_better else " (lower is better)"
        cells = [
            _format_interval(evaluation.scores[name].interval, len(evaluation.records))
            if name in evaluation.scores
            else ""
            for evaluation in columns
        ]
        rows.append([name + arrow, *cells])
    return header, rows


FEW_DOCUMENTS = 20
"""below so many, a bootstrap over documents gives intervals that are too narrow (Cameron et al. 2008)"""


def _name_units(evaluation: Evaluation) -> str:
    """Say what the resamples of an evaluation drew."""
    clusters = cluster(evaluation.records)
    if clusters is None or (count := len(set(clusters.tolist()))) < 2:
        return "rows"
    few = ", too few for a sound interval" if count < FEW_DOCUMENTS else ""
    return f"documents ({count}{few})"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table in Markdown."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _list_strata(columns: Sequence[Evaluation], task: Task) -> str:
    parts = []
    for name in columns[-1].strata:
        header = [name, "n", *(f"{task.primary}, {evaluation.who}" for evaluation in columns)]
        rows = [
            [
                group,
                str(interval.n),
                # a pack may group by what only one evaluation was shown, such as passages
                *(
                    _format_interval(evaluation.strata[name][group])
                    if group in evaluation.strata[name]
                    else ""
                    for evaluation in columns
                ),
            ]
            for group, interval in columns[-1].strata[name].items()
        ]
        parts.append(f"\n### By {name}\n\n{markdown_table(header, rows)}\n")
    return "".join(parts)


def _list_worst(evaluation: Evaluation, task: Task) -> str:
    """List the rows with the worst primary metric, of equals those with the lowest sum of metrics first."""
    sign = 1 if task.metric(task.primary).higher_is_better else -1
    score = evaluation.scores[task.primary]
    primary = sign * score.matrix[:, 0]
    means = [
        np.nan_to_num(score.matrix[:, 0])
        for score in evaluation.scores.values()
        if score.matrix.shape[1] == 1
    ]
    order = sorted(
        (row for row in range(len(primary)) if row not in score.unscored),
        key=lambda row: (primary[row], sum(column[row] for column in means)),
    )
    lines = []
    for row in order[:WORST]:
        record, prediction = evaluation.records[row], evaluation.predictions[row]
        error = f" — {prediction.parsed.error}" if prediction.parsed.error else ""
        lines.append(
            f"- {getattr(record.value, task.input)}\n"
            f"  - expected `{getattr(record.value, task.output)}`\n"
            f"  - answered `{prediction.answer or '(nothing)'}`{error}\n"
        )
    return "".join(lines)


def report(
    task: Task,
    columns: Sequence[Evaluation],
    compared: Mapping[str, intervals.Comparison],
    summary: str,
    calibrated: Calibration | LabelCalibration | Uncalibrated,
    facts: Mapping[str, str],
    notes: Sequence[str],
    appendix: str = "",
    general: str = "",
    *,
    rows_shown: bool,
) -> str:
    """Write the run's report in Markdown. With `rows_shown` false it shows no row of the data (for bundles)."""
    header, rows = table(columns)
    parts = [f"# {task.name}: {task.summary}\n\n**{summary}**\n\n{markdown_table(header, rows)}\n"]
    parts.append(f"\nIntervals: 95 %, percentile bootstrap over {_name_units(columns[-1])}.\n")
    parts += [f"- {metric.name}: {metric.description}\n" for metric in task.metrics]
    remarks = [
        f"- {evaluation.who}: {remark if rows_shown else remark.text}\n"
        for evaluation in columns
        for remark in evaluation.remarks
    ]
    if remarks:
        parts.append("\n## Rows without a score\n\n" + "".join(remarks))
    if compared:
        parts.append("\n## Paired differences\n\n")
        parts.append(
            markdown_table(
                ["metric", "difference", "95 % interval", "p"],
                [
                    [
                        name,
                        f"{c.difference:+.3f}",
                        f"{c.low:+.3f} to {c.high:+.3f}",
                        _format_p(c.p).removeprefix("= "),
                    ]
                    for name, c in compared.items()
                ],
            )
            + "\n"
        )
    if columns[-1].strata:
        parts.append(f"\n## By group\n{_list_strata(columns, task)}")
    if general:
        parts.append(f"\n## On other rows, before and after training\n\n{general}\n")
    if appendix:
        parts.append(f"\n## In detail\n\n{appendix.strip()}\n")
    parts.append(f"\n## Confidence\n\n{_confidence(calibrated)}\n")
    if rows_shown and isinstance(calibrated, Calibration):
        parts.append("\n![confidence](confidence.png)\n")
    if rows_shown:
        parts.append(f"\n## Worst examples\n\n{_list_worst(columns[-1], task)}")
        parts.append("\n## Plots\n\n![scores](scores.png)\n\n![loss](loss.png)\n")
    parts.append(
        "\n## Facts\n\n" + markdown_table(["", ""], [[key, value] for key, value in facts.items()]) + "\n"
    )
    if notes:
        parts.append("\n## Notes\n\n" + "".join(f"- {note}\n" for note in notes))
    return "".join(parts)


def _confidence(calibrated: Calibration | LabelCalibration | Uncalibrated) -> str:
    if isinstance(calibrated, LabelCalibration):
        return f"Probabilities are calibrated (Guo et al. 2017): {calibrated}."
    if isinstance(calibrated, Uncalibrated):
        return f"Answers carry no confidence: {calibrated}."
    measures = [
        ["AUROC", _format_number(calibrated.auroc), "right above wrong; 0.5 is chance"],
        [
            "Brier",
            _format_number(calibrated.brier),
            f"{_format_number(calibrated.right * (1 - calibrated.right))} for a constant",
        ],
        [
            "ECE",
            _format_number(calibrated.ece),
            f"{_format_number(calibrated.ece_noise)} by chance alone, were it perfect",
        ],
    ]
    return (
        "How likely an answer is right, from the log-probabilities of its tokens. Measured on the test rows, each "
        f"judged by a fit on the others (right: {calibrated.metric}). Rows unlike these may be judged less well.\n\n"
        + markdown_table(["", f"n = {calibrated.n}", "for comparison"], measures)
    )


_PIPELINES = {
    "generate": "text-generation",
    "sequence": "text-classification",
    "token": "token-classification",
}


def _of_rank(rank: int | None) -> str:
    return f" of rank {rank}" if rank else ""


def _count_trained(exported: Mapping[str, Any]) -> str:
    """Say how many parameters were trained; bundles of before 0.2 did not record it."""
    trained = exported.get("trained")
    return f"{trained:,} trained parameters, " if trained is not None else ""


def model_card(task: Task, manifest: Mapping[str, Any], summary: str) -> str:
    """Write the README.md of a bundle, with the front matter that the hub reads."""
    base = manifest["base"]
    name = manifest["name"]
    revision = f", revision {base['revision']}" if base["revision"] else ""
    data = ", ".join(
        f"{source['licence'] or 'licence unknown'} ({source['split']})"
        for source in manifest["data"]["sources"]
    )
    return (
        f"---\nbase_model: {base['id']}\nlibrary_name: peft\npipeline_tag: {_PIPELINES[manifest['task']['kind']]}\n"
        f"tags: [appkit, {task.name}]\n---\n\n# {name}\n\n{task.summary}.\n\n**{summary}**\n\n"
        f"- base: `{base['id']}` ({base['source']}{revision}), "
        f"fingerprint `{base['fingerprint'][:19]}…`, quantized: {base['quantizer']}\n"
        f"- method: {manifest['method']['name']}, {_count_trained(manifest['exported'])}exported as "
        f"{manifest['exported']['kind']}{_of_rank(manifest['exported']['rank'])}\n"
        f"- servable by: {', '.join(manifest['servable_by'])}\n"
        f"- data: {data}\n\n"
        "```python\nimport appkit\n\n"
        f'appkit.load("path/to/{name}").predict([{json.dumps(task.examples[0], ensure_ascii=False)}])\n```\n\n'
        'It is in PEFT\'s own form too: `PeftModel.from_pretrained(base, "path")`. '
        "Figures and how they were measured: [report.md](report.md).\n"
    )
