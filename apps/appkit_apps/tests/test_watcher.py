"""A gallery that is open when something begins, or ends, to be served; in a real browser, before a stub gateway."""

from __future__ import annotations

import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from appkit_apps.tests.conftest import MYSTERY, gallery_of, stub
from playwright.sync_api import expect

expect.set_options(timeout=60_000)


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def appeared(url: str) -> None:
    for _ in range(150):
        if status(url) == 200:
            return
        time.sleep(0.2)
    raise AssertionError(f"no page at {url}")


def other(name: str) -> dict[str, Any]:
    return MYSTERY | {"model": f"{name}@1"}


def test_a_bundle_served_later_gets_its_page_and_nobody_loses_what_was_typed(
    browser: Any, page: Any, tmp_path: Path
) -> None:
    served = {"riddles": MYSTERY}
    with stub(served) as url, gallery_of(url, tmp_path) as address:
        first = page
        first.goto(f"{address}/riddles")
        question = first.locator("#field-question textarea")
        question.fill("half a thou")
        assert status(f"{address}/jokes") == 404
        served["jokes"] = other("jokes")
        appeared(f"{address}/jokes")
        # the page that was open is as it was, and works on
        expect(question).to_have_value("half a thou")
        first.locator("#run").click()
        expect(first.locator("#facts")).to_contain_text("3 tokens")
        expect(question).to_have_value("half a thou")

        late = first.context.new_page()
        late.goto(address)
        late.get_by_role("link", name="jokes").click()
        expect(late.locator(".about").first).to_contain_text("jokes@1")
        late.locator("#field-question textarea").fill("Why?")
        late.locator("#run").click()
        expect(late.locator("#facts")).to_contain_text("3 tokens")
        target = late.locator("#share a").get_attribute("href")
        late.goto(f"{address}/jokes/{target}")
        expect(late.locator("#field-question textarea")).to_have_value("Why?")
        late.locator("#thumb-up").click()
        expect(late.get_by_test_id("toast-body")).to_contain_text("ask first")
        late.get_by_role("link", name="All specialists").click()
        late.get_by_role("link", name="riddles").first.wait_for()

        evidence = first.context.new_page()
        evidence.goto(f"{address}/evidence-of-all")
        evidence.locator("h1").wait_for()
        evidence.get_by_label("Beside").click()
        evidence.get_by_role("option", name="jokes").wait_for()


def test_a_page_of_what_is_gone_says_so(page: Any, tmp_path: Path) -> None:
    served = {"riddles": MYSTERY, "jokes": other("jokes")}
    with stub(served) as url, gallery_of(url, tmp_path) as address:
        page.goto(f"{address}/jokes")
        page.locator("#field-question textarea").fill("Why?")
        del served["jokes"]
        page.locator("#run").click()
        told = page.get_by_test_id("toast-body")
        expect(told).to_contain_text("jokes is not served any more; the home page lists what is")
        page.goto(f"{address}/jokes")
        expect(page.locator(".about").first).to_contain_text("jokes is not served any more")
        page.goto(address)
        page.get_by_role("heading", name="riddles").wait_for()
        expect(page.get_by_role("heading", name="jokes")).to_have_count(0)
        served["jokes"] = other("jokes")  # and back again
        page.goto(f"{address}/jokes")
        expect(page.locator(".about").first).to_contain_text("jokes@1")


def test_a_page_that_came_later_asks_for_the_password_too_and_only_once(page: Any, tmp_path: Path) -> None:
    people = tmp_path / "people"
    people.write_text("ada:engine\n")
    people.chmod(0o600)
    served = {"riddles": MYSTERY}
    with stub(served) as url, gallery_of(url, tmp_path, "--auth-file", str(people)) as address:
        served["jokes"] = other("jokes")
        appeared(f"{address}/jokes")
        for path in ("config", "gradio_api/info"):
            assert status(f"{address}/jokes/{path}") == 401
        page.goto(f"{address}/jokes")
        page.get_by_label("username").fill("ada")
        page.get_by_label("password").fill("engine")
        page.get_by_role("button", name="Login").click()
        expect(page.locator(".about").first).to_contain_text("jokes@1")
        page.goto(f"{address}/riddles")
        expect(page.locator(".about").first).to_contain_text("mystery@0")


@pytest.mark.parametrize("broken", [{"row": None}])
def test_what_cannot_be_shown_is_left_out_and_the_next_is_shown(broken: Any, tmp_path: Path) -> None:
    served = {"riddles": MYSTERY}
    with stub(served) as url, gallery_of(url, tmp_path) as address:
        served["broken"] = other("broken") | broken
        served["jokes"] = other("jokes")
        appeared(f"{address}/jokes")
        assert status(f"{address}/broken") == 404
        assert status(f"{address}/riddles") == 200
