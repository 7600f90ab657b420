"""Builds the parts that every page has: version and scores, cost of an answer, link to the input, opinions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any
from urllib.parse import urlencode

import gradio as gr

from appkit.client import Answer
from appkit.data.feedback import Verdict
from appkit.errors import AppkitError, GatewayError
from appkit_apps.app import LONGEST, Page, refusal, trouble

__all__ = ["about", "about_line", "answered", "facts", "link", "opinions", "plain", "query", "restore"]

LINK = 1500
"""most characters of a link's query; proxies and mail programs cut longer ones"""


def about(page: Page) -> None:
    """Shows the version that answers now, its certificate and its scores, asked anew whenever the page is opened."""
    line = gr.Markdown(about_line(page.about), elem_classes="about")

    def now() -> str:
        try:
            return about_line(page.client.describe(page.alias))
        except GatewayError as error:
            return f"**{plain(refusal(error, page.alias))}**"

    page.blocks.load(now, None, line, show_progress="hidden", api_visibility="private")


def about_line(description: Mapping[str, Any]) -> str:
    """Describes a version in a line of Markdown: `name@sha`, certificate, primary metric beside that of its rivals."""
    parts = [f"`{description['model']}`", plain(description["summary"])]
    parts.append(_certified_words(description.get("certificate")))
    for who, column in (description.get("metrics") or {}).items():
        score = column["metrics"].get(description["primary"])
        if score:
            parts.append(
                f"{plain(who)}: {plain(description['primary'])} {score['value']:.3f} "
                f"({score['low']:.3f} to {score['high']:.3f}, n = {score['n']})"
            )
    return " · ".join(parts)


def _certified_words(certificate: Mapping[str, Any] | None) -> str:
    """Says whether the gateway's machine certified a version; a certificate without its seal may be anybody's."""
    if not certificate:
        return "**not certified** (`appkit certify`)"
    engine = plain(f"{certificate['engine']} {certificate['version']}, {certificate['dtype']}")
    if certificate.get("sealed"):
        return f"certified for {engine}"
    return f"**certified elsewhere** for {engine}, not on this gateway's machine (`appkit certify`)"


def facts(answers: Sequence[Answer], seconds: float) -> str:
    """Says what answers cost and which version gave them."""
    tokens = sum(answer.tokens for answer in answers)
    cut = sum(answer.truncated for answer in answers)
    line = f"{seconds:.2f} s · {tokens} tokens · `{answers[0].model}`"
    return f"{line} · {cut} cut off at the limit" if cut else line


def plain(text: str) -> str:
    """Escapes text, so that Markdown shows it as it is."""
    return "".join(f"\\{char}" if char in "\\`*_{}[]<>#|!~$&" else char for char in text)


def link(fields: Mapping[str, Any]) -> str:
    """Makes a link to the page with these fields filled in, as Markdown."""
    written = query(fields)
    return "This input is too long for a link." if written is None else f"[Link to this input](?{written})"


def query(fields: Mapping[str, Any]) -> str | None:
    """Makes the query of a link that fills in these fields; None where it would be too long."""
    filled = {name: value for name, value in fields.items() if value is not None and value != ""}
    written = urlencode(filled, errors="replace")
    return None if len(written) > LINK else written


def restore(
    page: Page, fields: Mapping[str, gr.components.Component], within: gr.Accordion | None = None
) -> None:
    """Fills the components when the page is opened by a link of `link`; opens the box that they are `within`."""

    def fill(request: gr.Request) -> list[Any]:
        sent = request.query_params
        values = [_restored(sent.get(name), component) for name, component in fields.items()]
        if within is not None:
            values.append(gr.update(open=True) if any(sent.get(name) for name in fields) else gr.skip())
        return values if len(values) > 1 else values[0]  # a list would be one component's value

    filled = [*fields.values(), *([within] if within is not None else [])]
    page.blocks.load(fill, None, filled, show_progress="hidden", api_visibility="private")


def _restored(value: str | None, component: gr.components.Component) -> Any:
    """Returns the value of a link for a component; skips it where the link gives none that fits."""
    if value is None:
        return gr.skip()
    if isinstance(component, gr.Checkbox):
        return value == "True"
    if isinstance(component, gr.Dropdown) and value not in (choice for _, choice in component.choices):
        return gr.skip()
    return value


def answered(row: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
    """Makes the state of `opinions`: an answer with the row that was asked, whatever the boxes hold later."""
    return asdict(answer) | {"row": dict(row)}


def corrections(page: Page, last: gr.State, start: str) -> None:
    """Builds the box of a correction, which may start from the answer, and asks for an opinion.

    last: holds what `answered` made, or None. start: on the button that puts the answer into the box.
    """
    if page.feedback is None:
        return
    correction = gr.Textbox(label="What it should have been", lines=2, elem_id="correction")
    gr.Button(start, size="sm", elem_id="start-correction").click(
        lambda answer: answer["text"] if answer else "",
        last,
        correction,
        show_progress="hidden",
        api_visibility="private",
    )
    opinions(page, last, lambda typed, _: typed.strip(), edited=correction)


def opinions(
    page: Page,
    last: gr.State,
    correction: Callable[[str, Mapping[str, Any]], Any],
    label: str = "What it should have been",
    edited: gr.components.Component | None = None,
) -> None:
    """Asks for an opinion: thumbs, a corrected answer, and consent to keep the texts.

    last: holds what `answered` made, or None. correction: (what was typed, what `last` holds) -> the row's output;
    raises ValueError for a text that cannot be one. edited: the component elsewhere in the page that holds a correction
    as text; None: a line to type it into.
    """
    if page.feedback is None:
        return
    store = page.feedback
    with gr.Accordion("Was this right?", open=True):
        with gr.Row():
            up = gr.Button("👍 Right", size="sm", elem_id="thumb-up")
            down = gr.Button("👎 Wrong", size="sm", elem_id="thumb-down")
        corrected = edited or gr.Textbox(label=label, lines=1, elem_id="correction")
        keep = gr.Checkbox(
            label=(
                f"Keep my text and its answer for training: {store.days} days, longer if it is accepted "
                "(else only the verdict)"
            ),
            elem_id="consent",
        )
        send = gr.Button("Send the correction", size="sm", elem_id="send-correction")
        message = gr.Markdown(elem_id="feedback-told")

    def keep_opinion(
        verdict: Verdict | None, typed: str, agreed: bool, answer: Any, request: gr.Request
    ) -> str:
        if not answer:
            raise trouble("There is no answer yet to judge; ask first.")
        if verdict is None and not typed.strip():
            raise trouble("There is no correction yet; make it first.")
        if verdict is None and not agreed:
            raise trouble("A correction is of use only with its text; tick the box that allows to keep it.")
        if len(typed) > LONGEST:
            raise trouble(f"The correction has {len(typed):,} characters, the limit here is {LONGEST:,}.")
        page.limiter.take(request, 1)
        try:
            output = correction(typed, answer) if typed.strip() and verdict != "up" else None
            store.add(
                page.about["task"],
                answer["model"],
                verdict=verdict or "down",
                input=answer["row"],
                answer=answer["text"],
                correction=output,
                keep=agreed,
            )
        except ValueError as error:
            raise trouble(f"That correction cannot be used: {error}") from None
        except GatewayError as error:
            raise trouble(refusal(error, page.alias)) from None
        except AppkitError:
            raise trouble("It could not be kept; tell who runs this page.") from None
        return "Thank you, it is kept." if agreed else "Thank you. Only the verdict is kept, no text."

    def judged(verdict: Verdict | None) -> Callable[..., tuple[str, str]]:
        def judge(typed: str, agreed: bool, answer: Any, request: gr.Request) -> tuple[str, str]:
            thanks = keep_opinion(verdict, typed, agreed, answer, request)
            return thanks, ""  # the correction has been sent: empty its line

        return judge

    verdicts: tuple[tuple[gr.Button, Verdict | None], ...] = ((up, "up"), (down, "down"), (send, None))
    for button, verdict in verdicts:
        button.click(
            judged(verdict),
            [corrected, keep, last],
            [message, corrected],
            show_progress="hidden",
            api_visibility="private",
        )
    # a correction of the answer before is none of this one
    last.change(None, None, [message, corrected], js='() => ["", ""]', api_visibility="private")
