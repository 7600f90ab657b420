"""Pages before a gateway whose answers are chosen: what a trained model gives too seldom to wait for."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from appkit_apps.tests.conftest import MYSTERY, Answering, gallery_of, listening, stub
from playwright.sync_api import expect

from appkit.data.feedback import Feedback

expect.set_options(timeout=60_000)

LABELS = MYSTERY | {
    "task": "classification",
    "kind": "label",
    "input": "text",
    "output": "label",
    "row": {"properties": {"text": {"type": "string"}}, "required": ["text"]},
    "labels": ["Billing", "Refund"],
}
SHARES = {"Billing": 0.45, "Refund": 0.35, "Delivery": 0.2}


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("something else", {"label": "something else", "probabilities": SHARES}),
        ("Billing, Refund", {"labels": ["Billing", "Refund"], "probabilities": SHARES}),
        ("(none)", {"labels": [], "probabilities": SHARES}),
        ("3.5", {"value": 3.5}),
    ],
    ids=["out of scope", "several", "none", "number"],
)
def test_the_answer_is_what_the_bundle_says_not_what_is_likeliest(
    page: Any, tmp_path: Path, text: str, parsed: dict[str, Any]
) -> None:
    with stub({"tickets": LABELS}, text=text, parsed=parsed) as url, gallery_of(url, tmp_path) as address:
        page.goto(f"{address}/tickets?text=A+word")
        expect(page.locator("#text textarea")).to_have_value("A word")
        page.locator("#why input").check()
        page.locator("#run").click()
        expect(page.locator("#facts").first).to_contain_text("tokens")
        expect(page.locator("#answer textarea, #answer input").first).to_have_value(text)
        if "probabilities" in parsed:
            expect(page.locator("#label")).to_contain_text("45%")
            assert page.locator("#label h2").count() == 0
        else:
            expect(page.locator("#label")).to_be_hidden()
        if "label" in parsed:
            expect(page.locator("#words")).to_contain_text("word")
        else:
            expect(page.locator("#unexplained")).to_contain_text("only of a task with one label")


def test_a_correction_belongs_to_the_answer_it_was_typed_for(page: Any, tmp_path: Path) -> None:
    correction = page.locator("#correction textarea, #correction input").first

    def ask(question: str) -> None:
        page.locator("#field-question textarea").fill(question)
        page.locator("#run").click()
        expect(page.locator("#share a")).to_have_attribute(
            "href", f"?question={quote(question)}&strict=False"
        )

    with stub({"riddles": MYSTERY}) as url, gallery_of(url, tmp_path) as address:
        page.goto(f"{address}/riddles")
        page.locator("#consent input").check()
        ask("A")
        correction.fill("of A")
        page.locator("#send-correction").click()
        expect(page.locator("#feedback-told")).to_contain_text("it is kept")
        expect(correction).to_have_value("")
        correction.fill("of A too")
        ask("B")
        expect(correction).to_have_value("")
        expect(page.locator("#feedback-told")).to_be_empty()
        page.locator("#thumb-down").click()
        expect(page.locator("#feedback-told")).to_contain_text("it is kept")
        correction.fill("x" * 20_001)
        page.locator("#send-correction").click()
        expect(page.get_by_test_id("toast-body")).to_contain_text("the limit here is 20,000")
    kept = Feedback(tmp_path / "feedback.sqlite").entries()
    assert [(one.input["question"], one.correction) for one in kept if one.input] == [
        ("A", "of A"),
        ("B", None),
    ]


@pytest.mark.parametrize("alias", ["config", "evidence-of-all", "my bundle"])
def test_a_name_that_is_taken_or_no_path_has_its_page_nevertheless(
    page: Any, tmp_path: Path, alias: str
) -> None:
    served = {"riddles": MYSTERY, alias: MYSTERY | {"model": "taken@7"}}
    with stub(served) as url, gallery_of(url, tmp_path) as address:
        page.goto(address)
        link = page.locator("h3").get_by_role("link", name=alias)
        link.evaluate("one => one.target = '_self'")
        link.click()
        expect(page.locator(".about").first).to_contain_text("taken@7")
        page.locator("#field-question textarea").fill("Why?")
        page.locator("#run").click()
        expect(page.locator("#facts")).to_contain_text("3 tokens")
        page.goto(f"{address}/evidence-of-all")
        expect(page.locator("h1")).to_have_text("Evidence")


def test_a_report_makes_nobody_ask_another_machine(browser: Any, tmp_path: Path) -> None:
    asked = threading.Event()

    class Elsewhere(Answering):
        def do_GET(self) -> None:
            asked.set()
            self.give(b"", 404)

    with listening(Elsewhere) as elsewhere:
        told = {"model": "mystery@0", "manifest": {}, "certificate": None, "audit": None, "pictures": {}}
        image = f'Told.\n\n![x]({elsewhere}/a.png)\n\n<img src="{elsewhere}/b.png">'
        served = {"riddles": MYSTERY | {"evidence": told | {"report": image}}}
        with stub(served) as url, gallery_of(url, tmp_path) as address:
            page = browser.new_page()
            page.goto(f"{address}/evidence-of-all")
            expect(page.locator("#report")).to_contain_text("Told.")
            page.wait_for_timeout(1000)
            page.close()
        assert not asked.is_set()
