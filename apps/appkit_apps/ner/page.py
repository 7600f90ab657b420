"""Builds the page of NER."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from operator import itemgetter
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

    def edited(answer: Any, rows: Sequence[Sequence[Any]]) -> tuple[Any, str]:
        if not answer:
            raise trouble("There is no text yet whose entities could be corrected; find them first.")
        source = answer["row"]["text"]
        sure = {_span(entity): entity["confidence"] for entity in answer["parsed"] or ()}
        try:
            entities = [
                entity | {"confidence": sure.get(_span(entity))} for entity in _entities(source, rows)
            ]
            return highlighted(source, entities), json.dumps(rows)
        except ValueError as error:
            gr.Warning(escape(str(error)))
            return gr.skip(), json.dumps(rows)  # the user sends what the table shows, and it is refused

    table.input(edited, [last, table], [shown, corrected], show_progress="hidden", api_visibility="private")
    parts.opinions(page, last, _spans, edited=corrected)
    parts.restore(page, {"text": text})


def highlighted(text: str, entities: Sequence[Mapping[str, Any]]) -> list[tuple[str, str | None]]:
    """Cuts the text into pieces (piece, what it is), as HighlightedText takes them; together they are the text."""
    pieces: list[tuple[str, str | None]] = []
    at = 0
    for entity in sorted(entities, key=itemgetter("start")):
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
    """Reads the table's rows as entities of the text. Raises ValueError for a span that is none."""
    entities: list[dict[str, Any]] = []
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
        entities.append({"text": text[start:end], "type": kind, "start": start, "end": end})
    entities.sort(key=itemgetter("start"))
    for entity, following in pairwise(entities):
        if following["start"] < entity["end"]:
            raise ValueError(
                f"“{entity['text']}” and “{following['text']}” overlap; a character belongs to one entity"
            )
    return entities


def _span(entity: Mapping[str, Any]) -> tuple[int, int, str]:
    return entity["start"], entity["end"], entity["type"]


def _spans(table: str, answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Reads the table as spans for training rows. Raises ValueError for a span that is none."""
    entities = _entities(answer["row"]["text"], json.loads(table))
    return [{name: entity[name] for name in ("start", "end", "type")} for entity in entities]
