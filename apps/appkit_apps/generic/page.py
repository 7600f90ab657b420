"""A page made from a pack's schema and examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import gradio as gr

from appkit_apps import parts
from appkit_apps.app import Page, trouble


def build(page: Page) -> None:
    gr.Markdown(f"# {parts.plain(page.alias)}")
    parts.about(page)
    fields = {name: _component(name, schema) for name, schema in _fields(page.about).items()}
    run = gr.Button("Ask", variant="primary", elem_id="run")
    gr.Examples(
        [[example] for example in page.about["examples"]],
        [fields[page.about["input"]]],
        label="Try one",
        api_name=None,
    )
    text = gr.Textbox(label="Answer", interactive=False, lines=2, buttons=["copy"], elem_id="answer")
    state = gr.Markdown(elem_id="state")
    parsed = gr.JSON(label="As it was read", elem_id="parsed")
    cost = gr.Markdown(elem_id="facts")
    shared = gr.Markdown(elem_id="share")
    answered = gr.State(None)

    def row(*values: Any) -> dict[str, Any]:
        return {
            name: value
            for name, value in zip(fields, values, strict=True)
            if value is not None and value != ""
        }

    def ask(*values: Any, request: gr.Request) -> tuple[Any, ...]:
        asked = row(*values)
        if page.about["input"] not in asked:
            raise trouble(f"Write something into {page.about['input']}.")
        (answer,), seconds = page.ask(request, [asked])
        told = f"**Not understood**: {parts.plain(answer.error)}" if answer.error else ""
        value = (
            answer.parsed if isinstance(answer.parsed, dict | list) else {page.about["output"]: answer.parsed}
        )
        return (
            answer.text,
            told,
            value,
            parts.facts([answer], seconds),
            parts.link(asked),
            asdict(answer),
        )

    def asked_by(request: gr.Request, *values: Any) -> tuple[Any, ...]:
        return ask(*values, request=request)

    inputs = list(fields.values())
    run.click(
        asked_by,
        inputs,
        [text, state, parsed, cost, shared, answered],
        concurrency_id="answer",
        api_name=f"{page.alias}-ask",
    )
    parts.opinions(page, row, inputs, answered, lambda typed: typed.strip())
    parts.restore(
        page, {name: one for name, one in fields.items() if isinstance(one, gr.Textbox | gr.Checkbox)}
    )


def _fields(about: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The input first, then what must be given, then the rest."""
    schema = about["row"]
    needed = set(schema.get("required", ()))
    order = sorted(schema["properties"], key=lambda name: (name != about["input"], name not in needed))
    return {name: schema["properties"][name] for name in order}


def _component(name: str, schema: Mapping[str, Any]) -> gr.components.Component:
    """The component for a field of the schema; what is neither text, number nor yes or no is typed as text."""
    label, info = name.replace("_", " "), schema.get("description")
    kinds = {schema.get("type"), *(one.get("type") for one in schema.get("anyOf", ()))}
    if "enum" in schema:
        return gr.Dropdown(list(schema["enum"]), label=label, info=info, elem_id=f"field-{name}")
    if "boolean" in kinds:
        return gr.Checkbox(label=label, info=info, elem_id=f"field-{name}")
    if kinds & {"integer", "number"} and "string" not in kinds:
        return gr.Number(label=label, info=info, value=schema.get("default"), elem_id=f"field-{name}")
    return gr.Textbox(label=label, info=info, lines=2, elem_id=f"field-{name}")
