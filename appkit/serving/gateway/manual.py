"""Writes the page of routes at /docs: plain HTML from the OpenAPI description, without scripts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

__all__ = ["HEADERS", "write_manual"]

HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "code{font-family:ui-monospace,monospace}table{border-collapse:collapse}td{padding:.1rem 1rem .1rem 0;"
    "vertical-align:top}section{border-top:1px solid #8888;margin-top:1.5rem}:root{color-scheme:light dark}"
)


def write_manual(description: Mapping[str, Any]) -> str:
    """Writes the page. description: of OpenAPI, as /openapi.json gives it."""
    title = escape(description["info"]["title"])
    sections = "".join(
        section
        for path, operations in description["paths"].items()
        for method, operation in operations.items()
        for section in _write_section(f"{method.upper()} {path}", operation, description)
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width">'
        f"<style>{STYLE}</style><h1>{title} {escape(description['info']['version'])}</h1>"
        f"<p>{escape(description['info'].get('description', ''))} "
        f'For programs: <a href="openapi.json">openapi.json</a>.</p>{sections}</html>'
    )


def _write_section(name: str, operation: Mapping[str, Any], description: Mapping[str, Any]) -> Iterator[str]:
    yield f"<section><h2><code>{escape(name)}</code></h2><p>{escape(operation.get('description', ''))}</p><table>"
    for parameter in operation.get("parameters", ()):
        yield _write_line(parameter["name"], parameter.get("description") or f"in the {parameter['in']}")
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    known = description.get("components", {}).get("schemas", {})
    fields = known.get(body.get("$ref", "").rpartition("/")[2], {})
    for field, about in fields.get("properties", {}).items():
        needed = "required; " if field in fields.get("required", ()) else ""
        yield _write_line(field, needed + str(about.get("description", "")))
    yield "</table></section>"


def _write_line(name: str, text: str) -> str:
    return f"<tr><td><code>{escape(name)}</code></td><td>{escape(text)}</td></tr>"
