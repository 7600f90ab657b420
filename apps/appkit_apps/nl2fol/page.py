"""Builds the page of NL→FOL."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from appkit_apps import parts
from appkit_apps.app import Page, trouble

VERDICTS = {
    "equivalent": "**Equivalent**: both are true in the same worlds.",
    "different": "**Different**: there is a world in which just one of the two is true.",
    "undecided": "**Undecided**: the prover reached its limit.",
    "entailed": "**Entailed**: wherever the premises are true, so is the conclusion.",
    "refuted": "**Refuted**: wherever the premises are true, the conclusion is false.",
    "open": "**Open**: the premises settle it neither way.",
    "inconsistent": "**Inconsistent**: the premises contradict each other, so anything follows.",
}
MOST_PREMISES = 20


def build(page: Page) -> None:
    """Builds the page: a translation, a comparison with a reference, and a proof."""
    gr.Markdown("# English to first-order logic")
    parts.about(page)
    fields, formula, last = _translation(page)
    with gr.Accordion("Compare with a reference", open=False):
        _comparison(page, formula)
    with gr.Accordion("Does it follow?", open=False) as proof:
        claims = _proof(page)
    parts.opinions(page, last, lambda typed, _: _formula(page, typed), label="The right formula")
    parts.restore(page, fields)
    parts.restore(page, claims, within=proof)


def _translation(page: Page) -> tuple[dict[str, gr.components.Component], gr.Textbox, gr.State]:
    """Builds the translation of a sentence.

    Returns the fields that a link brings back, the box of the formula, and the last answer.
    """
    sentence = gr.Textbox(
        label="Sentence", lines=2, placeholder="Every dog that barks annoys its owner.", elem_id="sentence"
    )
    with gr.Row():
        constrain = gr.Checkbox(label="Keep to the grammar", elem_id="constrain")
        beside = gr.Checkbox(label="Show the base's answer too", elem_id="beside")
    run = gr.Button("Translate", variant="primary", elem_id="run")
    gr.Examples([[example] for example in page.about["examples"]], [sentence], label="Try one", api_name=None)
    with gr.Row():
        formula = gr.Textbox(label="Formula", lines=2, interactive=False, buttons=["copy"], elem_id="formula")
        base = gr.Textbox(
            label="The base's answer", lines=2, interactive=False, visible=False, elem_id="base"
        )
    state = gr.Markdown(elem_id="state")
    tree = gr.HTML(label="Syntax tree", elem_id="tree")
    cost = gr.Markdown(elem_id="facts")
    shared = gr.Markdown(elem_id="share")
    last = gr.State(None)

    def translate(text: str, bound: bool, compare: bool, request: gr.Request) -> tuple[Any, ...]:
        row = {"sentence": text}
        (answer,), seconds = page.ask(request, [row], confidence=True, constrain=bound)
        verdict = _state(answer.parsed, answer.error, answer.truncated, answer.confidence)
        drawn = _tree(page.tool(request, "tree", formula=answer.parsed)) if answer.parsed else ""
        base_answer = gr.update(visible=False)
        if compare:
            (plain,), _ = page.ask(request, [row], base=True, constrain=bound)
            base_answer = gr.update(visible=True, value=plain.text)
        return (
            answer.parsed or answer.text,
            verdict,
            base_answer,
            drawn,
            parts.facts([answer], seconds),
            parts.link(row | {"constrain": bound, "beside": compare}),
            parts.answered(row, answer),
        )

    gr.on(
        [run.click, sentence.submit],
        translate,
        [sentence, constrain, beside],
        [formula, state, base, tree, cost, shared, last],
        concurrency_id="answer",
        api_name=f"{page.alias}-translate",
    )
    return {"sentence": sentence, "constrain": constrain, "beside": beside}, formula, last


def _comparison(page: Page, formula: gr.Textbox) -> None:
    """Builds the prover's verdict on the formula against a reference."""
    reference = gr.Textbox(label="Reference formula", elem_id="reference")
    judge = gr.Button("Judge", elem_id="judge")
    verdict = gr.Markdown(elem_id="verdict")

    def judged(typed: str, gold: str, request: gr.Request) -> str:
        if not typed.strip() or not gold.strip():
            raise trouble("Translate a sentence first, and write the reference formula.")
        return _verdict(page.tool(request, "equivalent", formula=typed, reference=gold))

    judge.click(judged, [formula, reference], verdict, concurrency_id="prover", api_visibility="private")


def _proof(page: Page) -> dict[str, gr.components.Component]:
    """Builds the proof of a conclusion from premises; returns the fields that a link brings back."""
    premises = gr.Textbox(
        label="Premises, one a line",
        info="Formulas, or sentences, which are translated first.",
        lines=4,
        elem_id="premises",
    )
    conclusion = gr.Textbox(label="Conclusion", elem_id="conclusion")
    prove = gr.Button("Prove", elem_id="prove")
    proven = gr.Markdown(elem_id="proven")
    used = gr.Textbox(label="The formulas that were used", interactive=False, lines=4, elem_id="used")
    shared = gr.Markdown(elem_id="share-proof")

    def follows(typed: str, claim: str, request: gr.Request) -> tuple[str, str, str]:
        lines = [line.strip() for line in typed.splitlines() if line.strip()]
        if not lines or not claim.strip():
            raise trouble("Write one premise or more, and a conclusion.")
        if len(lines) > MOST_PREMISES:
            raise trouble(f"{len(lines)} premises are too many, the limit here is {MOST_PREMISES}.")
        formulas = _formulas(page, [*lines, claim.strip()], request)
        result = page.tool(request, "entails", premises=formulas[:-1], conclusion=formulas[-1])
        formulas[-1] = f"⊢ {formulas[-1]}"
        return _verdict(result), "\n".join(formulas), parts.link({"premises": typed, "conclusion": claim})

    prove.click(
        follows,
        [premises, conclusion],
        [proven, used, shared],
        concurrency_id="prover",
        api_visibility="private",
    )
    return {"premises": premises, "conclusion": conclusion}


def _formulas(page: Page, lines: list[str], request: gr.Request) -> list[str]:
    """Turns each line into a formula: as it stands where it parses, else by translation."""
    checked = [page.tool(request, "check", formula=line) for line in lines]
    sentences = [line for line, check in zip(lines, checked, strict=True) if not check["parses"]]
    answers = iter(
        page.ask(request, [{"sentence": sentence} for sentence in sentences])[0] if sentences else ()
    )
    formulas = []
    for line, check in zip(lines, checked, strict=True):
        if check["parses"]:
            formulas.append(check["text"])
            continue
        answer = next(answers)
        if answer.parsed is None:
            raise trouble(f"“{line[:80]}” could not be translated ({answer.error}); write it as a formula.")
        formulas.append(answer.parsed)
    return formulas


def _formula(page: Page, typed: str) -> str:
    """Returns the normal form of a formula that was typed. Raises ValueError for a text that is none."""
    check = page.client.tool(page.alias, "check", formula=typed)
    if not check["parses"]:
        raise ValueError(f"{check['error']} at character {check['position']}")
    return str(check["text"])


def _state(parsed: Any, error: str | None, truncated: bool, confidence: float | None) -> str:
    state = "It parses." if parsed else f"**It does not parse**: {parts.plain(error or 'no formula')}"
    if truncated:
        state += " It was cut off at the limit."
    return state if confidence is None else f"{state} Right with probability {confidence:.2f}."


def _verdict(result: dict[str, Any]) -> str:
    """Writes the prover's verdict in words, with the counter-model as a world."""
    verdict = VERDICTS.get(result["verdict"], result["verdict"])
    world = result.get("counter_model")
    return f"{verdict}\n\n{parts.plain(world['words'])}" if world else verdict


def _tree(node: dict[str, Any]) -> str:
    """Writes a formula's tree as nested lists, which screen readers can walk too."""

    def item(part: dict[str, Any]) -> str:
        inner = "".join(map(item, part["children"]))
        label = f'<span class="node {escape(part["kind"], quote=True)}">{escape(part["label"])}</span>'
        return f"<li>{label}<ul>{inner}</ul></li>" if inner else f"<li>{label}</li>"

    return f'<ul class="tree" aria-label="syntax tree">{item(node)}</ul>'
