"""Builds the evidence page, which belongs to no pack."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import gradio as gr

from appkit.client import Client
from appkit.errors import GatewayError
from appkit_apps import parts
from appkit_apps.app import trouble
from appkit_apps.evidence import sections


def build(blocks: gr.Blocks, client: Client, aliases: Collection[str]) -> None:
    """Builds the page: the verdict, then what it rests on. aliases: those that are served; later ones may join."""
    gr.Markdown("# Evidence")
    with gr.Row():
        bundle = gr.Dropdown(list(aliases), value=next(iter(aliases), None), label="Bundle", elem_id="bundle")
        second_bundle = gr.Dropdown(["", *aliases], value="", label="Beside", elem_id="beside-bundle")
    headline = gr.HTML(elem_id="evidence")
    shared = gr.Markdown(elem_id="share")
    with gr.Column(elem_id="pictures"):  # each beside its table
        scores = gr.HTML()
        with gr.Column(visible=False) as detailed:
            gr.Markdown("## In detail")
            with gr.Row():
                details = gr.Markdown(elem_id="details")
                detail_pictures = gr.HTML(elem_classes=["look", "proof"])
        certificate = gr.HTML()
        with gr.Accordion("Certificate: every check", open=False):
            certificate_checks = gr.HTML(elem_id="certificate")
        origin = gr.HTML()
    with gr.Accordion("Report", open=True):
        report = gr.Markdown(elem_id="report")
    with gr.Accordion("Label audit", open=False):
        audit = gr.Markdown(elem_id="audit")

    def show(name: str | None, beside: str) -> tuple[Any, ...]:
        if name is None:
            raise trouble("No bundle is served yet; the home page says how to train the first.")
        try:
            first = client.evidence(name)
            second = client.evidence(beside) if beside else None
        except GatewayError as error:
            if error.status is None:
                raise trouble("The gateway does not answer; try again in a minute.") from None
            raise trouble(str(error)) from None
        detail, rest = sections.split_report(first["report"])
        pictures = sections.write_details(first)
        return (
            sections.write_verdict(first),
            parts.link({"bundle": name, "beside": beside}),
            sections.write_scores(first, second),
            gr.update(visible=bool(detail or pictures)),
            detail,
            pictures,
            sections.write_certificate(first["certificate"]),
            sections.write_checks(first["certificate"]),
            sections.write_origin(first),
            rest or "This bundle came without a report.",
            first["audit"] or "Shown to admin keys, for a bundle that is still in its run's directory.",
        )

    def choices(request: gr.Request) -> tuple[Any, Any]:
        """Lists the bundles that are served now, and chooses the two that the link names."""
        query = request.query_params
        return _selected(list(aliases), query.get("bundle")), _selected(["", *aliases], query.get("beside"))

    blocks.load(choices, None, [bundle, second_bundle], show_progress="hidden", api_visibility="private")
    outputs = [
        *(headline, shared, scores, detailed, details, detail_pictures),
        *(certificate, certificate_checks, origin, report, audit),
    ]
    gr.on(
        [bundle.change, second_bundle.change, blocks.load],
        show,
        [bundle, second_bundle],
        outputs,
        api_visibility="private",
    )


def _selected(names: list[str], name: str | None) -> Any:
    return gr.update(choices=names, value=name) if name in names else gr.update(choices=names)
