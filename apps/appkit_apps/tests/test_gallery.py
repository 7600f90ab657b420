"""The gallery in a real browser, before a real gateway with the real base; what it shows is compared with the gateway's
own answers."""

from __future__ import annotations

import csv
import io
import os
import re
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from appkit_apps.gallery import offer
from appkit_apps.tests.conftest import (
    APPKIT,
    MYSTERY,
    Shown,
    command,
    gallery_of,
    picture,
    settled,
    stub,
    upload,
)
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import expect

from appkit.data.feedback import Feedback
from appkit.errors import RunError

pytestmark = pytest.mark.browser
expect.set_options(timeout=60_000)  # the first bound answer compiles the grammar

SENTENCE = "Every dog that chases a cat barks."
SENTENCES = (SENTENCE, "Every dog barks.", "All cats sleep.", "Some birds sing.", "No student fails.")
TEXT = "I was charged twice for my subscription this month."
NAMES = (
    "The ferry from Ostholm to Kallsund was late, said Inga Brandt of Nordlys.",
    "Anna Berg of Volvo met Karl Lund in Stockholm on Monday.",
    "Maria Silva flew from London to Paris with Google.",
)
PAGES = ("", "nl2fol", "classification", "ner", "qa", "evidence-of-all")


def opened(page: Any, shown: Shown, path: str) -> None:
    settled(page, f"{shown.url}/{path}")


def click(page: Any, name: str) -> None:
    page.locator(f"#{name}").click()


def read(page: Any, name: str) -> str:
    return str(page.locator(f"#{name} textarea, #{name} input").first.input_value())


def told(page: Any) -> str:
    """The message of an error that is shown."""
    message = page.get_by_test_id("toast-body").first
    message.wait_for()
    return str(message.inner_text())


@pytest.fixture(scope="module")
def sentence(shown: Shown) -> str:
    """One that the short run translates into a formula."""
    answers = shown.gateway.task("nl2fol", list(SENTENCES), constrain=True)
    return next(text for text, one in zip(SENTENCES, answers, strict=True) if one.parsed)


@pytest.fixture(scope="module")
def names(shown: Shown) -> str:
    """A text in which the short run finds names."""
    return next(
        text for text, one in zip(NAMES, shown.gateway.task("ner", list(NAMES)), strict=True) if one.parsed
    )


# --- the main paths ---------------------------------------------------------------------------------------


def test_the_gallery_lists_what_is_served_with_its_scores(page: Any, shown: Shown) -> None:
    opened(page, shown, "")
    body = page.locator("body").inner_text()
    for served in shown.gateway.tasks():
        about = shown.gateway.describe(served["alias"])
        assert about["model"] in body
        score = about["metrics"]["adapter"]["metrics"][about["primary"]]
        assert f"{score['value']:.3f}" in body
    assert body.count("not certified") == 3
    assert "certified for transformers" in body
    picture(page, "gallery")
    page.get_by_role("link", name="ner").first.click()
    expect(page.locator("h1")).to_have_text("Names in texts")


def test_a_name_that_points_here_from_elsewhere_is_refused(shown: Shown) -> None:
    for host, status in (("evil.example", 403), ("localhost:7860", 200)):
        asked = urllib.request.Request(shown.url, headers={"Host": host})
        try:
            found = urllib.request.urlopen(asked, timeout=30).status
        except urllib.error.HTTPError as error:
            found = error.code
        assert found == status


def check_nl2fol(page: Any, shown: Shown, sentence: str) -> None:
    """What is shown is what the gateway answers."""
    opened(page, shown, "nl2fol")
    page.locator("#sentence textarea").fill(sentence)
    page.locator("#constrain input").check()
    page.locator("#beside input").check()
    click(page, "run")
    expect(page.locator("#facts")).to_contain_text("tokens")
    (answer,) = shown.gateway.task("nl2fol", [sentence], constrain=True, confidence=True)
    assert read(page, "formula") == answer.parsed
    assert f"probability {answer.confidence:.2f}" in page.locator("#state").inner_text()
    assert answer.model in page.locator("#facts").inner_text()
    assert f"{answer.tokens} tokens" in page.locator("#facts").inner_text()
    (plain,) = shown.gateway.task("nl2fol", [sentence], constrain=True, base=True)
    assert read(page, "base") == plain.text
    assert plain.text != answer.text


def labels(node: dict[str, Any]) -> list[str]:
    return [node["label"], *(label for child in node["children"] for label in labels(child))]


def test_a_sentence_becomes_a_formula_with_its_tree(page: Any, shown: Shown, sentence: str) -> None:
    check_nl2fol(page, shown, sentence)
    formula = read(page, "formula")
    shown_labels = page.locator("#tree .node").all_inner_texts()
    assert shown_labels == labels(shown.gateway.tool("nl2fol", "tree", formula=formula))
    picture(page, "nl2fol")


def test_the_prover_judges_a_reference_and_tells_a_world(page: Any, shown: Shown, sentence: str) -> None:
    opened(page, shown, "nl2fol")
    page.locator("#sentence textarea").fill(sentence)
    page.locator("#constrain input").check()
    click(page, "run")
    expect(page.locator("#facts")).to_contain_text("tokens")
    page.get_by_role("button", name="Compare with a reference").click()
    page.locator("#reference textarea, #reference input").first.fill(read(page, "formula"))
    click(page, "judge")
    expect(page.locator("#verdict")).to_contain_text("Equivalent")
    page.locator("#reference textarea, #reference input").first.fill("∃x ¬Dog(x)")
    click(page, "judge")
    expect(page.locator("#verdict")).to_contain_text("Different")
    world = shown.gateway.tool("nl2fol", "equivalent", formula=read(page, "formula"), reference="∃x ¬Dog(x)")
    assert page.locator("#verdict").inner_text().endswith(world["counter_model"]["words"])


@pytest.mark.parametrize(
    ("conclusion", "verdict"), [("Barks(rex)", "Entailed"), ("¬Barks(rex)", "Refuted"), ("Cat(tom)", "Open")]
)
def test_premises_entail_refute_or_leave_open(page: Any, shown: Shown, conclusion: str, verdict: str) -> None:
    opened(page, shown, "nl2fol")
    page.get_by_role("button", name="Does it follow?").click()
    page.locator("#premises textarea").fill("∀x (Dog(x) → Barks(x))\nDog(rex)")
    page.locator("#conclusion textarea, #conclusion input").first.fill(conclusion)
    click(page, "prove")
    expect(page.locator("#proven")).to_contain_text(verdict)
    assert read(page, "used").endswith(f"⊢ {conclusion}")
    page.goto(f"{shown.url}/nl2fol{page.locator('#share-proof a').get_attribute('href')}")
    expect(page.locator("#conclusion textarea, #conclusion input").first).to_have_value(conclusion)
    expect(page.locator("#premises textarea")).to_have_value("∀x (Dog(x) → Barks(x))\nDog(rex)")


def check_classification(page: Any, shown: Shown) -> None:
    opened(page, shown, "classification")
    page.locator("#text textarea").fill(TEXT)
    page.locator("#why input").check()
    click(page, "run")
    expect(page.locator("#facts").first).to_contain_text("tokens")
    (answer,) = shown.gateway.task("classification", [TEXT])
    assert read(page, "answer") == answer.text
    body = page.locator("#label").inner_text()
    for name, share in list(answer.parsed["probabilities"].items())[:3]:
        assert name in body
        assert f"{round(100 * share)}%" in body


def test_a_text_gets_its_labels_and_the_words_that_matter(page: Any, shown: Shown) -> None:
    check_classification(page, shown)
    words = re.findall(r"\S+", TEXT)
    expect(page.locator("#words")).to_be_visible()
    shown_words = page.locator("#words").inner_text()
    assert all(word in shown_words for word in words)
    picture(page, "classification")


def test_many_texts_by_upload_come_back_as_a_download(page: Any, shown: Shown, tmp_path: Path) -> None:
    texts = [TEXT, "=1+1", "Wo ist mein Paket? 🦊"]
    with (tmp_path / "rows.csv").open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows([["text"], *([text] for text in texts)])
    opened(page, shown, "classification")
    page.get_by_role("tab", name="Many texts").click()
    upload(page, "csv", tmp_path / "rows.csv")
    click(page, "run-many")
    expect(page.locator("#many-facts")).to_contain_text("tokens")
    with page.expect_download() as downloading:
        page.locator("#download").click()
    downloading.value.save_as(tmp_path / "answers.csv")
    with (tmp_path / "answers.csv").open(encoding="utf-8-sig", newline="") as handle:
        header, *rows = csv.reader(handle)
    answers = shown.gateway.task("classification", texts)
    assert header == ["text", "answer", "probability"]
    assert [row[0] for row in rows] == [TEXT, "'=1+1", texts[2]]
    assert [row[1] for row in rows] == [answer.text for answer in answers]
    assert [float(row[2]) for row in rows] == [round(answer.confidence or 0, 4) for answer in answers]


def check_ner(page: Any, shown: Shown, names: str) -> None:
    opened(page, shown, "ner")
    page.locator("#text textarea").fill(names)
    click(page, "run")
    expect(page.locator("#facts")).to_contain_text("tokens")
    (answer,) = shown.gateway.task("ner", [names])
    seen = page.locator("#entities").inner_text().casefold()  # types are shown in capitals
    for entity in answer.parsed:
        assert entity["text"].casefold() in seen
        assert f"{entity['type']} {entity['confidence']:.2f}".casefold() in seen


def test_names_are_highlighted_and_can_be_corrected(page: Any, shown: Shown, names: str) -> None:
    check_ner(page, shown, names)
    (answer,) = shown.gateway.task("ner", [names])
    picture(page, "ner")
    before = len(shown.feedback.entries(task="ner"))
    first, *rest = sorted(answer.parsed, key=lambda one: one["start"])
    page.locator("#spans").get_by_text(first["type"], exact=True).filter(visible=True).first.dblclick()
    # on a busy machine the cell becomes an editor after the first keys
    editor = page.locator("#spans").locator("input:focus, textarea:focus, [contenteditable]:focus")
    expect(editor).to_be_visible()
    page.keyboard.press("Control+A")
    page.keyboard.type("thing")
    page.keyboard.press("Enter")
    expect(page.locator("#entities")).to_contain_text("thing", ignore_case=True)
    page.locator("#consent input").check()
    click(page, "send-correction")
    expect(page.locator("#feedback-told")).to_contain_text("it is kept")
    kept = shown.feedback.entries(task="ner")[before:]
    assert [one.input for one in kept] == [{"text": names}]
    assert kept[0].correction == [
        {name: one[name] for name in ("start", "end", "type")} for one in ({**first, "type": "thing"}, *rest)
    ]


def test_the_evidence_of_a_bundle_and_of_two(page: Any, shown: Shown) -> None:
    opened(page, shown, "evidence-of-all?__theme=light")
    page.get_by_label("Bundle").first.click()
    page.get_by_role("option", name="classification").click()
    found = shown.gateway.evidence("classification")
    expect(page.locator("#evidence")).to_contain_text(found["model"])
    expect(page.locator("#pictures img")).to_have_count(len(found["pictures"]))
    loaded = "all => all.every(one => one.complete && one.naturalWidth > 0)"
    assert page.locator("#pictures img").evaluate_all(loaded)
    scores = page.locator("#scores").inner_text()
    for name, score in found["manifest"]["metrics"]["adapter"]["metrics"].items():
        assert name in scores
        assert f"{score['value']:.3f}" in scores
    page.get_by_role("button", name="Certificate").click()
    for check in found["certificate"]["checks"]:
        expect(page.locator("#certificate")).to_contain_text(check["name"])
    expect(page.get_by_role("option")).to_have_count(0)  # the list of bundles fades out
    page.get_by_label("Beside").click()
    page.get_by_role("option", name="ner").click()
    expect(page.locator("#scores")).to_contain_text(shown.gateway.describe("ner")["model"])
    expect(page.locator("#share a")).to_have_attribute("href", "?bundle=classification&beside=ner")
    assert found["audit"] is None  # it has training rows; without an admin key nobody sees them
    picture(page, "evidence")
    page.goto(f"{shown.url}/evidence-of-all?bundle=classification&beside=ner")
    expect(page.locator("#evidence")).to_contain_text(found["model"])
    expect(page.locator("#scores")).to_contain_text(shown.gateway.describe("ner")["model"])


# --- state, opinions, looks -------------------------------------------------------------------------------


def test_a_link_brings_the_state_back(page: Any, shown: Shown) -> None:
    sentence = 'No <b>cat</b> & no "dog" barks? ∀'
    opened(page, shown, "nl2fol")
    page.locator("#sentence textarea").fill(sentence)
    page.locator("#constrain input").check()
    click(page, "run")
    expect(page.locator("#share a")).to_be_visible()
    target = page.locator("#share a").get_attribute("href")
    page.goto(f"{shown.url}/nl2fol{target[target.index('?') :]}")
    expect(page.locator("#sentence textarea")).to_have_value(sentence)
    expect(page.locator("#constrain input")).to_be_checked()
    expect(page.locator("#beside input")).not_to_be_checked()


def test_thumbs_are_kept_and_texts_only_with_consent(page: Any, shown: Shown) -> None:
    before = len(shown.feedback.entries(task="nl2fol"))
    opened(page, shown, "nl2fol")
    click(page, "thumb-up")
    assert "ask first" in told(page)
    page.locator("#sentence textarea").fill(SENTENCE)
    click(page, "run")
    expect(page.locator("#facts")).to_contain_text("tokens")
    click(page, "thumb-up")
    expect(page.locator("#feedback-told")).to_contain_text("Only the verdict")
    page.locator("#sentence textarea").fill("Something else is being typed by now")
    page.locator("#correction textarea, #correction input").first.fill("forall x (Dog(x) -> Barks(x))")
    page.locator("#consent input").check()
    click(page, "send-correction")
    expect(page.locator("#feedback-told")).to_contain_text("it is kept")
    up, corrected = shown.feedback.entries(task="nl2fol")[before:]
    model = shown.gateway.describe("nl2fol")["model"]
    assert (up.verdict, up.model, up.input, up.answer) == ("up", model, None, None)
    assert corrected.input == {"sentence": SENTENCE}
    assert corrected.correction == "∀x (Dog(x) → Barks(x))"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_sound_on_a_phone_in_both_themes(browser: Any, shown: Shown, path: str, theme: str) -> None:
    phone = browser.new_page(viewport={"width": 390, "height": 800})
    opened(phone, shown, f"{path}?__theme={theme}")
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    seen = Image.open(io.BytesIO(phone.screenshot())).convert("L")
    assert seen.getpixel((2, 600)) > 230 if theme == "light" else seen.getpixel((2, 600)) < 60
    violations = [
        (one["id"], [node["html"][:200] for node in one["nodes"]])
        for one in Axe().run(phone).response["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert violations == []
    picture(phone, f"phone-{theme}-{path or 'gallery'}")
    phone.close()


def test_it_works_by_keyboard_alone(page: Any, shown: Shown) -> None:
    opened(page, shown, "classification")
    page.locator("#text textarea").focus()
    page.keyboard.type(TEXT)
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "run":
            break
    page.keyboard.press("Enter")
    expect(page.locator("#facts").first).to_contain_text("tokens")


# --- bad input --------------------------------------------------------------------------------------------

MARKUP = "<script>window.hit = 1</script><img src=x onerror='window.hit = 1'> **bold** [x](javascript:window.hit=1)"


@pytest.mark.parametrize(
    ("path", "field"), [("nl2fol", "sentence"), ("classification", "text"), ("ner", "text")]
)
def test_markup_is_text_and_too_much_of_it_is_told(page: Any, shown: Shown, path: str, field: str) -> None:
    opened(page, shown, path)
    page.locator(f"#{field} textarea").fill(MARKUP)
    click(page, "run")
    expect(page.locator("#facts").first).to_contain_text("tokens")
    assert page.evaluate("window.hit") is None
    assert page.locator("img[src=x]").count() == 0
    page.locator(f"#{field} textarea").fill("word " * 40_000)  # 200 KB
    click(page, "run")
    assert "the limit here is 20,000" in told(page)
    page.locator(f"#{field} textarea").fill("  ")
    click(page, "run")
    expect(page.get_by_test_id("toast-body").filter(has_text="Nothing to answer")).to_be_visible()


def test_formulas_that_are_none_are_told_in_place(page: Any, shown: Shown, sentence: str) -> None:
    opened(page, shown, "nl2fol")
    page.get_by_role("button", name="Compare with a reference").click()
    page.locator("#reference textarea, #reference input").first.fill(MARKUP)
    click(page, "judge")
    assert "Translate a sentence first" in told(page)
    page.locator("#sentence textarea").fill(sentence)
    page.locator("#constrain input").check()
    click(page, "run")
    expect(page.locator("#facts")).to_contain_text("tokens")
    click(page, "judge")
    expect(page.get_by_test_id("toast-body").filter(has_text="reference")).to_be_visible()
    assert page.evaluate("window.hit") is None


def test_a_file_that_is_none_is_told(page: Any, shown: Shown, tmp_path: Path) -> None:
    (tmp_path / "zip.csv").write_bytes(b"PK\x03\x04" + bytes(200))
    with (tmp_path / "huge.csv").open("w") as handle:
        handle.write("text\n")
        handle.writelines("row\n" for _ in range(400_000))  # 1.6 MB, below what may be uploaded
    opened(page, shown, "classification")
    page.get_by_role("tab", name="Many texts").click()
    for name, message in (("zip.csv", "something binary"), ("huge.csv", "more than 500 texts")):
        upload(page, "csv", tmp_path / name)
        click(page, "run-many")
        expect(page.get_by_test_id("toast-body").filter(has_text=message)).to_be_visible()
        page.locator("#csv").get_by_label("Clear").click()


def test_no_path_of_the_server_is_ever_told(shown: Shown) -> None:
    with urllib.request.urlopen(f"{shown.url}/config") as answer:
        config = answer.read().decode()
    assert "/tmp/" not in config
    for path in ("/gradio_api/file=/etc/passwd", "/gradio_api/file=../../etc/passwd"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{shown.url}{path}")
        assert refused.value.code in (403, 404)


# --- another gateway --------------------------------------------------------------------------------------


def test_a_gateway_that_goes_is_told(page: Any, shown: Shown, tmp_path: Path) -> None:
    with ExitStack() as gateway, ExitStack() as gallery:
        url = gateway.enter_context(stub({"nl2fol": shown.gateway.describe("nl2fol")}))
        address = gallery.enter_context(gallery_of(url, tmp_path, "--no-feedback"))
        opened(page, Shown(address, shown.gateway, shown.feedback), "nl2fol")
        page.locator("#sentence textarea").fill(SENTENCE)
        click(page, "run")
        expect(page.locator("#facts")).to_contain_text("3 tokens")
        assert page.locator("#correction").count() == 0
        gateway.close()
        click(page, "run")
        assert "The gateway does not answer" in told(page)
        assert url not in page.locator("body").inner_text()


def test_a_pack_without_an_app_gets_a_page_from_its_schema(page: Any, shown: Shown, tmp_path: Path) -> None:
    with stub({"riddles": MYSTERY}) as url, gallery_of(url, tmp_path) as address:
        opened(page, Shown(address, shown.gateway, shown.feedback), "riddles?question=Who%3F&strict=True")
        assert read(page, "field-question") == "Who?"
        expect(page.locator("#field-strict input")).to_be_checked()
        page.get_by_role("button", name="Why?").click()
        expect(page.locator("#field-question textarea")).to_have_value("Why?")
        page.locator("#field-most textarea, #field-most input").first.fill("many")
        click(page, "run")
        assert "most is a number, got 'many'" in told(page)
        page.locator("#field-most textarea, #field-most input").first.fill("7")
        click(page, "run")
        expect(page.locator("#facts")).to_contain_text("3 tokens")
        assert read(page, "answer") == "P(a)"
        page.locator("#correction textarea, #correction input").first.fill("Because.")
        page.locator("#consent input").check()
        click(page, "send-correction")
        expect(page.locator("#feedback-told")).to_contain_text("it is kept")
    (kept,) = Feedback(tmp_path / "feedback.sqlite").entries(task="mystery")
    assert kept.input == {"question": "Why?", "strict": True, "most": 7}
    assert kept.correction == "Because."


def test_the_first_specialist_is_trained_from_the_page(page: Any, tmp_path: Path) -> None:
    runs: list[int] = []
    go_on = threading.Event()

    def train() -> Iterator[str]:
        runs.append(1)
        yield "data: 4 rows"
        yield "training: 1/2 steps"
        if len(runs) == 1:
            raise RunError("no space for the run; free some")
        assert go_on.wait(120)
        yield "training: 2/2 steps"

    said: list[str] = []
    words = ["appkit", "train", "task=nl2fol"]
    options = {"host": "127.0.0.1", "port": 0, "auth": None, "say": said.append}
    offering = threading.Thread(target=offer, args=(words, train), kwargs=options, daemon=True)
    offering.start()
    while not said and offering.is_alive():
        page.wait_for_timeout(200)
    page.goto(said[0].split()[-1])
    expect(page.locator("body")).to_contain_text("appkit train task=nl2fol")
    click(page, "train")
    expect(page.locator("#progress textarea")).to_have_value(
        re.compile("It failed: no space for the run; free some")
    )
    assert offering.is_alive()
    expect(page.locator("#train")).to_be_enabled()
    click(page, "train")
    expect(page.locator("#train")).to_be_disabled()
    expect(page.locator("#progress textarea")).to_have_value(re.compile("training: 1/2 steps$"))
    page.reload()  # it goes on whoever looks, and who comes back sees it
    expect(page.locator("#progress textarea")).to_have_value(re.compile("data: 4 rows\ntraining: 1/2 steps"))
    expect(page.locator("#train")).to_be_disabled()
    go_on.set()
    expect(page.locator("#progress textarea")).to_have_value(
        re.compile("data: 4 rows\ntraining: 2/2 steps\nTrained")
    )
    assert len(runs) == 2
    offering.join(20)
    assert not offering.is_alive()


@pytest.mark.usefixtures("cold")
def test_the_command_starts_a_gateway_of_its_own_and_leaves_nothing_behind(
    shelf: Path, tmp_path: Path
) -> None:
    run = shelf / "classification"
    words = ("demo", "task=classification", "--bundles", str(run), "--engine=transformers", "--port=0")
    before = children(os.getpid())
    with command(*words, until="gallery:", cwd=tmp_path):
        started = {pid: line for pid, line in children(os.getpid()).items() if pid not in before}
        assert any("serve" in one for one in started.values())
    for _ in range(100):
        left = {pid for pid in started if Path(f"/proc/{pid}").exists()}
        if not left:
            break
        time.sleep(0.2)
    assert left == set()


def children(pid: int) -> dict[int, str]:
    """All processes below one, with their command lines."""
    found: dict[int, str] = {}
    for child in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            found[child.pid] = " ".join(child.cmdline())
    return found


def test_people_log_in_where_a_file_says_who(page: Any, gateway: str, tmp_path: Path) -> None:
    file = tmp_path / "people"
    file.write_text("ada:engine\n")
    file.chmod(0o644)
    words = [*APPKIT, "demo", "--gateway", gateway, "--port=0"]

    def refused(*more: str) -> str:
        done = subprocess.run([*words, *more], capture_output=True, text=True, cwd=tmp_path, timeout=60)
        assert done.returncode == 2, done.stderr
        return done.stderr

    assert "lets other machines in, which takes passwords" in refused("--host=0.0.0.0")
    assert f"chmod 600 {file}" in refused("--auth-file", str(file))
    file.chmod(0o600)
    with gallery_of(gateway, tmp_path, "--auth-file", str(file)) as address:
        page.goto(address)
        for password in ("wrong", "engine"):
            page.get_by_label("username").fill("ada")
            page.get_by_label("password").fill(password)
            page.get_by_role("button", name="Login").click()
            if password == "wrong":
                expect(page.locator("body")).to_contain_text("Incorrect")
        page.locator("h1", has_text="Specialists").wait_for()
