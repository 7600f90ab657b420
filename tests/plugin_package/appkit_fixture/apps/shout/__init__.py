"""The page of the pack: a sentence, and the same in capitals."""

from __future__ import annotations

import gradio as gr
from appkit_apps import App, Page, parts

__all__ = ["APP"]


def build(page: Page) -> None:
    gr.Markdown("# Louder")
    parts.about(page)
    sentence = gr.Textbox(label="Sentence", elem_id="sentence")
    run = gr.Button("Shout", variant="primary", elem_id="run")
    shout = gr.Textbox(label="Shout", interactive=False, elem_id="shout")
    cost = gr.Markdown(elem_id="facts")

    def answer(text: str, request: gr.Request) -> tuple[str, str]:
        (one,), seconds = page.ask(request, [{"sentence": text}])
        return one.text, parts.facts([one], seconds)

    run.click(answer, [sentence], [shout, cost], concurrency_id="answer")
    parts.restore(page, {"sentence": sentence})


APP = App("shout", build)
