"""The page of ner."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any

import gradio as gr

from appkit_apps import parts
from appkit_apps.app import Page, trouble

HEADER = ["text", "type", "start", "end", "confidence"]


def build(page: Page) -> None:
    gr.Markdown("# Names in texts")
    parts.about(page)
    text = gr.Textbox(label="Text", lines=4, elem_id="text")
    run = gr.Button("Find the entities", variant="primary", elem_id="run")
    gr.Examples([[example] for example in page.about["examples"]], [text], label="Try one", api_name=None)
    shown = gr.HighlightedText(label="Entities", combine_adjacent=False, visible=False, elem_id="entities")
    table = gr.Dataframe(
        headers=HEADER,
        label="Start and end count characters; the cells can be corrected, rows added and deleted",
        interactive=True,
        type="array",
        column_count=(len(HEADER), "fixed"),
        wrap=True,
        elem_id="spans",
    )
    cost = gr.Markdown(elem_id="facts")
    shared = gr.Markdown(elem_id="share")
    last = gr.State(None)
    corrected = gr.Textbox(visible=False, label="corrected")  # the table once it was edited, as JSON

    def find(one: str, request: gr.Request) -> tuple[Any, ...]:
        (answer,), seconds = page.ask(request, [{"text": one}])
        entities = answer.parsed or []
        return (
            gr.update(value=highlighted(one, entities), visible=True),
            [[entity[name] for name in HEADER] for entity in entities],
            parts.facts([answer], seconds),
            parts.link({"text": one}),
            parts.answered({"text": one}, answer),
            "",
        )

    gr.on(
        [run.click, text.submit],
        find,
        [text],
        [shown, table, cost, shared, last, corrected],
        concurrency_id="answer",
        api_name=f"{page.alias}-entities",
    )

    def edited(one: Any, rows: Sequence[Sequence[Any]]) -> tuple[Any, str]:
        if not one:
            raise trouble("There is no text yet whose entities could be corrected; find them first.")
        answered = one["row"]["text"]
        sure = {_span(entity): entity["confidence"] for entity in one["parsed"] or ()}
        try:
            entities = [
                entity | {"confidence": sure.get(_span(entity))} for entity in _entities(answered, rows)
            ]
            return highlighted(answered, entities), json.dumps(rows)
        except ValueError as error:
            gr.Warning(escape(str(error)))
            return gr.skip(), json.dumps(rows)  # what is sent is what is seen, and is refused

    table.input(edited, [last, table], [shown, corrected], show_progress="hidden", api_visibility="private")
    parts.opinions(page, last, _spans, edited=corrected)
    parts.restore(page, {"text": text})


def highlighted(text: str, entities: Sequence[Mapping[str, Any]]) -> list[tuple[str, str | None]]:
    """The text in pieces: (piece, what it is), as HighlightedText takes it; pieces together are the text."""
    pieces: list[tuple[str, str | None]] = []
    at = 0
    for entity in sorted(entities, key=lambda one: one["start"]):
        if entity["start"] > at:
            pieces.append((text[at : entity["start"]], None))
        sure = entity.get("confidence")
        kind = entity["type"] if sure is None else f"{entity['type']} {sure:.2f}"
        pieces.append((text[entity["start"] : entity["end"]], kind))
        at = entity["end"]
    if at < len(text):
        pieces.append((text[at:], None))
    return pieces


def _entities(text: str, rows: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    """The table's rows as entities of the text. Raises ValueError for a span that is none."""
    found: list[dict[str, Any]] = []
    for number, row in enumerate(rows, 1):
        if not any(str(cell).strip() for cell in row if cell is not None):
            continue
        cells = dict(zip(HEADER, row, strict=False))
        try:
            start, end = int(cells["start"]), int(cells["end"])
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"row {number}: start and end are numbers of characters") from None
        if not 0 <= start < end <= len(text):
            raise ValueError(
                f"row {number}: {start} to {end} is not within the text of {len(text)} characters"
            )
        if not str(cells["type"] or "").strip():
            raise ValueError(f"row {number} has no type")
        kind = str(cells["type"]).strip()
        found.append({"text": text[start:end], "type": kind, "start": start, "end": end})
    found.sort(key=lambda one: one["start"])
    for one, other in pairwise(found):
        if other["start"] < one["end"]:
            raise ValueError(
                f"“{one['text']}” and “{other['text']}” overlap; a character belongs to one entity"
            )
    return found


def _span(entity: Mapping[str, Any]) -> tuple[int, int, str]:
    return entity["start"], entity["end"], entity["type"]


def _spans(table: str, one: Mapping[str, Any]) -> list[dict[str, Any]]:
    """As rows to train on have them. Raises ValueError for a span that is none."""
    entities = _entities(one["row"]["text"], json.loads(table))
    return [{name: entity[name] for name in ("start", "end", "type")} for entity in entities]
