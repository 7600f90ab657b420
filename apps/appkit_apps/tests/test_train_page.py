"""The page Train in a real browser: a real gateway with an admin key trains the real base, in a few steps."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from appkit_apps.tests.conftest import command, picture, settled, upload
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from appkit.client import Client
from appkit.serving.gateway.keys import add_key

pytestmark = pytest.mark.browser
TESTS = Path(__file__).parents[3] / "tests"
WAIT_MS = 240_000

ROWS = [f"{word} comes on day {n},{word}" for n in range(12) for word in ("rain", "snow")]
FEW = """quant=none
train.batch_rows=4
eval.rows=4
eval.quant_rows=0
eval.resamples=100"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle root with a specialist on a tiny base, and a key file."""
    import appkit

    sys.path.insert(0, str(TESTS))
    from tiny import save_tiny

    folder = tmp_path_factory.mktemp("place")
    appkit.train(
        task="classification",
        name="weather",
        model={"name": str(save_tiny(folder / "tiny")), "dtype": "float32"},
        quant="none",
        method={"rank": 4},
        train={"name": "quick", "max_rows": 8, "trackers": []},
        eval={"rows": 4, "quant_rows": 0, "baseline": False, "resamples": 100},
        run_dir=str(folder / "runs" / "weather"),
    )
    return folder


@pytest.fixture(scope="module")
def keys(place: Path) -> dict[str, str]:
    file = place / "keys.json"
    return {"admin": add_key(file, "operator", admin=True), "user": add_key(file, "user")}


@pytest.fixture(scope="module")
def gateway(place: Path, keys: dict[str, str]) -> Iterator[str]:
    words = (
        "serve",
        "--bundles=runs",
        "--keys=keys.json",
        "--engine=transformers",
        "--uncertified",
        "--port=0",
    )
    with command(*words, until="ready after", cwd=place) as url:
        yield url


@pytest.fixture(scope="module")
def gallery(gateway: str, place: Path, keys: dict[str, str]) -> Iterator[str]:
    words = ("demo", "--gateway", gateway, "--key", keys["admin"], "--port=0", "--no-feedback")
    with command(*words, until="gallery:", cwd=place) as url:
        yield url


def opened(page: Any, gallery: str, query: str = "") -> None:
    settled(page, f"{gallery}/train-a-specialist{query}")


def choose(page: Any, name: str, value: str) -> None:
    page.locator(f"#{name} input").click()
    page.get_by_role("option", name=value, exact=True).click()


def asked(page: Any, more: str, rows: Path | None = None) -> None:
    choose(page, "task", "classification")
    page.locator("#name textarea, #name input").first.fill("rainy")
    page.locator("#rank input").fill("4")
    page.locator("#epochs input").fill("1")
    page.locator("#more textarea").fill(more)
    if rows:
        upload(page, "rows", rows)
    page.wait_for_timeout(500)


def state(page: Any, text: str | re.Pattern[str]) -> None:
    expect(page.locator("#state")).to_contain_text(text, timeout=WAIT_MS)


def told(page: Any, text: str) -> None:
    expect(page.get_by_test_id("toast-body").filter(has_text=text)).to_be_visible(timeout=WAIT_MS)


def test_a_specialist_is_trained_stopped_gone_on_with_and_served(
    page: Any, browser: Any, gateway: str, gallery: str, keys: dict[str, str], tmp_path: Path
) -> None:
    rows = tmp_path / "weather rows.csv"
    rows.write_text("\n".join(["text,label", *ROWS, ROWS[0], "no label,"]) + "\n", encoding="utf-8")
    train = page.locator("#train")
    opened(page, gallery)
    asked(page, FEW, rows)
    page.locator("#check").click()
    expect(page.locator("#checked")).to_contain_text("Not yet", timeout=WAIT_MS)
    expect(page.locator("#checked")).to_contain_text("1 exact duplicates")
    expect(page.locator("#faults")).to_contain_text(f"train.csv:{len(ROWS) + 3}")
    expect(page.locator("#faults")).to_contain_text("is empty")
    expect(train).to_be_disabled()

    page.locator("#rows").get_by_label("Clear").click()
    rows.write_text("\n".join(["text,label", *ROWS]) + "\n", encoding="utf-8")
    asked(page, FEW, rows)
    page.locator("#check").click()
    expect(page.locator("#checked")).to_contain_text("The data is sound", timeout=WAIT_MS)
    expect(train).to_be_enabled()
    page.locator("#epochs input").fill(
        "3"
    )  # another run than the one that was checked, and long enough to stop
    expect(train).to_be_disabled()
    page.locator("#check").focus()
    page.keyboard.press("Enter")
    expect(train).to_be_enabled(timeout=WAIT_MS)
    train.focus()
    page.keyboard.press("Enter")

    state(page, "training")
    state(page, re.compile(r"step ([2-9]|\d\d) of \d+"))
    page.locator("#stop").click()
    state(page, "stopped")
    expect(page.locator("#loss")).to_be_visible()
    picture(page, "train")
    expect(page.locator("#stop")).to_be_hidden()
    with Client(gateway, key=keys["admin"]) as client:
        run = client.runs()["runs"][0]["id"]
        stopped = client.run(run)
        assert 2 <= stopped["step"] < stopped["steps"]
        assert stopped["files"] == ["train"]

        opened(page, gallery)  # the state is the gateway's
        state(page, f"step {stopped['step']} of {stopped['steps']}")
        page.locator("#further").click()
        state(page, "done")
        done = client.run(run)
        assert f"going on from step {stopped['step']}" in "\n".join(done["lines"])
        expect(page.locator("#state")).to_contain_text(done["verdict"][:40])
        assert page.locator("#state").inner_text().count(f"{done['scores']['adapter'][PRIMARY]['value']:.3f}")
        page.locator("#serve").click()
        state(page, "Served as rainy@")
        assert {one["alias"] for one in client.tasks()} == {"weather", "rainy"}
        (answer,) = client.task("rainy", ["rain comes on day 3"])
        assert answer.text in ("rain", "snow")
    picture(page, "trained")
    for theme in ("light", "dark"):
        phone = browser.new_page(viewport={"width": 390, "height": 800})
        opened(phone, gallery, f"?__theme={theme}")
        expect(phone.locator("#loss")).to_be_visible()
        assert phone.evaluate("document.documentElement.scrollWidth") <= 390
        found = [
            (one["id"], [node["html"][:200] for node in one["nodes"]])
            for one in Axe().run(phone).response["violations"]
            if one["impact"] in ("serious", "critical")
        ]
        assert found == []
        picture(phone, f"phone-{theme}-train")
        phone.close()


PRIMARY = "macro F1"


def test_what_cannot_be_trained_is_told(page: Any, gallery: str, tmp_path: Path) -> None:
    zipped = tmp_path / "zip.csv"
    zipped.write_bytes(b"PK\x03\x04" + bytes(200))
    opened(page, gallery)
    asked(page, "data.train=/etc/passwd")
    page.locator("#check").click()
    told(page, "data.train cannot be set from here")
    asked(page, FEW, zipped)
    page.locator("#check").click()
    told(page, "'train.csv' is a zip archive")
    expect(page.locator("#train")).to_be_disabled()
    assert "/tmp/" not in page.locator("body").inner_text()


def test_a_plain_key_gets_no_page(page: Any, gateway: str, place: Path, keys: dict[str, str]) -> None:
    words = ("demo", "--gateway", gateway, "--key", keys["user"], "--port=0", "--no-feedback")
    with command(*words, until="gallery:", cwd=place) as url:
        page.goto(url)
        page.get_by_role("link", name="weather").first.wait_for()
        assert page.get_by_role("link", name="Train").count() == 0
        page.goto(f"{url}/train-a-specialist")
        assert page.locator("#check").count() == 0
