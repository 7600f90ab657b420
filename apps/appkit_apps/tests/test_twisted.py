"""The comparisons of the pages' tests see it when a page shows anything else than the gateway answers: here it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from appkit_apps.tests.conftest import Change, Shown, between, gallery_of
from appkit_apps.tests.test_gallery import check_classification, check_ner, check_nl2fol, names, sentence
from appkit_apps.tests.test_qa_page import check_answer

__all__ = ["names", "sentence"]  # fixtures

pytestmark = pytest.mark.browser


def of_each(change: Callable[[dict[str, Any]], Any]) -> Change:
    """Done to each answer that is not the base's or given without passages."""

    def changed(asked: dict[str, Any], given: dict[str, Any]) -> None:
        if not asked.get("base") and asked.get("rag") is not False:
            for result in given["results"]:
                change(result)

    return changed


def of_the_base(asked: dict[str, Any], given: dict[str, Any]) -> None:
    if asked.get("base"):
        given["results"][0]["text"] += " twisted"


def without_passages(asked: dict[str, Any], given: dict[str, Any]) -> None:
    if asked.get("rag") is False:
        given["results"][0] |= {"text": "twisted", "parsed": {"answer": "twisted", "cites": []}}


def swapped(result: dict[str, Any]) -> None:
    """The likeliest label and the next change places."""
    shares = result["parsed"]["probabilities"]
    first, second, *_ = shares
    shares[first], shares[second] = shares[second] / 2, shares[first]


TWISTS: dict[str, tuple[str, Change]] = {
    "formula": ("nl2fol", of_each(lambda one: one.update(text="P(z)", parsed="P(z)"))),
    "how sure": ("nl2fol", of_each(lambda one: one.update(confidence=1 - one["confidence"] / 2))),
    "tokens": ("nl2fol", of_each(lambda one: one.update(tokens=one["tokens"] + 1))),
    "version": ("nl2fol", lambda _, given: given.update(model="nl2fol@0")),
    "base": ("nl2fol", of_the_base),
    "label": ("classification", of_each(lambda one: one.update(text="Twisted"))),
    "probabilities": ("classification", of_each(swapped)),
    "type": ("ner", of_each(lambda one: [entity.update(type="TWIST") for entity in one["parsed"]])),
    "confidence of a span": ("ner", of_each(lambda one: [e.update(confidence=0.001) for e in one["parsed"]])),
    "answer": ("qa", of_each(lambda one: one.update(text="x", parsed={"answer": "twisted", "cites": [1]}))),
    "passage": ("qa", of_each(lambda one: one["citations"][0].update(text="twisted"))),
    "score": ("qa", of_each(lambda one: one["citations"][0].update(score=123.0))),
    "cited": ("qa", of_each(lambda one: one["citations"][0].update(cited=not one["citations"][0]["cited"]))),
    "without": ("qa", without_passages),
}


@pytest.fixture(scope="module")
def changes() -> list[Change]:
    return []


@pytest.fixture(scope="module")
def twisted(
    gateway: str, shown: Shown, changes: list[Change], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shown]:
    """A gallery before a gateway with `changes`; `gateway` is the real one."""
    folder = tmp_path_factory.mktemp("twisted")
    with between(gateway, changes) as url, gallery_of(url, folder, "--per-minute=2000") as address:
        yield Shown(address, shown.gateway, shown.feedback)


def check(task: str, page: Any, shown: Shown, sentence: str, names: str) -> None:
    match task:
        case "nl2fol":
            check_nl2fol(page, shown, sentence)
        case "classification":
            check_classification(page, shown)
        case "ner":
            check_ner(page, shown, names)
        case "qa":
            check_answer(page, shown)


@pytest.mark.parametrize("task", ["nl2fol", "classification", "ner", "qa"])
def test_through_another_gateway_all_is_as_it_is(
    page: Any, twisted: Shown, sentence: str, names: str, task: str
) -> None:
    check(task, page, twisted, sentence, names)


@pytest.mark.parametrize("twist", TWISTS)
def test_each_field_is_compared(
    page: Any, twisted: Shown, changes: list[Change], sentence: str, names: str, twist: str
) -> None:
    task, change = TWISTS[twist]
    changes.append(change)
    try:
        with pytest.raises(AssertionError):
            check(task, page, twisted, sentence, names)
    finally:
        changes.clear()
