"""Builds the evidence page, which belongs to no pack."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Mapping
from html import escape
from typing import Any

import gradio as gr

from appkit.client import Client
from appkit.errors import GatewayError
from appkit_apps import parts
from appkit_apps.app import trouble

PNG = b"\x89PNG\r\n\x1a\n"


def build(blocks: gr.Blocks, client: Client, aliases: Collection[str]) -> None:
    """Builds the page. aliases: those that are served; later ones may join the collection."""
    gr.Markdown("# Evidence")
    with gr.Row():
        bundle = gr.Dropdown(list(aliases), value=next(iter(aliases)), label="Bundle", elem_id="bundle")
        second_bundle = gr.Dropdown(["", *aliases], value="", label="Beside", elem_id="beside-bundle")
    headline = gr.Markdown(elem_id="evidence")
    shared = gr.Markdown(elem_id="share")
    scores = gr.Dataframe(label="Scores", interactive=False, wrap=True, elem_id="scores")
    with gr.Accordion("Report", open=True):
        report = gr.Markdown(elem_id="report")
    with gr.Accordion("Pictures", open=True):
        pictures = gr.HTML(elem_id="pictures")
    with gr.Accordion("Certificate", open=False):
        certificate = gr.Dataframe(label="Checks", interactive=False, wrap=True, elem_id="certificate")
    with gr.Accordion("Label audit", open=False):
        audit = gr.Markdown(elem_id="audit")

    def show(name: str, beside: str) -> tuple[Any, ...]:
        try:
            first = client.evidence(name)
            second = client.evidence(beside) if beside else None
        except GatewayError as error:
            if error.status is None:
                raise trouble("The gateway does not answer; try again in a minute.") from None
            raise trouble(str(error)) from None
        header, rows = compared(first, second)
        return (
            f"`{first['model']}` · {parts.plain(str(first['manifest'].get('verdict') or ''))}",
            parts.link({"bundle": name, "beside": beside}),
            gr.update(headers=header, value=rows),
            first["report"] or "This bundle came without a report.",
            _pictures(first["pictures"]),
            gr.update(headers=["check", "passed", "figure"], value=checks(first["certificate"])),
            first["audit"] or "Shown to admin keys, for a bundle that is still in its run's directory.",
        )

    def choices(request: gr.Request) -> tuple[Any, Any]:
        """Lists the bundles that are served now, and chooses the two that the link names."""
        query = request.query_params
        return _selected(list(aliases), query.get("bundle")), _selected(["", *aliases], query.get("beside"))

    blocks.load(choices, None, [bundle, second_bundle], show_progress="hidden", api_visibility="private")
    outputs = [headline, shared, scores, report, pictures, certificate, audit]
    gr.on(
        [bundle.change, second_bundle.change, blocks.load],
        show,
        [bundle, second_bundle],
        outputs,
        api_visibility="private",
    )


def _selected(names: list[str], name: str | None) -> Any:
    return gr.update(choices=names, value=name) if name in names else gr.update(choices=names)


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


def checks(certificate: Mapping[str, Any] | None) -> list[list[str]]:
    """Makes a row for each check of a certificate."""
    if not certificate:
        return [["not certified", "no", "appkit certify shows what the serving engine makes of it"]]
    words = {True: "yes", False: "no", None: "not made"}
    rows = [
        [str(check["name"]), words[check["passed"]], str(check["figure"])] for check in certificate["checks"]
    ]
    if certificate.get("sealed"):
        return rows
    return [
        ["certified elsewhere", "no", "another machine says what follows; appkit certify checks it here"],
        *rows,
    ]


def _pictures(pictures: Mapping[str, str]) -> str:
    """Writes the pictures as inline images; data that is no PNG is left out."""
    shown = []
    for name, data in pictures.items():
        try:
            image = base64.b64decode(data, validate=True)
        except binascii.Error:
            continue
        if image.startswith(PNG):
            source = f"data:image/png;base64,{base64.b64encode(image).decode()}"
            shown.append(f'<img src="{source}" alt="{escape(name, quote=True)}">')
    return f'<div class="pictures">{"".join(shown)}</div>' if shown else "<p>No picture is at hand.</p>"
