"""Builds a page from a pack's schema and examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from appkit_apps import parts
from appkit_apps.app import Page, trouble


def build(page: Page) -> None:
    gr.Markdown(f"# {parts.plain(page.alias)}")
    parts.about(page)
    schemas = _fields(page.about)
    fields = {name: _component(name, schema) for name, schema in schemas.items()}
    run = gr.Button("Ask", variant="primary", elem_id="run")
    examples, main = page.about["examples"], page.about["input"]
    filled = {main, *(name for example in examples if isinstance(example, dict) for name in example)}
    typed = {
        name: field for name, field in fields.items() if isinstance(field, gr.Textbox) and name in filled
    }
    gr.Examples(
        [_filled(example, typed, main) for example in examples],
        list(typed.values()),
        label="Try one",
        api_name=None,
    )
    text = gr.Textbox(label="Answer", interactive=False, lines=2, buttons=["copy"], elem_id="answer")
    state = gr.Markdown(elem_id="state")
    parsed = gr.JSON(label="As it was read", elem_id="parsed")
    cost = gr.Markdown(elem_id="facts")
    shared = gr.Markdown(elem_id="share")
    last = gr.State(None)

    def read_row(*values: Any) -> dict[str, Any]:
        filled_in = {
            name: value for name, value in zip(fields, values, strict=True) if value not in (None, "")
        }
        return {name: _value(name, value, schemas[name]) for name, value in filled_in.items()}

    def ask(*values: Any, request: gr.Request) -> tuple[Any, ...]:
        row = read_row(*values)
        if page.about["input"] not in row:
            raise trouble(f"Write something into {page.about['input']}.")
        (answer,), seconds = page.ask(request, [row])
        problem = f"**Not understood**: {parts.plain(answer.error)}" if answer.error else ""
        value = (
            answer.parsed if isinstance(answer.parsed, dict | list) else {page.about["output"]: answer.parsed}
        )
        return (
            answer.text,
            problem,
            value,
            parts.facts([answer], seconds),
            parts.link(dict(zip(fields, values, strict=True))),
            parts.answered(row, answer),
        )

    def ask_with_request(request: gr.Request, *values: Any) -> tuple[Any, ...]:
        return ask(*values, request=request)

    inputs = list(fields.values())
    run.click(
        ask_with_request,
        inputs,
        [text, state, parsed, cost, shared, last],
        concurrency_id="answer",
        api_name=f"{page.alias}-ask",
    )
    parts.opinions(page, last, lambda typed, _: typed.strip())
    parts.restore(page, fields)


def _filled(example: Any, typed: Mapping[str, Any], main: str) -> list[str]:
    """Returns an example's values for the boxes, in their order; a list gets a line for each item."""
    values_by_field = example if isinstance(example, dict) else {main: example}
    values = (values_by_field.get(name, "") for name in typed)
    return ["\n".join(map(str, value)) if isinstance(value, list) else str(value) for value in values]


def _fields(about: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Orders the fields: the input first, then the required ones, then the rest."""
    schema = about["row"]
    needed = set(schema.get("required", ()))
    order = sorted(schema["properties"], key=lambda name: (name != about["input"], name not in needed))
    return {name: schema["properties"][name] for name in order}


def _component(name: str, schema: Mapping[str, Any]) -> gr.components.Component:
    """Makes the component of a field: a choice, a yes or no, or a line; a number is typed, since it may be left out."""
    label, info = name.replace("_", " "), schema.get("description")
    more = {"label": label, "info": info, "elem_id": f"field-{name}"}
    if "enum" in schema:
        return gr.Dropdown(list(schema["enum"]), value=schema.get("default"), **more)
    if "boolean" in _kinds(schema):
        return gr.Checkbox(value=bool(schema.get("default")), **more)
    return gr.Textbox(lines=1 if _numeric(schema) else 2, **more)


def _kinds(schema: Mapping[str, Any]) -> set[Any]:
    return {schema.get("type"), *(option.get("type") for option in schema.get("anyOf", ()))}


def _numeric(schema: Mapping[str, Any]) -> bool:
    return bool(_kinds(schema) & {"integer", "number"}) and "string" not in _kinds(schema)


def _value(name: str, typed: Any, schema: Mapping[str, Any]) -> Any:
    """Reads what was typed as the schema has it, a list by its lines. Raises gr.Error for a number that is none."""
    if "array" in _kinds(schema) and isinstance(typed, str):
        items = schema.get("items") or {}
        return [_value(name, line.strip(), items) for line in typed.splitlines() if line.strip()]
    if not _numeric(schema):
        return typed
    try:
        return float(typed) if "number" in _kinds(schema) else int(typed)
    except ValueError:
        raise trouble(f"{name} is a number, got {typed[:40]!r}; correct it, or leave it out.") from None
