"""Builds the page of classification."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from appkit_apps import parts
from appkit_apps.app import Page, trouble
from appkit_apps.classification.rows import MOST, read_csv, read_lines, write_csv
from appkit_apps.classification.words import effects, without_each

BARS = 8
HEADER = ["text", "answer", "probability"]


def build(page: Page) -> None:
    """Builds the page: one text with its probabilities, or many from lines or a file."""
    gr.Markdown("# Text to label")
    parts.about(page)
    with gr.Tab("One text"):
        fields = _one_text(page)
    with gr.Tab("Many texts"):
        _many_texts(page)
    parts.restore(page, fields)


def _one_text(page: Page) -> dict[str, gr.components.Component]:
    """Builds the tab of one text; returns the fields that a link brings back."""
    text = gr.Textbox(label="Text", lines=3, elem_id="text")
    pair = gr.Textbox(
        label="Second text, for a task about pairs", lines=1, elem_id="pair", visible=_paired(page)
    )
    why = gr.Checkbox(label="Show which words matter", elem_id="why")
    run = gr.Button("Classify", variant="primary", elem_id="run")
    gr.Examples([[example] for example in page.about["examples"]], [text], label="Try one", api_name=None)
    label = gr.Textbox(label="Answer", interactive=False, buttons=["copy"], elem_id="answer")
    bars = gr.Label(
        label="Probabilities, calibrated",
        num_top_classes=BARS,
        show_heading=False,  # the likeliest is not always the answer: labels have thresholds
        visible=False,
        elem_id="label",
    )
    words = gr.HighlightedText(
        label="What each word adds to the label's probability", visible=False, elem_id="words"
    )
    unexplained = gr.Markdown(elem_id="unexplained")
    cost = gr.Markdown(elem_id="facts")
    shared = gr.Markdown(elem_id="share")
    last = gr.State(None)
    parts.opinions(
        page, last, lambda typed, answer: _correction(page, typed, answer["parsed"]), label="The right label"
    )

    def classify(one: str, other: str, explain: bool, request: gr.Request) -> tuple[Any, ...]:
        row = {"text": one} | ({"pair": other} if other else {})
        (answer,), seconds = page.ask(request, [row])
        if answer.parsed is None:
            raise trouble(f"No label: {answer.error}")
        shares = answer.parsed.get("probabilities")
        added, reason = _words(page, row, answer.parsed, request) if explain else (None, "")
        return (
            answer.text,
            gr.update(value=shares, visible=bool(shares)),
            gr.update(value=added, visible=added is not None),
            reason,
            parts.facts([answer], seconds),
            parts.link({"text": one, "pair": other, "why": explain}),
            parts.answered(row, answer),
        )

    gr.on(
        [run.click, text.submit],
        classify,
        [text, pair, why],
        [label, bars, words, unexplained, cost, shared, last],
        concurrency_id="answer",
        api_name=f"{page.alias}-classify",
    )
    return {"text": text, "pair": pair, "why": why}


def _many_texts(page: Page) -> None:
    """Builds the tab of many texts, with a file of answers to download."""
    pasted = gr.Textbox(label=f"Texts, one a line, up to {MOST}", lines=6, elem_id="pasted")
    file = gr.File(label="or a CSV file with a column named text", file_types=[".csv"], elem_id="csv")
    run = gr.Button("Classify all", variant="primary", elem_id="run-many")
    table = gr.Dataframe(headers=HEADER, label="Answers", interactive=False, wrap=True, elem_id="answers")
    download = gr.DownloadButton("Download as CSV", visible=False, elem_id="download")
    cost = gr.Markdown(elem_id="many-facts")
    # Gradio copies a file when it is shown; ours is removed after 16 others, or when the gallery ends
    recent: deque[tempfile.TemporaryDirectory[str]] = deque(maxlen=16)

    def classify_many(lines: str, upload: str | None, request: gr.Request) -> tuple[Any, ...]:
        try:
            rows = read_csv(Path(upload)) if upload else read_lines(lines)
        except ValueError as error:
            raise trouble(f"Nothing was asked: {error}.") from None
        answers, seconds = page.ask(request, rows)
        cells = [
            [
                row["text"],
                answer.text,
                answer.confidence if answer.confidence is None else round(answer.confidence, 4),
            ]
            for row, answer in zip(rows, answers, strict=True)
        ]
        recent.append(tempfile.TemporaryDirectory(prefix="appkit-answers-"))
        written = Path(recent[-1].name) / "answers.csv"
        write_csv(written, HEADER, cells)
        return cells, gr.update(value=str(written), visible=True), parts.facts(answers, seconds)

    run.click(
        classify_many,
        [pasted, file],
        [table, download, cost],
        concurrency_id="answer",
        api_visibility="private",
    )


def _paired(page: Page) -> bool:
    return "pair" in (page.about["row"].get("properties") or {})


def _words(
    page: Page, row: dict[str, Any], parsed: dict[str, Any], request: gr.Request
) -> tuple[list[tuple[str, float]] | None, str]:
    """Returns each word with what it adds to the likeliest label's probability; or None and why there is nothing."""
    if "label" not in parsed:
        return None, "Which words matter can be told only of a task with one label a text."
    best = max(parsed["probabilities"], key=parsed["probabilities"].get)
    try:
        words, texts = without_each(row["text"])
        answers, _ = page.ask(request, [row | {"text": text} for text in texts])
        without = [answer.parsed["probabilities"][best] for answer in answers]
    except ValueError as error:
        return None, f"Which words matter cannot be told: {error}."
    except gr.Error as error:  # the answer itself stays on the page
        return None, f"Which words matter cannot be told: {error.message}"
    return effects(words, parsed["probabilities"][best], without), ""


def _correction(page: Page, typed: str, parsed: Mapping[str, Any]) -> Any:
    """Reads what was typed in the form of the answer: a label, labels with commas between, or a number.

    Raises ValueError for a text that is no number where a number is due.
    """
    if "value" in parsed:
        return float(typed)
    if "labels" in parsed:
        return [_label(page, name) for name in typed.split(",") if name.strip()]
    return _label(page, typed)


def _label(page: Page, typed: str) -> Any:
    """Returns the label of the bundle that was typed in any case; a new label is taken as it is written."""
    known = {name.casefold(): name for name in page.about["labels"] or ()}
    return known.get(typed.strip().casefold(), typed.strip())
