"""Builds the page of QA."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import gradio as gr

from appkit.client import Answer
from appkit_apps import parts
from appkit_apps.app import LONGEST, Page, trouble

MOST_PASSAGES = 20
OPEN = "Not in the documents."


def build(page: Page) -> None:
    gr.Markdown("# Questions to documents")
    parts.about(page)
    documents = (page.about.get("retrieval") or {}).get("documents")
    gr.Markdown(
        f"Answers come from {documents['passages']:,} passages of the documents behind this page."
        if documents
        else "No documents are behind this page: give passages of your own, or start it with `rag=INDEX`."
    )
    question = gr.Textbox(label="Question", lines=2, elem_id="question")
    with gr.Accordion("Passages of your own", open=not documents) as own_passages:
        passages = gr.Textbox(
            label="Passages",
            info="An empty line between two; these alone are used then.",
            lines=4,
            elem_id="passages",
        )
    with gr.Row():
        constrain = gr.Checkbox(label="Keep to the form of an answer", value=True, elem_id="constrain")
        beside = gr.Checkbox(label="Show the answer without passages too", elem_id="beside")
    run = gr.Button("Ask", variant="primary", elem_id="run")
    gr.Examples(
        [[example["question"], "\n\n".join(example["passages"])] for example in page.about["examples"]],
        [question, passages],
        label="Try one",
        api_name=None,
    )
    with gr.Row():
        text = gr.Textbox(label="Answer", lines=2, interactive=False, buttons=["copy"], elem_id="answer")
        plain = gr.Textbox(
            label="Without passages", lines=2, interactive=False, visible=False, elem_id="without"
        )
    state = gr.Markdown(elem_id="state")
    cited = gr.HTML(label="Passages", elem_id="cited")
    cost = gr.Markdown(elem_id="facts")
    shared = gr.Markdown(elem_id="share")
    last = gr.State(None)

    def ask(
        asked: str, given: str | None, bound: bool, compare: bool, request: gr.Request
    ) -> tuple[Any, ...]:
        own = _passages(given or "")  # a box that was never opened holds nothing
        row: dict[str, Any] = {"question": asked, **({"passages": own} if own else {})}
        (answer,), seconds = page.ask(request, [row], constrain=bound)
        plain_answer = gr.update(visible=False)
        if compare:
            (closed,), _ = page.ask(request, [{"question": asked}], constrain=bound, rag=False)
            plain_answer = gr.update(visible=True, value=_answer_text(closed))
        shown = answer.citations or _own_passages(own, answer)
        # an opinion is kept with the passages that the answer was given from
        used_row = {"question": asked, "passages": [passage["text"] for passage in shown]}
        return (
            _answer_text(answer),
            f"**Not understood**: {parts.plain(answer.error)}" if answer.error else "",
            plain_answer,
            _as_html(shown),
            parts.facts([answer], seconds),
            parts.link({"question": asked, "passages": given, "constrain": bound, "beside": compare}),
            parts.answered(used_row, answer),
        )

    gr.on(
        [run.click, question.submit],
        ask,
        [question, passages, constrain, beside],
        [text, state, plain, cited, cost, shared, last],
        concurrency_id="answer",
        api_name=f"{page.alias}-ask",
    )
    parts.opinions(page, last, lambda typed, _: _correction(typed), label="The right answer")
    parts.restore(page, {"question": question, "constrain": constrain, "beside": beside})
    parts.restore(page, {"passages": passages}, within=own_passages)


def _passages(text: str) -> list[str]:
    """Splits the passages at empty lines. Raises gr.Error for too many, or too much text."""
    if len(text) > LONGEST:
        raise trouble(f"The passages have {len(text):,} characters, the limit here is {LONGEST:,}.")
    passages = [passage.strip() for passage in re.split(r"\n\s*\n", text) if passage.strip()]
    if len(passages) > MOST_PASSAGES:
        raise trouble(f"{len(passages)} passages are too many, the limit here is {MOST_PASSAGES}.")
    return passages


def _answer_text(answer: Answer) -> str:
    """Returns the answer as people read it."""
    if answer.parsed is None:
        return answer.text
    return str(answer.parsed["answer"] or OPEN)


def _own_passages(own: Sequence[str], answer: Answer) -> list[dict[str, Any]]:
    """Describes the user's own passages as the gateway describes those that it found."""
    cites = answer.parsed["cites"] if answer.parsed else []
    return [
        {"number": number, "cited": number in cites, "text": text, "source": "given here", "score": None}
        for number, text in enumerate(own, 1)
    ]


def _as_html(shown: Sequence[Mapping[str, Any]]) -> str:
    """Writes the passages as HTML; those that the answer cites are marked in words too."""
    if not shown:
        return "<p>No passage was used.</p>"
    items = []
    for passage in shown:
        score = "" if passage["score"] is None else f" · score {passage['score']:.4f}"
        mark = " · <strong>cited</strong>" if passage["cited"] else ""
        body = escape(passage["text"])
        items.append(
            f'<li value="{int(passage["number"])}"{" class=cited" if passage["cited"] else ""}>'
            f"<small>{escape(str(passage['source']))}{score}{mark}</small><br>"
            f"{f'<mark>{body}</mark>' if passage['cited'] else body}</li>"
        )
    return f'<ol class="passages">{"".join(items)}</ol>'


def _correction(typed: str) -> list[str]:
    """Reads a typed correction. Raises ValueError for a text that cannot be an answer."""
    answer = re.sub(r"(\s*\[\d+\])+\s*$", "", typed).strip()
    if answer.rstrip(".").casefold() == OPEN.rstrip(".").casefold():
        return []
    if not answer or re.search(r"[\[\]\n]", answer):
        raise ValueError("an answer is one line without square brackets")
    return [answer]
