"""Builds the tab that translates a file: what the pack reads of it is asked in parts, and the pack writes it again."""

from __future__ import annotations

import base64
import re
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from appkit.client import Answer
from appkit_apps import parts
from appkit_apps.app import Limiter, Page, trouble
from appkit_apps.markup import show, table
from appkit_apps.translation.looks import STYLE
from appkit_apps.translation.wishes import read_entries

__all__ = ["build_file"]

SUFFIXES = [
    ".po",
    ".pot",
    ".xlf",
    ".xliff",
    ".sdlxliff",
    ".mqxliff",
    ".mxliff",
    ".tmx",
    ".csv",
    ".tsv",
    ".md",
    ".txt",
]
LARGEST = 500_000
"""bytes of a file, as the pack's tools have it"""
MOST = 500
"""texts of a file"""
AT_ONCE = 8
"""texts of a request: on a CPU they take seconds, and the page shows how far it is"""
SHOWN = 200
"""rows of the table"""
PROGRESS = re.compile(r"Translated: \d+ of \d+")
"""how far a translation is, in the page's words"""
SURE = 0.5
"""confidence below which a translation is doubtful, unless the user says otherwise"""


def build_file(page: Page, shared: Sequence[gr.components.Component]) -> None:
    """Builds the tab. shared: the boxes of source language, target language, glossary, and shipped glossary."""
    file = gr.File(
        label="PO, XLIFF, TMX, Markdown or text, or a CSV or TSV table with a column named source",
        file_types=SUFFIXES,
        elem_id="document",
    )
    again = gr.Checkbox(label="Translate what is marked fuzzy or needs-review again", elem_id="again")
    threshold = gr.Slider(
        0,
        1,
        value=SURE,
        step=0.05,
        label="Mark translations for review below this confidence",
        visible=bool(page.about.get("confidence")),
        elem_id="threshold",
    )
    with gr.Row():
        run = gr.Button("Translate the file", variant="primary", elem_id="run-file")
        stop = gr.Button("Stop", elem_id="stop-file")
    progress = gr.HTML(css_template=STYLE, elem_id="progress")
    download = gr.DownloadButton("Download the translated file", visible=False, elem_id="download")
    cost = gr.Markdown(elem_id="file-facts")
    segments = gr.HTML(css_template=STYLE, elem_id="segments")
    translating = run.click(
        FileTranslator(page).translate,
        [file, again, threshold, *shared],
        [progress, download, cost, segments],
        concurrency_id="answer",
        show_progress="hidden",
        api_visibility="private",
    )
    # the texts of the part under way are answered, no others are asked for
    stop.click(
        _write_stopped,
        progress,
        progress,
        cancels=[translating],
        show_progress="hidden",
        api_visibility="private",
    )


class FileTranslator:
    """Translates uploaded files through the pack's tools, and keeps the last results for their download."""

    def __init__(self, page: Page) -> None:
        self.page = page
        # Gradio copies a file when it is shown; ours is removed after 16 others, or when the gallery ends
        self._recent: deque[tempfile.TemporaryDirectory[str]] = deque(maxlen=16)

    def translate(
        self,
        upload: str | None,
        over: bool,
        sure: float,
        source: str,
        target: str,
        typed: str | None,
        shipped: bool,
        request: gr.Request,
    ) -> Iterator[tuple[Any, ...]]:
        """Yields progress, download, cost and table, again and again until the file is translated."""
        name, content = _read_upload(upload)
        try:
            terms = {"entries": read_entries(typed or ""), "shipped": shipped}
        except ValueError as error:
            raise trouble(f"Nothing was asked: {error}.") from None
        sent = {
            "file_name": name,
            "content_base64": base64.b64encode(content).decode(),
            "source_language": source,
            "target_language": target,
            "again": over,
        }
        document = self.page.tool(request, "read_document", **sent, **terms)
        _refuse_rows(document["rows"], document["segments"])
        answers: list[Answer] = []
        began = time.monotonic()
        hidden = gr.update(visible=False)
        try:
            for done in _answer_rows(self.page, request, document["rows"], answers):
                yield _write_progress(done, len(document["rows"])), hidden, "", ""
            result = {"threshold": sure, "answers": _describe(answers)}
            written = self.page.tool(request, "write_document", **sent, **result)
        except gr.Error:
            yield "", hidden, "", ""  # it does not go on
            raise
        path = self._keep(f"{Path(name).stem}.{target}{Path(name).suffix}", written["content_base64"])
        yield (
            _write_summary(document, written),
            gr.update(value=str(path), visible=True),
            parts.facts(answers, time.monotonic() - began),
            _write_segments(written["segments"]),
        )

    def _keep(self, name: str, content_base64: str) -> Path:
        self._recent.append(tempfile.TemporaryDirectory(prefix="appkit-translated-"))
        path = Path(self._recent[-1].name) / name
        path.write_bytes(base64.b64decode(content_base64))
        return path


def _answer_rows(
    page: Page, request: gr.Request, rows: Sequence[Mapping[str, Any]], answers: list[Answer]
) -> Iterator[int]:
    """Asks for the rows in parts and appends their answers; yields how many are answered before each part.

    The rows count at once for the user's limit, so that no file is left half translated when the minute is used up.
    """
    page.limiter.take(request, len(rows))
    counted = replace(page, limiter=Limiter(len(rows)))
    for start in range(0, len(rows), AT_ONCE):
        yield start
        answers += counted.ask(request, rows[start : start + AT_ONCE], confidence=True)[0]


def _describe(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """Describes answers as the pack's tool takes them."""
    return [
        {"text": answer.text, "confidence": answer.confidence, "truncated": answer.truncated}
        for answer in answers
    ]


def _read_upload(upload: str | None) -> tuple[str, bytes]:
    """Returns name and bytes of the uploaded file. Raises gr.Error for none, or one that is too large."""
    if not upload:
        raise trouble("Nothing to translate: choose a file.")
    path = Path(upload)
    if (size := path.stat().st_size) > LARGEST:
        raise trouble(
            f"The file has {size:,} bytes, the limit here is {LARGEST:,}; use `appkit translate` for larger ones."
        )
    return path.name, path.read_bytes()


def _refuse_rows(rows: Sequence[Any], segments: Mapping[str, int]) -> None:
    """Raises gr.Error for a file with nothing to translate, or with too many texts."""
    if not rows:
        raise trouble(
            f"Nothing is to be translated in it. Texts translated: {segments['translated']}, marked for review: "
            f"{segments['doubtful']}."
        )
    if len(rows) > MOST:
        raise trouble(
            f"The file has {len(rows):,} texts to translate, the limit here is {MOST}; use `appkit translate` for "
            "larger ones."
        )


def _write_progress(done: int, count: int) -> str:
    return (
        f'<div class="look" role="status"><progress aria-label="Texts translated" value="{done}" max="{count}">'
        f"</progress><p>Translated: {done} of {count}</p></div>"
    )


def _write_stopped(progress: str | None) -> str:
    """Says that a translation was stopped, and how far it was; what is no progress stays, since nothing ran."""
    how_far = PROGRESS.search(progress or "")
    if how_far is None:
        return progress or ""
    return f'<div class="look" role="status"><p><strong>Stopped. {how_far[0]}; no file was written.</strong></p></div>'


def _write_summary(document: Mapping[str, Any], written: Mapping[str, Any]) -> str:
    """Says what became of the file's texts, and what was left out."""
    before = document["segments"]
    doubtful = sum(segment["doubtful"] for segment in written["segments"])
    first = (
        f"Texts: {sum(before.values())}. New: {written['translated']}, of which to be reviewed: {doubtful}. "
        f"Translated before: {before['translated']}."
    )
    notes = "".join(f"<li>{show(note)}</li>" for note in (*document["notes"], *written["notes"]))
    return (
        f'<div class="look" role="status"><p><strong>{first}</strong></p>'
        f"{f'<ul>{notes}</ul>' if notes else ''}</div>"
    )


def _write_segments(segments: Sequence[Mapping[str, Any]]) -> str:
    """Writes the new translations as a table, those to be reviewed first."""
    ordered = sorted(segments, key=lambda segment: not segment["doubtful"])
    rows = [
        (
            show(segment["place"]),
            show(segment["source"]),
            show(segment["target"]) or "<em>none</em>",
            f'<span class="review">Review</span>: {show(segment["reason"])}'
            if segment["doubtful"]
            else "fine",
        )
        for segment in ordered[:SHOWN]
    ]
    more = f'<p class="note">{len(ordered) - SHOWN} more are in the file.</p>' if len(ordered) > SHOWN else ""
    header = ("Place", "Text", "Translation", "Check")
    shown = table("Translated texts, to be reviewed first", header, rows)
    return f'<div class="look proof segments">{shown}{more}</div>'
