"""Writes texts of users, models and gateways into HTML, so that they are shown and never read as markup."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

__all__ = ["show", "table"]

TEMPLATE = {ord(char): f"&#{ord(char)};" for char in "{}$`"}
"""what Gradio's HTML templates give a meaning"""


def show(text: Any, most: int | None = None) -> str:
    """Escapes a text for HTML, attributes too, and for Gradio's templates. most: characters that are shown."""
    words = str(text).encode("utf-8", "replace").decode()  # half a surrogate pair cannot be sent
    if most is not None and len(words) > most:
        words = f"{words[:most].rstrip()}…"
    return escape(words, quote=True).translate(TEMPLATE)


def table(label: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Writes a table whose first column names its rows; it scrolls by itself where it is too wide.

    label: says what it shows. header and rows: HTML, so texts have gone through `show`.
    """
    head = "".join(f'<th scope="col">{cell}</th>' for cell in header)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        for first, *cells in rows
    )
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{show(label)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
