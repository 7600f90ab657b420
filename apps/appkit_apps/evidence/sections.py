"""Writes the sections of the evidence page as HTML, from what the gateway says; what it does not say, they say so."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any

from appkit_apps import bars
from appkit_apps.cards import badge, describe_licences, describe_size
from appkit_apps.markup import show, table

__all__ = [
    "checks",
    "compared",
    "split_report",
    "write_certificate",
    "write_checks",
    "write_details",
    "write_origin",
    "write_pictures",
    "write_scores",
    "write_verdict",
]

PNG = b"\x89PNG\r\n\x1a\n"
BESIDE = ("scores", "confidence", "reliability", "loss")
"""pictures that have a table of their own; all others belong to the report's details"""
LABELS = 60
"""labels that are named"""


def write_verdict(first: Mapping[str, Any]) -> str:
    """Writes the verdict as a sentence, with the version that it is about and whether that is certified."""
    verdict = str(first["manifest"].get("verdict") or "").strip()
    sentence = f"{verdict[0].upper()}{verdict[1:]}" if verdict else "This bundle came without a verdict."
    return _frame(
        f'<div class="verdict"><p class="sentence">{show(sentence)}</p>'
        f"<p><code>{show(first['model'])}</code> {badge(first.get('certificate'))}</p></div>"
    )


def write_scores(first: Mapping[str, Any], second: Mapping[str, Any] | None) -> str:
    """Writes scores, rivals, groups and confidence, each table with its picture beside it."""
    return _frame(
        f'<section id="scores"><h2>Scores</h2>{_list_scores(first, second)}</section>'
        f"<section><h2>Beside its rivals</h2>{_draw_rivals(first)}</section>"
        f"<section><h2>Where it is strong, and where weak</h2>{_list_groups(first)}</section>"
        f"<section><h2>How sure its answers are</h2>{_list_confidence(first)}</section>"
    )


def _list_scores(first: Mapping[str, Any], second: Mapping[str, Any] | None) -> str:
    header, rows = compared(first, second)
    if not rows:
        return "<p>This bundle came without scores.</p>"
    measures = first.get("measures")
    cells = [
        [_describe_metric(name, bars.read_measure(measures, name)), *map(show, values)]
        for name, *values in rows
    ]
    return _put_beside(
        table("Scores", [show(name, bars.NAME) for name in header], cells),
        _picture(first, "scores"),
        "A value, and its 95 % interval over the test rows in brackets.",
    )


def _describe_metric(name: str, measure: bars.Measure | None) -> str:
    if measure is None:
        return show(name)
    lower = "" if measure.higher_is_better else "lower is better; "
    return f"{show(name)}<small>{show(lower + measure.description)}</small>"


def compared(first: Mapping[str, Any], second: Mapping[str, Any] | None) -> tuple[list[str], list[list[str]]]:
    """Makes the table of metrics: a row for each metric, a column for each contender, the second bundle's included."""
    columns = {who: results["metrics"] for who, results in (first["manifest"].get("metrics") or {}).items()}
    if second is not None:
        for who, results in (second["manifest"].get("metrics") or {}).items():
            columns[f"{second['model']}, {who}"] = results["metrics"]
    names = list(dict.fromkeys(name for metrics in columns.values() for name in metrics))
    return ["metric", *columns], [
        [name, *(_interval(metrics.get(name)) for metrics in columns.values())] for name in names
    ]


def _interval(score: Mapping[str, Any] | None) -> str:
    return f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]" if score else ""


def _draw_rivals(first: Mapping[str, Any]) -> str:
    """Draws the primary metric of every contender, the best first."""
    primary = str(first.get("primary") or "")
    scores = bars.read_scores(first["manifest"].get("metrics"), primary)
    measure = bars.read_measure(first.get("measures"), primary)
    if not scores:
        return f"<p>No score of {show(primary)} was recorded.</p>"
    alone = "" if len(scores) > 1 else "<p>Nothing was measured beside it.</p>"
    ordered = bars.order(scores, measure) if measure else scores
    return f"<h3>{show(primary)}</h3>{bars.draw(ordered, measure)}{alone}"


def _list_groups(first: Mapping[str, Any]) -> str:
    """Writes a table for each way to group the test rows, with a bar for the adapter in each group."""
    columns = first["manifest"].get("metrics") or {}
    primary = str(first.get("primary") or "")
    measure = bars.read_measure(first.get("measures"), primary)
    names = dict.fromkeys(name for results in columns.values() for name in results.get("strata") or {})
    rows_note = (
        '<p class="note">Single rows, such as the worst answers, are in the report of the run; '
        "a bundle holds none.</p>"
    )
    if not names:
        return f"<p>The test rows were not grouped.</p>{rows_note}"
    written = []
    for name in names:
        by_group = {who: (results.get("strata") or {}).get(name) or {} for who, results in columns.items()}
        written.append(f"<h3>By {show(name)}</h3>{_list_group(name, by_group, primary, measure)}")
    return "".join(written) + rows_note


def _list_group(
    name: str, by_group: Mapping[str, Mapping[str, Any]], primary: str, measure: bars.Measure | None
) -> str:
    """Writes the table of one grouping. by_group: who -> group -> the primary metric's values."""
    groups = list(dict.fromkeys(group for values in by_group.values() for group in values))
    own = by_group.get(bars.OURS) or {}
    scores = {group: bars.read_score(bars.OURS, own.get(group)) for group in groups}
    drawn_scores = [score for score in scores.values() if score]
    scale = bars.fit_scale(drawn_scores, measure) if measure and drawn_scores else None
    rows = []
    for group in groups:
        score = scores[group]
        cells = [_interval(values.get(group)) for values in by_group.values()]
        drawn = f'<span class="ours">{bars.draw_bar(score, scale)}</span>' if score and scale else ""
        rows.append([show(group), show(score.n if score else ""), *map(show, cells), drawn])
    header = [name, "rows", *(f"{primary}, {who}" for who in by_group)]
    return table(f"By {name}", [*(show(cell, bars.NAME) for cell in header), "adapter"], rows)


def _list_confidence(first: Mapping[str, Any]) -> str:
    """Writes how far a confidence can be trusted, with the reliability diagram beside it."""
    calibration, labels = (first["manifest"].get(name) for name in ("confidence", "calibration"))
    if calibration:
        rows = [
            [show(measure), f"{calibration[key]:.3f}", meaning]
            for measure, key, meaning in (
                ("AUROC", "auroc", "right answers above wrong ones; 0.5 is chance"),
                ("Brier", "brier", "mean squared error of the probability; lower is better"),
                (
                    "ECE",
                    "ece",
                    f"mean gap to the share right; {calibration['ece_noise']:.3f} by chance alone",
                ),
            )
        ]
        words = f"Measured on {calibration['n']} test rows, each judged by a fit on the others."
        written = table("Confidence", ["measure", "value", "meaning"], rows)
        return _put_beside(written, _picture(first, "confidence"), words)
    if labels:
        words = (
            f"<p>Probabilities of labels are calibrated on {show(labels['dev_rows'])} dev rows: the expected error "
            f"went from {labels['ece_before']:.3f} to {labels['ece']:.3f} there.</p>"
            if labels["ece"] is not None  # of several labels a row there is none
            else f"<p>Thresholds of labels are chosen on {show(labels['dev_rows'])} dev rows.</p>"
        )
        return _put_beside(words, _picture(first, "reliability"))
    return "<p>Its answers carry no confidence.</p>"


def write_details(first: Mapping[str, Any]) -> str:
    """Writes the pictures that belong to the report's details."""
    others = {name: data for name, data in first["pictures"].items() if name not in BESIDE}
    return write_pictures(others) if others else ""


def write_certificate(certificate: Mapping[str, Any] | None) -> str:
    """Writes in a sentence for what a version is certified, or how to certify it."""
    if not certificate:
        words = "No serving engine was checked with this bundle; <code>appkit certify</code> does it."
    else:
        results = [check["passed"] for check in certificate.get("checks") or []]
        counts = {"passed": True, "failed": False, "could not be made": None}
        told = ", ".join(
            f"{results.count(value)} {name}" for name, value in counts.items() if value in results
        )
        engine = " ".join(str(certificate.get(name) or "") for name in ("engine", "version"))
        words = (
            f"Its answers in {show(engine)}, computed in {show(certificate.get('dtype'))}, were compared with the "
            f"trained model's on {show(certificate.get('made_at'))}. Of {len(results)} checks: {told or 'none'}."
        )
        if not certificate.get("sealed"):
            words = f"Another machine says: {words} <code>appkit certify</code> checks it here."
    return _frame(f"<h2>Certificate</h2><p>{badge(certificate)}</p><p>{words}</p>")


def write_checks(certificate: Mapping[str, Any] | None) -> str:
    """Writes the table of a certificate's checks."""
    rows = [[show(cell) for cell in row] for row in checks(certificate)]
    return _frame(table("Checks", ["check", "passed", "figure"], rows))


def checks(certificate: Mapping[str, Any] | None) -> list[list[str]]:
    """Makes a row for each check of a certificate."""
    if not certificate:
        return [["not certified", "no", "appkit certify shows what the serving engine makes of it"]]
    words = {True: "yes", False: "no", None: "not made"}
    rows = [
        [str(check["name"]), words[check["passed"]], str(check["figure"])]
        for check in certificate.get("checks") or []
    ]
    if certificate.get("sealed"):
        return rows
    return [
        ["certified elsewhere", "no", "another machine says what follows; appkit certify checks it here"],
        *rows,
    ]


def write_origin(first: Mapping[str, Any]) -> str:
    """Writes from which data the bundle was made, and how."""
    manifest = first["manifest"]
    rows = first.get("rows") or {}
    labels = [str(label) for label in manifest.get("labels") or ()]
    named = (
        f"{', '.join(labels[:LABELS])}{f', and {len(labels) - LABELS} more' if len(labels) > LABELS else ''}"
    )
    data = {
        "rows": show(", ".join(f"{count:,} {split}" for split, count in rows.items())),
        "licences": describe_licences(first.get("licences")),
        "labels": show(named) if labels else "none",
    }
    base, method, quant = (manifest.get(name) or {} for name in ("base", "method", "quant"))
    training = {
        "base": show(_join(base, ("name", "source", "revision"))),
        "fingerprint": show(base.get("fingerprint") or ""),
        "quantized": show(base.get("quantizer") or quant.get("name") or ""),
        "cost of that": show(_describe_cost(manifest.get("quantization"))),
        "method": show(", ".join(f"{name} {value}" for name, value in method.items())),
        "adapter": describe_size(first.get("size")),
        "seed": show(manifest.get("seed", "")),
        "served by": show(", ".join(manifest.get("servable_by") or ())),
        "versions": show(_join_pairs(manifest.get("versions") or {})),
    }
    return _frame(
        f"<section><h2>Data</h2>{_list_pairs('Data', data)}</section>"
        "<section><h2>How it was trained</h2>"
        f"{_put_beside(_list_pairs('Training', training), _picture(first, 'loss'))}</section>"
    )


def _describe_cost(cost: Mapping[str, Any] | None) -> str:
    if not cost:
        return "not measured"
    return (
        f"{cost['metric']} {cost['difference']:+.3f} ({cost['low']:+.3f} to {cost['high']:+.3f}) against the "
        f"unquantized base, {cost['rows']} rows"
    )


def _join(values: Mapping[str, Any], names: Sequence[str]) -> str:
    return ", ".join(str(values[name]) for name in names if values.get(name))


def _join_pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items() if value)


def _list_pairs(label: str, values: Mapping[str, str]) -> str:
    return table(label, ["fact", "value"], [[name, value or "unknown"] for name, value in values.items()])


def _put_beside(written: str, picture: str, words: str = "") -> str:
    """Puts a picture beside a table, or the table alone where there is none."""
    note = f'<p class="note">{words}</p>' if words else ""
    return f'<div class="beside"><div>{written}{note}</div>{picture}</div>' if picture else f"{written}{note}"


def _picture(first: Mapping[str, Any], name: str) -> str:
    data = first["pictures"].get(name)
    return write_pictures({name: data}) if data else ""


def write_pictures(pictures: Mapping[str, str]) -> str:
    """Writes pictures inline, each with its name; data that is no PNG is left out."""
    shown = []
    for name, data in pictures.items():
        try:
            image = base64.b64decode(data, validate=True)
        except binascii.Error:
            continue
        if image.startswith(PNG):
            source = f"data:image/png;base64,{base64.b64encode(image).decode()}"
            words = show(name.replace("_", " "))
            shown.append(
                f'<figure><img src="{source}" alt="{words}"><figcaption>{words}</figcaption></figure>'
            )
    return "".join(shown)


def split_report(report: str | None) -> tuple[str, str]:
    """Splits a report: its part "In detail", and the rest. Headings move down: the page has the first two levels."""
    text = re.sub(r"^(#{1,4}) ", r"##\1 ", report or "", flags=re.MULTILINE)
    before, found, after = text.partition("\n#### In detail\n")
    if not found:
        return "", text
    detail, heading, rest = after.partition("\n#### ")
    return detail.strip(), f"{before}{heading and chr(10) + '#### '}{rest}"


def _frame(written: str) -> str:
    """Gives HTML the colours and sizes of the page."""
    return f'<div class="look proof">{written}</div>'
