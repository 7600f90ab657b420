"""The page of qa in a real browser: what it shows of an answer and its passages is what the gateway gives."""

from __future__ import annotations

from typing import Any

import pytest
from appkit_apps.tests.conftest import Shown, picture
from appkit_apps.tests.test_gallery import click, opened, read, told
from playwright.sync_api import expect

from appkit.client import Answer
from appkit.rag import Index

pytestmark = pytest.mark.browser

QUESTION = "Which birds nest near the top of Raslow Pass?"


def ask(page: Any, shown: Shown, question: str, passages: str = "") -> None:
    opened(page, shown, "qa")
    page.locator("#question textarea").fill(question)
    if passages:
        page.get_by_role("button", name="Passages of your own").click()
        page.locator("#passages textarea").fill(passages)


def said(answer: Answer) -> str:
    """What the page shows; one that has no form, since it was cut off, as it was written."""
    if answer.parsed is None:
        assert answer.truncated
        return answer.text
    return answer.parsed["answer"] or "Not in the documents."


def answered(page: Any) -> None:
    expect(page.locator("#facts")).to_contain_text("tokens")


def check_answer(page: Any, shown: Shown) -> None:
    ask(page, shown, QUESTION)
    page.locator("#beside input").check()
    click(page, "run")
    answered(page)
    (answer,) = shown.gateway.task("qa", [QUESTION], constrain=True)
    assert read(page, "answer") == said(answer)
    assert page.locator("#cited li").count() == len(answer.citations or ()) == 3
    for place, one in enumerate(answer.citations or ()):
        item = page.locator("#cited li").nth(place)
        assert " ".join(one["text"].split()) in " ".join(item.inner_text().split())
        assert f"score {one['score']:.4f}" in item.inner_text()
        assert ("cited" in (item.get_attribute("class") or "")) == one["cited"]
    (closed,) = shown.gateway.task("qa", [QUESTION], constrain=True, rag=False)
    assert read(page, "without") == said(closed)


def test_a_question_is_answered_with_its_passages(page: Any, shown: Shown, documents: Any) -> None:
    check_answer(page, shown)
    nearest = Index.open(documents).search(QUESTION, 3)
    told_of = " ".join(page.locator("#cited").inner_text().split())
    assert [" ".join(hit.passage.text.split()) in told_of for hit in nearest] == [True] * 3
    picture(page, "qa")


def test_passages_of_ones_own_come_first(page: Any, shown: Shown) -> None:
    own = ["The harbour wall is 310 metres long.", "The inn has eleven rooms."]
    ask(page, shown, "How long is the wall?", "\n\n".join(own))
    click(page, "run")
    answered(page)
    assert page.locator("#cited li").count() == 2
    (answer,) = shown.gateway.task(
        "qa", [{"question": "How long is the wall?", "passages": own}], constrain=True
    )
    assert read(page, "answer") == said(answer)
    link = page.locator("#share a").get_attribute("href")
    page.goto(f"{shown.url}/qa{link}")
    expect(page.locator("#passages textarea")).to_have_value("\n\n".join(own))


def test_a_document_gives_no_orders_and_is_no_markup(page: Any, shown: Shown) -> None:
    ask(page, shown, "Where is the Zelby lighthouse?")
    click(page, "run")
    answered(page)
    assert "<script>" in page.locator("#cited").inner_text()
    assert page.locator("#cited script").count() == 0
    (answer,) = shown.gateway.task("qa", ["Where is the Zelby lighthouse?"], constrain=True)
    assert answer.truncated or set(answer.parsed) == {"answer", "cites"}
    assert read(page, "answer") == said(answer)


def test_an_opinion_keeps_what_the_answer_was_given_from(page: Any, shown: Shown) -> None:
    ask(page, shown, QUESTION)
    click(page, "run")
    answered(page)
    page.locator("#correction textarea, #correction input").first.fill("herons [1]")
    page.locator("#consent input").check()
    click(page, "send-correction")
    expect(page.locator("#feedback-told")).to_contain_text("it is kept")
    kept = shown.feedback.entries(task="qa")[-1]
    assert kept.correction == ["herons"]
    assert kept.input is not None
    assert kept.input["question"] == QUESTION
    (answer,) = shown.gateway.task("qa", [QUESTION])
    assert kept.input["passages"] == [one["text"] for one in answer.citations or ()]


@pytest.mark.parametrize(
    ("question", "passages", "reason"),
    [
        (" ", "", "Nothing to answer"),
        ("q", "x" * 20_001, "the limit here is 20,000"),
        ("q", "a\n\n" * 21, "21 passages"),
    ],
)
def test_what_cannot_be_answered_says_what_to_do(
    page: Any, shown: Shown, question: str, passages: str, reason: str
) -> None:
    ask(page, shown, question, passages)
    click(page, "run")
    assert reason in told(page)
