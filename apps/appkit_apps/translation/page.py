"""Builds the page of translation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from appkit.client import Answer
from appkit_apps import parts
from appkit_apps.app import LONGEST, Page, trouble
from appkit_apps.translation.files import build_file
from appkit_apps.translation.looks import STYLE
from appkit_apps.translation.marks import Mark, mark_source, mark_target, write_key, write_side
from appkit_apps.translation.wishes import has_terms, read_directions, read_entries

MOST_CONTEXT = 2000
"""characters, as the pack has it"""


def build(page: Page) -> None:
    """Builds the page: languages and glossary, then a text, or a file."""
    gr.Markdown("# Translation")
    parts.about(page)
    directions = read_directions(page.about)
    sources, targets = (list(dict.fromkeys(codes)) for codes in zip(*directions, strict=True))
    with gr.Row():
        source_language = gr.Dropdown(sources, value=sources[0], label="From", elem_id="source-language")
        target_language = gr.Dropdown(targets, value=targets[0], label="To", elem_id="target-language")
    with gr.Accordion("Glossary", open=False) as box:
        glossary = gr.Textbox(
            label="Terms, one a line, such as: window = fenêtre",
            lines=3,
            elem_id="glossary",
        )
        shipped = gr.Checkbox(
            label="Use the shipped glossary of interface words too",
            value=has_terms(page.about),
            elem_id="shipped",
        )
    shared = [source_language, target_language, glossary, shipped]
    with gr.Tab("A text"):
        text = _build_text(page, directions, shared)
    with gr.Tab("A file"):
        build_file(page, shared)
    languages = {"source_language": source_language, "target_language": target_language}
    parts.restore(page, text | languages | {"shipped": shipped})
    parts.restore(page, {"glossary": glossary}, within=box)


def _build_text(
    page: Page, directions: Sequence[tuple[str, str]], shared: Sequence[gr.components.Component]
) -> dict[str, gr.components.Component]:
    """Builds the tab of one text; returns the fields that a link brings back."""
    text = gr.Textbox(label="Text", lines=4, elem_id="source")
    context = gr.Textbox(
        label="Context, if the text alone does not tell, such as: button",
        max_lines=2,
        elem_id="context",
    )
    constrain = gr.Checkbox(label="Bind to placeholders, tags and line breaks", elem_id="constrain")
    beside = gr.Checkbox(label="Show the base's translation too", elem_id="beside")
    with gr.Row():
        run = gr.Button("Translate", variant="primary", elem_id="run")
        stop = gr.Button("Stop", elem_id="stop")
    if examples := _examples(page.about, {target for _, target in directions}):
        gr.Examples(examples, [text, shared[1]], label="Try one", api_name=None)
    translation = gr.Textbox(
        label="Translation", lines=2, interactive=False, buttons=["copy"], elem_id="translation"
    )
    state = gr.Markdown(elem_id="state")
    sides = gr.HTML(label="Side by side", css_template=STYLE, elem_id="sides")
    cost = gr.Markdown(elem_id="facts")
    link = gr.Markdown(elem_id="share")
    last = gr.State(None)

    def translate(
        typed: str,
        about_it: str,
        bound: bool,
        compare: bool,
        source: str,
        target: str,
        entries: str | None,
        with_shipped: bool,
        request: gr.Request,
    ) -> tuple[Any, ...]:
        asked = Asked(page, request, source, target, _entries(entries), with_shipped)
        row = asked.row(typed, about_it)
        (answer,), seconds = page.ask(request, [row], confidence=True, constrain=bound)
        base = page.ask(request, [row], base=True, constrain=bound)[0] if compare else ()
        answers = [answer, *base]
        html, note = asked.compare(typed, answers)
        if (source, target) not in directions:
            note += f" This version was not measured from {parts.plain(source)} to {parts.plain(target)}."
        fields = {"source": typed, "context": about_it, "constrain": bound, "beside": compare}
        fields |= {
            "shipped": with_shipped,
            "source_language": source,
            "target_language": target,
            "glossary": entries,
        }
        return (
            answer.text,
            f"{_confidence(page.about, answer)} {note}".strip(),
            html,
            parts.facts([answer], seconds),
            parts.link(fields),
            parts.answered(row, answer),
        )

    answering = gr.on(
        [run.click, text.submit],
        translate,
        [text, context, constrain, beside, *shared],
        [translation, state, sides, cost, link, last],
        concurrency_id="answer",
        api_name=f"{page.alias}-translate",
    )
    # the gateway ends what it has begun; its answer is dropped
    stop.click(None, cancels=[answering], api_visibility="private")
    parts.corrections(page, last, "Start from the translation")
    return {"source": text, "context": context, "constrain": constrain, "beside": beside}


@dataclass(frozen=True)
class Asked:
    """What a user asks for, beside the text; calls the pack's tools."""

    page: Page
    request: gr.Request
    source_language: str
    target_language: str
    entries: list[dict[str, str]]
    shipped: bool

    def row(self, text: str, context: str) -> dict[str, Any]:
        """Makes the row to be answered, with the terms of the glossary in the text."""
        if not text.strip():
            raise trouble("Nothing to translate: write a text.")
        if len(text) > LONGEST:
            raise trouble(f"The text has {len(text):,} characters, the limit here is {LONGEST:,}.")
        if len(context) > MOST_CONTEXT:
            raise trouble(f"The context has {len(context):,} characters, the limit is {MOST_CONTEXT:,}.")
        terms = [
            {"source": term["source"], "target": target}
            for term in self._terms(text)["terms"]
            for target in term["targets"]
        ]
        row: dict[str, Any] = {
            "source": text,
            "source_language": self.source_language,
            "target_language": self.target_language,
        }
        return row | ({"context": context} if context.strip() else {}) | ({"terms": terms} if terms else {})

    def compare(self, text: str, answers: Sequence[Answer]) -> tuple[str, str]:
        """Writes the text beside its translations, the adapter's first; returns HTML, and a note on the glossary."""
        spans = self._tool("spans", text=text)["spans"]
        pairs = [{"source": text, "target": answer.text[:LONGEST]} for answer in answers]
        findings = self._tool(
            "check", pairs=pairs, source_language=self.source_language, target_language=self.target_language
        )["findings"]
        columns: list[str] = []
        marks: list[Mark] = []
        note = ""
        for who, answer, pair, reasons in zip(WHO, answers, pairs, findings, strict=False):
            terms = self._terms(text, pair["target"])
            difference = self._tool("difference", **pair)
            if not columns:
                note = terms["note"]
                marks += mark_source(spans, terms["terms"], difference)
                columns.append(write_side("Text", text, self.source_language, marks))
            of_target = mark_target(
                self._tool("spans", text=pair["target"])["spans"], terms["terms"], difference
            )
            marks += of_target
            remarks = _remarks(answer, reasons, terms["terms"])
            columns.append(write_side(who, pair["target"], self.target_language, of_target, remarks))
        return f'<div class="look"><div class="sides">{"".join(columns)}</div>{write_key(marks)}</div>', note

    def _terms(self, text: str, translation: str = "") -> Any:
        return self._tool(
            "terms",
            text=text,
            source_language=self.source_language,
            target_language=self.target_language,
            entries=self.entries,
            shipped=self.shipped,
            translation=translation,
        )

    def _tool(self, name: str, **arguments: Any) -> Any:
        return self.page.tool(self.request, name, **arguments)


WHO = ("Translation", "By the base alone")
SIDES = {"source": "The text", "target": "The translation"}
"""how findings call a side -> how the page calls it"""


def _remarks(
    answer: Answer, findings: Sequence[Mapping[str, str]], terms: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Lists what is to be checked in a translation, in words."""
    remarks = ["It was cut off at the limit."] if answer.truncated else []
    for finding in findings:
        side, _, rest = finding["reason"].partition(" ")
        remarks.append(f"{SIDES[side]} {rest}." if side in SIDES else f"{finding['reason']}.")
    remarks += [
        f"Term not used: {term['source']} = {' / '.join(term['targets'])}."
        for term in terms
        if term["kept"] is False
    ]
    return remarks


def _entries(typed: str | None) -> list[dict[str, str]]:
    """Reads the glossary that was typed; a box that was never opened holds None. Raises gr.Error for a wrong line."""
    try:
        return read_entries(typed or "")
    except ValueError as error:
        raise trouble(f"Nothing was asked: {error}.") from None


def _confidence(about: Mapping[str, Any], answer: Answer) -> str:
    """Says how sure the model is, and what that means; "" without a calibration."""
    if answer.confidence is None:
        return ""
    metric = (about.get("confidence") or {}).get("metric")
    right = f"Right ({parts.plain(str(metric))})" if metric else "Right"
    return f"{right} with probability {answer.confidence:.2f}."


def _examples(about: Mapping[str, Any], targets: set[str]) -> list[list[str]]:
    """Lists text and target language of the examples that the bundle's languages fit."""
    examples = [example for example in about["examples"] if isinstance(example, Mapping)]
    return [
        [str(example["source"]), str(example["target_language"])]
        for example in examples
        if example.get("target_language") in targets
    ]
