"""The home page and the evidence page in a real browser, before a stub gateway whose facts are chosen."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from appkit_apps.tests.conftest import MYSTERY, gallery_of, picture, settled, stub
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import expect

pytestmark = pytest.mark.browser
expect.set_options(timeout=60_000)

ALIAS = "\"><img src=x onerror='window.hit=1'>"
MARKUP = (
    "<script>window.hit=1</script><img src=x onerror='window.hit=1'>{{value}}${window.hit=1}`x` **b** "
    "[x](javascript:window.hit=1)"
)


def score(value: float, low: float, high: float, n: int = 213) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "n": n, "level": 0.95}


def column(who: str, strict: dict[str, Any], bleu: dict[str, Any]) -> dict[str, Any]:
    groups = {"shallow": strict | {"n": 100}, "deep": score(0.125, 0.0625, 0.25, 113)}
    metrics = {"strict": strict, "BLEU": bleu, "undecided": score(0.0, 0.0, 0.0)}
    return {
        "who": who,
        "n": 213,
        "seconds": 1.0,
        "tokens": 9,
        "metrics": metrics,
        "strata": {"depth": groups},
    }


MEASURES = {
    "strict": {"description": "equivalent by proof", "higher_is_better": True, "perfect": 1.0},
    "BLEU": {"description": "overlap of tokens", "higher_is_better": True, "perfect": 100.0},
    "undecided": {"description": "the prover gave up", "higher_is_better": False, "perfect": None},
}
METRICS = {
    "base, 4-shot": column("base, 4-shot", score(0.125, 0.0625, 0.1875), score(2.5, 1.5, 3.5)),
    "adapter": column("adapter", score(0.5, 0.4375, 0.5625), score(75.0, 71.0, 78.0)),
}
CERTIFICATE = {
    "sealed": True,
    "engine": "transformers",
    "version": "5.19.0",
    "dtype": "float32",
    "made_at": "2026-01-31T12:00:00Z",
    "checks": [
        {"name": "files", "passed": True, "figure": "5 have their sha256"},
        {"name": "token ids", "passed": None, "figure": "no room"},
    ],
}
VERDICT = (
    "the adapter is better than the base: strict +0.375, 95 % interval +0.300 to +0.450, p < 0.001, n = 213."
)
LICENCES = {"base": "Apache-2.0", "train rows": None}
SIZE = {"adapter_bytes": 9_773_000, "base_parameters": 134_515_008}


def png(colour: str) -> str:
    held = io.BytesIO()
    Image.new("RGB", (640, 340), colour).save(held, "PNG")
    return base64.b64encode(held.getvalue()).decode()


REPORT = """# riddles: x

**A verdict.**

| metric | adapter |
|---|---|
| strict | 0.500 |

## In detail

Told only in detail.

## Facts

| fact | value |
|---|---|
| base | tiny |
"""
EVIDENCE = {
    "model": "fol@7a1e",
    "sha": "7a1e",
    "task": "mystery",
    "primary": "strict",
    "measures": MEASURES,
    "report": REPORT,
    "manifest": {
        "metrics": METRICS,
        "verdict": VERDICT,
        "quantization": {"metric": "strict", "rows": 64, "difference": 0.031, "low": -0.078, "high": 0.14},
        "confidence": {"n": 213, "auroc": 0.854, "brier": 0.147, "ece": 0.069, "ece_noise": 0.06},
        "calibration": None,
        "base": {
            "name": "smollm2-135m",
            "source": "registry",
            "fingerprint": "sha256:17595d",
            "quantizer": "nf4",
        },
        "method": {"name": "lora", "rank": 16},
        "quant": {"name": "nf4"},
        "labels": None,
        "servable_by": ["vllm", "transformers"],
        "seed": 0,
        "versions": {"appkit": "0.1.0", "vllm": None},
    },
    "rows": {"train": 891, "dev": 64, "test": 213},
    "licences": LICENCES,
    "size": SIZE,
    "certificate": CERTIFICATE,
    "pictures": {
        "scores": png("navy"),
        "confidence": png("teal"),
        "loss": png("olive"),
        "error_kinds": png("gray"),
    },
    "audit": None,
}
WHOLE = MYSTERY | {
    "model": "fol@7a1e",
    "summary": "English sentence -> formula",
    "primary": "strict",
    "measures": MEASURES,
    "metrics": METRICS,
    "verdict": VERDICT,
    "certificate": CERTIFICATE,
    "base": {"name": "smollm2-135m-nf4"},
    "licences": LICENCES,
    "size": SIZE,
    "evidence": EVIDENCE,
}
"""a specialist of which the gateway says all"""
BARE_EVIDENCE: dict[str, Any] = {
    "model": "mystery@0",
    "report": None,
    "manifest": {},
    "certificate": None,
    "pictures": {},
    "audit": None,
}
BARE = MYSTERY | {"examples": [], "evidence": BARE_EVIDENCE}
"""one of which it says as little as it may"""
HOSTILE = WHOLE | {
    "model": MARKUP,
    "task": MARKUP,
    "summary": MARKUP,
    "kind": MARKUP,
    "examples": [MARKUP],
    "labels": [MARKUP],
    "primary": MARKUP,
    "measures": {MARKUP: MEASURES["strict"] | {"description": MARKUP}},
    "metrics": {
        "base, " + MARKUP: {"metrics": {MARKUP: score(0.125, 0.0625, 0.1875)}},
        "adapter": {"metrics": {MARKUP: score(0.5, 0.4375, 0.5625)}},
    },
    "verdict": MARKUP,
    "certificate": {"engine": MARKUP, "version": MARKUP, "dtype": MARKUP, "made_at": MARKUP, "checks": []},
    "base": {"name": MARKUP},
    "licences": {MARKUP: MARKUP},
    "evidence": EVIDENCE
    | {
        "model": MARKUP,
        "primary": MARKUP,
        "measures": {MARKUP: MEASURES["strict"] | {"description": MARKUP}},
        "manifest": {
            "metrics": {
                MARKUP: {
                    "metrics": {MARKUP: score(0.5, 0.4375, 0.5625)},
                    "strata": {MARKUP: {MARKUP: score(0.5, 0.4375, 0.5625)}},
                }
            },
            "verdict": MARKUP,
            "base": dict.fromkeys(("name", "source", "revision", "fingerprint", "quantizer"), MARKUP),
            "method": {MARKUP: MARKUP},
            "labels": [MARKUP],
            "servable_by": [MARKUP],
            "versions": {MARKUP: MARKUP},
        },
        "rows": {MARKUP: 3},
        "licences": {MARKUP: MARKUP},
        "certificate": {
            "engine": MARKUP,
            "version": MARKUP,
            "dtype": MARKUP,
            "made_at": MARKUP,
            "checks": [{"name": MARKUP, "passed": True, "figure": MARKUP}],
        },
        "pictures": {MARKUP: png("navy")},
        "report": f"# {MARKUP}\n\n## In detail\n\n{MARKUP}\n",
    },
}
LONG = {"question": "Who keeps the inn at Skarv Head?", "passages": ["The inn is old.", "Ida keeps it."]}
QA = MYSTERY | {"task": "qa", "examples": [LONG], "retrieval": None}


@pytest.fixture(scope="module")
def served() -> dict[str, dict[str, Any]]:
    return {"fol": WHOLE, "bare": BARE, "qa": QA, ALIAS: HOSTILE}


@pytest.fixture(scope="module")
def gallery(served: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with stub(served) as url, gallery_of(url, tmp_path_factory.mktemp("home")) as address:
        yield address


def card(page: Any, alias: str) -> Any:
    heading = page.get_by_role("heading", name=alias, exact=True, level=3)
    return page.locator("li.card").filter(has=heading)


def fits(page: Any) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


def violations(page: Any) -> list[Any]:
    return [
        (one["id"], [node["html"][:200] for node in one["nodes"]])
        for one in Axe().run(page).response["violations"]
        if one["impact"] in ("serious", "critical")
    ]


# --- a card -----------------------------------------------------------------------------------------------


def test_a_card_says_what_the_gateway_says(page: Any, gallery: str) -> None:
    settled(page, gallery)
    text = " ".join(card(page, "fol").inner_text().split())
    for told in (
        "English sentence → formula.",
        "✓ certified for transformers",
        "strict equivalent by proof",
        "base, 4-shot 0.125 (0.062 to 0.188, n = 213)",
        "adapter 0.500 (0.438 to 0.562, n = 213)",
        "Bars from 0 to 1, which is perfect",
        "The adapter is better than the base.",
        "Try it Why?",
        "smollm2-135m-nf4, 135 million parameters",
        "base: Apache-2.0; train rows: unknown",
        "9.77 MB",
        "fol@7a1e",
    ):
        assert told in text, told
    bars = card(page, "fol").locator(".bar")
    track = bars.first.bounding_box()["width"]
    for place, (value, low, high) in enumerate(((0.125, 0.0625, 0.1875), (0.5, 0.4375, 0.5625))):
        fill, spread = (bars.nth(place).locator(f".{name}").bounding_box() for name in ("fill", "spread"))
        start = bars.nth(place).bounding_box()["x"]
        assert fill["x"] == pytest.approx(start, abs=1)
        assert fill["width"] == pytest.approx(track * value, abs=1)
        assert spread["x"] == pytest.approx(start + track * low, abs=1)
        assert spread["width"] == pytest.approx(track * (high - low), abs=1)
    picture(page, "home")


def test_what_is_not_said_is_unknown_and_never_zero(page: Any, gallery: str) -> None:
    settled(page, gallery)
    text = " ".join(card(page, "bare").inner_text().split())
    for told in (
        "not certified",
        "No score of F1 was recorded.",
        "It brings no example that fits into a link.",
        "Base unknown",
        "Licence unknown",
        "Size unknown",
        "mystery@0",
    ):
        assert told in text, told
    assert not re.search(r"\b0(\.0+)?\b", text.replace("mystery@0", ""))
    assert card(page, "bare").locator(".bar").count() == 0
    assert page.locator("body").inner_text().count("not certified") == 2  # of bare and of qa


def test_texts_of_strangers_are_shown_as_texts(page: Any, gallery: str) -> None:
    settled(page, gallery)
    written = card(page, ALIAS)
    text = " ".join(written.inner_text().split())
    assert text.count(MARKUP) >= 10
    assert ALIAS in text
    assert page.locator("#home img, #home script, #home b").count() == 0
    assert page.locator("#home a[href^='javascript:']").count() == 0
    settled(page, f"{gallery}/evidence-of-all?bundle={quote(ALIAS)}")
    expect(page.locator("#evidence")).to_contain_text(MARKUP)
    assert page.locator(".proof img[src=x]").count() == 0  # the report alone is Markdown, without scripts
    assert page.locator(".proof a[href^='javascript:'], .proof script").count() == 0
    told = " ".join(page.locator("#pictures").inner_text().split())
    assert told.count(MARKUP) >= 15
    expect(page.locator(".proof img")).to_have_attribute("alt", MARKUP)
    settled(page, f"{gallery}/{place_of(page, gallery)}")
    expect(page.locator(".about").first).to_contain_text("<script>")
    assert page.locator(".about img").count() == 0
    assert page.evaluate("window.hit") is None


def place_of(page: Any, gallery: str) -> str:
    """The path of the page with the hostile name."""
    settled(page, gallery)
    return str(page.get_by_role("heading", level=3).last.locator("a").get_attribute("href"))


def test_the_example_opens_the_page_with_it_filled_in(page: Any, gallery: str) -> None:
    settled(page, gallery)
    card(page, "fol").locator("a.example").click()
    expect(page.locator("#field-question textarea")).to_have_value("Why?")
    assert page.url == f"{gallery}/fol?question=Why%3F"
    settled(page, gallery)
    card(page, "qa").locator("a.example").click()
    expect(page.locator("h1")).to_have_text("Questions to documents")
    expect(page.locator("#question textarea")).to_have_value(LONG["question"])
    expect(page.locator("#passages textarea")).to_have_value("The inn is old.\n\nIda keeps it.")


def test_a_card_leads_to_its_evidence(page: Any, gallery: str) -> None:
    settled(page, gallery)
    card(page, "bare").get_by_role("link", name="How it was measured").click()
    expect(page.locator("#evidence")).to_contain_text("mystery@0")


def test_cards_are_walked_by_keyboard(page: Any, gallery: str) -> None:
    settled(page, gallery)
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent.trim()"))
        if reached[-1].startswith("Try it"):
            break
    assert reached[-2:] == ["fol", "Try itWhy?"]
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page.locator("#field-question textarea")).to_have_value("Why?")


def test_it_has_a_name_and_an_icon(page: Any, gallery: str) -> None:
    settled(page, gallery)
    assert page.title() == "appkit: specialists"
    expect(page.locator(".masthead")).to_contain_text("appkit")
    icon = page.locator("link[rel=icon]").last.get_attribute("href")
    assert icon.startswith("data:image/svg+xml,")
    drawn = """source => new Promise(done => {
        const image = new Image(); image.onload = () => done(image.naturalWidth); image.onerror = () => done(0);
        image.src = source; })"""
    assert page.evaluate(drawn, icon) > 0


# --- how many there are -----------------------------------------------------------------------------------


def columns_of(page: Any) -> int:
    return len(page.locator("ul.cards").evaluate("one => getComputedStyle(one).gridTemplateColumns").split())


def test_sixty_read_well_on_every_width(browser: Any, tmp_path: Path) -> None:
    many = {f"specialist-{number}": WHOLE for number in range(60)}
    with stub(many) as url, gallery_of(url, tmp_path) as address:
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        settled(page, address)
        assert page.locator("li.card").count() == 60
        assert "60 specialists" in page.locator("#home h2").inner_text()
        assert page.get_by_role("navigation").get_by_role("link", name="specialist-").count() == 0
        assert page.locator("h1").bounding_box()["y"] < 200  # the bar on top is no wall of links
        assert columns_of(page) == 3
        assert fits(page)
        picture(page, "home-sixty")
        for width, columns in ((2560, 3), (900, 2), (390, 1)):
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_timeout(300)
            assert columns_of(page) == columns, width
            assert fits(page), width
            assert page.locator("ul.cards").bounding_box()["width"] <= 1200
        page.close()


def test_one_is_not_lost_and_none_says_how_to_train_the_first(page: Any, tmp_path: Path) -> None:
    served = {"fol": WHOLE}
    with stub(served) as url, gallery_of(url, tmp_path) as address:
        settled(page, address)
        assert page.locator("#home h2").inner_text() == "1 specialist"
        assert page.locator("li.card").bounding_box()["width"] > 600
        picture(page, "home-one")
        del served["fol"]
        settled(page, address)
        expect(page.locator("#home")).to_contain_text("appkit train task=nl2fol")
        assert page.locator("li.card").count() == 0
        picture(page, "home-none")


def test_a_gateway_that_serves_none_yet_has_a_page_and_the_first_card_comes(
    page: Any, tmp_path: Path
) -> None:
    served: dict[str, dict[str, Any]] = {}
    with stub(served) as url, gallery_of(url, tmp_path) as address:
        settled(page, address)
        expect(page.locator("#home")).to_contain_text("No specialist is served here yet.")
        settled(page, f"{address}/evidence-of-all")
        expect(page.get_by_test_id("toast-body").first).to_contain_text("No bundle is served yet")
        served["fol"] = WHOLE
        for _ in range(60):
            settled(page, address)
            if page.locator("li.card").count():
                break
        page.get_by_role("link", name="fol").click()
        expect(page.locator(".about").first).to_contain_text("fol@7a1e")


# --- the evidence -----------------------------------------------------------------------------------------


def test_the_verdict_comes_first_and_the_sections_follow(page: Any, gallery: str) -> None:
    settled(page, f"{gallery}/evidence-of-all?bundle=fol")
    verdict = page.locator("#evidence .sentence")
    expect(verdict).to_have_text(f"T{VERDICT[1:]}")
    assert list(page.locator("h2:visible").all_inner_texts()) == [
        "Scores",
        "Beside its rivals",
        "Where it is strong, and where weak",
        "How sure its answers are",
        "In detail",
        "Certificate",
        "Data",
        "How it was trained",
    ]
    expect(page.locator("h1")).to_have_count(1)
    assert verdict.bounding_box()["y"] < page.locator("h2:visible").first.bounding_box()["y"]
    text = " ".join(page.locator("#pictures").inner_text().split())
    for told in (
        "0.500 [0.438, 0.562]",
        "lower is better; the prover gave up",
        "adapter 0.500 (0.438 to 0.562, n = 213)",
        "deep 113 0.125 [0.062, 0.250] 0.125 [0.062, 0.250]",
        "AUROC 0.854",
        "Told only in detail.",
        "Of 2 checks: 1 passed, 1 could not be made.",
        "891 train, 64 dev, 213 test",
        "base: Apache-2.0; train rows: unknown",
        "smollm2-135m, registry",
        "strict +0.031 (-0.078 to +0.140) against the unquantized base, 64 rows",
        "name lora, rank 16",
    ):
        assert told in text, told
    assert "Told only in detail." not in page.locator("#report").inner_text()
    page.get_by_role("button", name="Certificate").click()
    expect(page.locator("#certificate")).to_contain_text("5 have their sha256")
    picture(page, "evidence-sections")


def test_each_picture_is_beside_its_table(page: Any, gallery: str) -> None:
    settled(page, f"{gallery}/evidence-of-all?bundle=fol")
    expect(page.locator("#pictures img")).to_have_count(4)
    pairs = page.locator(".proof .beside")
    assert [one.get_attribute("alt") for one in pairs.locator("img").all()] == [
        "scores",
        "confidence",
        "loss",
    ]
    for place in range(pairs.count()):
        table, shown = (pairs.nth(place).locator(name).first.bounding_box() for name in ("table", "img"))
        assert table["x"] + table["width"] <= shown["x"]
        assert table["y"] < shown["y"] + shown["height"]
        assert shown["y"] < table["y"] + table["height"]
    page.set_viewport_size({"width": 390, "height": 800})
    table, shown = (pairs.first.locator(name).first.bounding_box() for name in ("table", "img"))
    assert table["y"] + table["height"] <= shown["y"]
    assert fits(page)


def test_evidence_that_is_missing_is_said_to_be(page: Any, gallery: str) -> None:
    settled(page, f"{gallery}/evidence-of-all?bundle=bare")
    expect(page.locator("#evidence")).to_contain_text("This bundle came without a verdict.")
    text = " ".join(page.locator("#pictures").inner_text().split())
    for told in (
        "This bundle came without scores.",
        "The test rows were not grouped.",
        "Its answers carry no confidence.",
        "No serving engine was checked with this bundle",
        "rows unknown",
        "licences unknown",
        "base unknown",
        "cost of that not measured",
    ):
        assert told in text, told
    assert page.locator("h2", has_text="In detail").filter(visible=True).count() == 0
    assert page.locator("#pictures img").count() == 0
    expect(page.locator("#report")).to_contain_text("This bundle came without a report.")


# --- both themes, desk and phone --------------------------------------------------------------------------


@pytest.mark.parametrize("width", [390, 1400])
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("path", ["", "evidence-of-all?bundle=fol"])
def test_it_is_sound_in_both_themes(browser: Any, gallery: str, path: str, theme: str, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800})
    settled(page, f"{gallery}/{path}{'&' if '?' in path else '?'}__theme={theme}")
    seen = Image.open(io.BytesIO(page.screenshot())).convert("L")
    assert seen.getpixel((2, 600)) > 230 if theme == "light" else seen.getpixel((2, 600)) < 60
    assert fits(page)
    assert violations(page) == []
    picture(page, f"{path.split('?')[0] or 'home'}-{theme}-{width}")
    page.close()
