"""The page of translation: its pieces, before a gateway whose answers are chosen, and before a real one."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import urlencode

import polib
import pytest
from appkit_apps.tests.conftest import Answering, command, gallery_of, listening, picture, settled, upload
from appkit_apps.translation.marks import Mark, mark_source, mark_target, write_side, write_text
from appkit_apps.translation.wishes import has_terms, read_directions, read_entries
from appkit_tasks.translation.tools import TOOLS, difference, spans, terms
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from pydantic import validate_call

from appkit.client import Client
from appkit.data.feedback import Feedback

expect.set_options(timeout=60_000)  # the first check loads the model of languages

TESTS = Path(__file__).parents[3] / "tests"
SOURCE = "Save the %d files before you close the window."
GOOD = "Enregistrez les %d fichiers avant de fermer la fenêtre."
LOST = "Enregistrez les dossiers avant de fermer la fenêtre {now}."

ABOUT: dict[str, Any] = {
    "model": "translation@0",
    "task": "translation",
    "summary": "text -> its translation",
    "kind": "generate",
    "input": "source",
    "output": "target",
    "row": {"properties": {"source": {"type": "string"}}, "required": ["source"]},
    "examples": [{"source": SOURCE, "target_language": "fr"}, {"source": "Hello", "target_language": "xx"}],
    "labels": None,
    "confidence": {"metric": "chrF++ of 80 or more"},
    "primary": "chrF++",
    "metrics": {
        "adapter": {
            "metrics": {
                "chrF++": {"value": 40.0, "low": 38.0, "high": 42.0, "n": 60},
                "terminology": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 20},
            },
            "strata": {"direction": {"en → fr": {}, "de → fr": {}}},
        }
    },
    "certificate": None,
}

# --- pieces -----------------------------------------------------------------------------------------------


def test_marks_lie_in_one_another_and_never_cross() -> None:
    marks = [
        Mark(0, 9, "keep"),
        Mark(2, 5, "term", "= y"),
        Mark(4, 7, "keep"),
        Mark(9, 11, "keep", "lost", True),
        Mark(20, 30, "keep"),
    ]
    assert write_text("<a bcd ef>g", marks) == (
        '<mark class="keep">&lt;a<mark class="term"> bc<small> = y</small></mark>d ef</mark>'
        '<mark class="keep wrong">&gt;g<small> lost</small></mark>'
    )
    assert write_text("{x} `${y}`", []) == "&#123;x&#125; &#96;&#36;&#123;y&#125;&#96;"
    assert "<script>" not in write_side("<script>", "<script>", '"><script>', [], ["<script>"])


def test_both_sides_are_marked_with_what_is_wrong() -> None:
    answer = difference(SOURCE, LOST)
    entries = terms(SOURCE, "en", "fr", (), True, LOST)["terms"]
    source = mark_source(spans(SOURCE)["spans"], entries, answer)
    assert [(SOURCE[mark.start : mark.end], mark.look, mark.note, mark.wrong) for mark in source] == [
        ("%d", "keep", "lost", True),
        ("files", "term", "= fichier, not used", True),
        ("window", "term", "= fenêtre", False),
    ]
    target = mark_target(spans(LOST)["spans"], entries, answer)
    assert [(LOST[mark.start : mark.end], mark.look, mark.note, mark.wrong) for mark in target] == [
        ("{now}", "keep", "added", True),
        ("fenêtre", "term", "= window", False),
    ]


def test_a_glossary_is_read_by_the_line() -> None:
    assert read_entries(" file =  fichier\n\nx = a = b\n") == [
        {"source": "file", "target": "fichier"},
        {"source": "x", "target": "a = b"},
    ]
    for typed, told in (
        ("file fichier", "line 1 of the glossary is no `source = target`: 'file fichier'"),
        ("a = b\n= c", "line 2 of the glossary"),
        (f"a = {'x' * 201}", "a term of more than 200 characters"),
        ("a = b\n" * 501, "the glossary has 501 lines, the limit here is 500"),
    ):
        with pytest.raises(ValueError, match=told):
            read_entries(typed)


def test_directions_are_those_that_were_measured_else_of_the_examples() -> None:
    assert read_directions(ABOUT) == [("en", "fr"), ("de", "fr")]
    assert has_terms(ABOUT)
    unmeasured = ABOUT | {"metrics": None}
    assert read_directions(unmeasured) == [("en", "fr"), ("en", "xx")]
    assert not has_terms(unmeasured)
    assert read_directions(unmeasured | {"examples": ["Hello"]}) == [("en", "fr")]


# --- a gateway whose answers are chosen --------------------------------------------------------------------


@contextmanager
def chosen(answer: Callable[[Mapping[str, Any], bool], Mapping[str, Any]]) -> Iterator[str]:
    """A gateway with the pack's own tools; answer: (row, whether the base is asked) -> text and more of the answer."""

    class Handler(Answering):
        def do_GET(self) -> None:
            tasks = {"tasks": [{"alias": "translation", "task": "translation", "summary": ""}]}
            self.say(tasks if self.path == "/v1/tasks" else ABOUT)

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if "/tools/" in self.path:
                try:
                    self.say(validate_call(TOOLS[self.path.rpartition("/")[2]])(**asked))
                except ValueError as error:
                    self.say({"error": {"message": str(error)}}, 422)
                return
            usual = {"parsed": None, "error": None, "truncated": False, "tokens": 3, "confidence": 0.75}
            results = [usual | answer(row, asked.get("base", False)) for row in asked["rows"]]
            if asked.get("constrain"):
                results = [one | {"text": f"{one['text']} (lié)"} for one in results]
            self.say({"model": "stub@0", "results": results})

        def say(self, body: dict[str, Any], status: int = 200) -> None:
            self.give(json.dumps(body).encode(), status)

    with listening(Handler) as url:
        yield url


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chosen")


@pytest.fixture(scope="module")
def asked() -> list[Mapping[str, Any]]:
    """The rows that the gateway of `gallery` was asked, in order."""
    return []


@pytest.fixture(scope="module")
def go_on() -> Event:
    """Lets the gateway of `gallery` answer texts that begin with Wait."""
    return Event()


@pytest.fixture(scope="module")
def gallery(place: Path, asked: list[Mapping[str, Any]], go_on: Event) -> Iterator[str]:
    def answer(row: Mapping[str, Any], base: bool) -> dict[str, Any]:
        asked.append(row)
        if row["source"].startswith("Wait"):
            go_on.wait(60)
        if row["source"] == "Stop the world.":
            return {"text": "x" * 100_001}
        good = {SOURCE: GOOD, "Close": "Fermer", "Open the window": "Ouvrir la fenêtre"}
        text = LOST if base else good.get(row["source"], row["source"])
        return {"text": text, "truncated": base, "confidence": 0.25 if row["source"] == "Close" else 0.75}

    with chosen(answer) as url, gallery_of(url, place) as address:
        yield address


def opened(page: Any, gallery: str, **fields: str) -> None:
    settled(page, f"{gallery}/translation?{urlencode(fields)}")


def told(page: Any, text: str) -> None:
    expect(page.get_by_test_id("toast-body").filter(has_text=text)).to_be_visible()


def test_text_and_translations_stand_side_by_side_with_their_marks(
    page: Any, gallery: str, asked: list[Mapping[str, Any]], place: Path
) -> None:
    opened(page, gallery, source=SOURCE, target_language="fr")
    expect(page.locator("#source textarea")).to_have_value(SOURCE)
    page.get_by_role("button", name="Glossary").click()
    page.locator("#glossary textarea").fill("before = avant de")
    page.locator("#context textarea, #context input").first.fill("menu")
    page.locator("#beside input").check()
    page.locator("#source textarea").focus()
    page.keyboard.press("Shift+Enter")
    expect(page.locator("#facts").first).to_contain_text("tokens")
    expect(page.locator("#translation textarea")).to_have_value(GOOD)
    expect(page.locator("#state")).to_contain_text("Right (chrF++ of 80 or more) with probability 0.75")
    row = asked[-1]
    assert row == asked[-2]  # the base gets the same
    assert {name: row[name] for name in ("source_language", "target_language", "context")} == {
        "source_language": "en",
        "target_language": "fr",
        "context": "menu",
    }
    assert row["terms"] == [
        {"source": "file", "target": "fichier"},
        {"source": "before", "target": "avant de"},
        {"source": "window", "target": "fenêtre"},
    ]
    sides = page.locator(".side")
    expect(sides).to_have_count(3)
    marks = [sides.nth(number).locator("mark").all_inner_texts() for number in range(3)]
    assert marks == [
        ["%d", "files = fichier", "before = avant de", "window = fenêtre"],
        ["%d", "fichiers = file", "avant de = before", "fenêtre = window"],
        ["avant de = before", "fenêtre = window", "{now} added"],
    ]
    assert sides.nth(1).locator("li").count() == 0
    remarks = " ".join(sides.nth(2).locator("li").all_inner_texts())
    for part in (
        "cut off at the limit",
        "The translation lost %d; added {now}",
        "Term not used: file = fichier",
    ):
        assert part in remarks
    picture(page, "translation")

    page.locator("#start-correction").click()
    expect(page.locator("#correction textarea")).to_have_value(GOOD)
    page.locator("#correction textarea").fill("Enregistrez d'abord les %d fichiers.")
    page.locator("#consent input").check()
    page.locator("#send-correction").click()
    expect(page.locator("#feedback-told")).to_contain_text("it is kept")
    (kept,) = Feedback(place / "feedback.sqlite").entries()
    assert (kept.input, kept.answer, kept.correction) == (row, GOOD, "Enregistrez d'abord les %d fichiers.")

    link = page.locator("#share a").get_attribute("href")
    settled(page, f"{gallery}/translation{link}")
    expect(page.locator("#glossary textarea")).to_have_value("before = avant de")
    expect(page.locator("#context textarea, #context input").first).to_have_value("menu")
    expect(page.locator("#beside input")).to_be_checked()

    page.locator("#constrain input").check()
    page.locator("#run").click()
    expect(page.locator("#translation textarea")).to_have_value(f"{GOOD} (lié)")
    expect(page.locator(".side").nth(2)).to_contain_text("(lié)")
    assert "constrain=True" in str(page.locator("#share a").get_attribute("href"))


def translate_file(page: Any, gallery: str, file: Path, folder: Path) -> Path:
    opened(page, gallery)
    page.get_by_role("tab", name="A file").click()
    upload(page, "document", file)
    page.locator("#run-file").click()
    expect(page.locator("#file-facts")).to_contain_text("tokens")
    with page.expect_download() as downloading:
        page.locator("#download").click()
    result = folder / downloading.value.suggested_filename
    downloading.value.save_as(result)
    return result


def test_a_po_file_comes_back_translated_with_the_doubtful_ones_first(
    page: Any, gallery: str, tmp_path: Path
) -> None:
    po = polib.POFile()
    po.metadata = {"Content-Type": "text/plain; charset=UTF-8"}
    po.extend(polib.POEntry(msgid=text) for text in ("Open the window", SOURCE, "Close"))
    po.append(polib.POEntry(msgid="Kept", msgstr="Gardé"))
    po.save(str(tmp_path / "messages.po"))
    result = translate_file(page, gallery, tmp_path / "messages.po", tmp_path)
    assert result.name == "messages.fr.po"
    assert {entry.msgid: (entry.msgstr, entry.fuzzy) for entry in polib.pofile(str(result))} == {
        "Open the window": ("Ouvrir la fenêtre", False),
        SOURCE: (GOOD, False),
        "Close": ("Fermer", True),
        "Kept": ("Gardé", False),
    }
    expect(page.locator("#progress")).to_contain_text(
        "Texts: 4. New: 3, of which to be reviewed: 1. Translated before: 1."
    )
    rows = page.locator("#segments tbody tr").all_inner_texts()
    assert [row.split("\t")[1] for row in rows] == ["Close", "Open the window", SOURCE]
    assert "Review: confidence 0.25 is below 0.5" in rows[0]
    picture(page, "translation-file")


def test_a_table_comes_back_with_a_column_of_translations(page: Any, gallery: str, tmp_path: Path) -> None:
    (tmp_path / "texts.csv").write_text(f"key,source\na,Close\nb,{SOURCE}\n", encoding="utf-8")
    result = translate_file(page, gallery, tmp_path / "texts.csv", tmp_path)
    with result.open(encoding="utf-8", newline="") as handle:
        assert list(csv.reader(handle)) == [
            ["key", "source", "target"],
            ["a", "Close", "Fermer"],
            ["b", SOURCE, GOOD],
        ]


def test_a_file_is_stopped_with_the_part_that_is_under_way(
    page: Any, gallery: str, asked: list[Mapping[str, Any]], go_on: Event, tmp_path: Path
) -> None:
    go_on.clear()
    texts = [f"text {n}" for n in range(8)] + [f"Wait for text {n}" for n in range(16)]
    (tmp_path / "texts.csv").write_text("\n".join(["source", *texts]), encoding="utf-8")
    opened(page, gallery)
    page.get_by_role("tab", name="A file").click()
    upload(page, "document", tmp_path / "texts.csv")
    page.locator("#run-file").click()
    expect(page.locator("#progress")).to_contain_text("Translated: 8 of 24")
    page.locator("#stop-file").click()
    expect(page.locator("#progress")).to_contain_text("Stopped. Translated: 8 of 24; no file was written.")
    go_on.set()
    translate_file(page, gallery, write_table(tmp_path, "Close"), tmp_path)  # the next one does not wait
    assert [row["source"] for row in asked if row["source"].startswith("Wait for text")] == texts[8:16]
    page.locator("#stop-file").click()  # nothing runs
    page.wait_for_timeout(500)
    expect(page.locator("#progress")).to_contain_text("Texts: 1. New: 1")


def write_table(folder: Path, text: str) -> Path:
    (folder / "next.csv").write_text(f"source\n{text}\n", encoding="utf-8")
    return folder / "next.csv"


def test_an_answer_under_way_is_stopped_and_dropped(page: Any, gallery: str, go_on: Event) -> None:
    go_on.clear()
    opened(page, gallery, source="Wait.")
    page.locator("#run").click()
    expect(page.locator("#translation .wrap .progress-text, #translation .eta-bar").first).to_be_attached()
    page.locator("#stop").click()
    expect(page.locator("#translation .progress-text")).to_have_count(0)
    go_on.set()
    page.wait_for_timeout(500)
    expect(page.locator("#translation textarea")).to_have_value("")
    page.locator("#source textarea").fill("Close")
    page.locator("#run").click()
    expect(page.locator("#translation textarea")).to_have_value("Fermer")


REFUSED = [
    ("a.po", 'msgid "', "the file: "),
    ("b.csv", "text\nx\n", "a column named source, it has 'text'"),
    ("c.csv", "source,target\nClose,Fermer\n", "Nothing is to be translated in it. Texts translated: 1"),
    ("d.csv", "source\n" + "".join(f"text {n}\n" for n in range(501)), "has 501 texts to translate"),
    ("e.txt", "word " * 100_001, "500,005 bytes, the limit here is 500,000"),
    ("f.csv", "source\nStop the world.\n", "answers.0.text"),
]


def test_files_that_cannot_be_translated_are_told(page: Any, gallery: str, tmp_path: Path) -> None:
    opened(page, gallery)
    page.get_by_role("tab", name="A file").click()
    page.locator("#run-file").click()
    told(page, "choose a file")
    page.get_by_role("status").get_by_role("button", name="Close").first.click()
    for name, content, reason in REFUSED:
        (tmp_path / name).write_text(content, encoding="utf-8")
        upload(page, "document", tmp_path / name)
        page.locator("#run-file").click()
        told(page, reason)
        page.get_by_role("status").get_by_role("button", name="Close").first.click()
        page.locator("#document").get_by_label("Clear").click()
    assert "/tmp/" not in page.locator("body").inner_text()
    expect(page.locator("#progress progress")).to_have_count(0)
    expect(page.locator("#download")).to_be_hidden()


def test_what_cannot_be_asked_is_told(page: Any, gallery: str) -> None:
    opened(page, gallery)
    page.locator("#run").click()
    told(page, "Nothing to translate: write a text")
    page.locator("#thumb-up").click()
    told(page, "There is no answer yet to judge")
    page.get_by_role("button", name="Glossary").click()
    page.locator("#glossary textarea").fill("window")
    page.locator("#source textarea").fill("Close")
    page.locator("#run").click()
    told(page, "line 1 of the glossary is no")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_is_sound_on_a_phone_in_both_themes(
    browser: Any, gallery: str, tmp_path: Path, theme: str
) -> None:
    (tmp_path / "texts.csv").write_text(f"source\nClose\n{SOURCE}\n", encoding="utf-8")
    phone = browser.new_page(viewport={"width": 390, "height": 800})
    phone.set_default_timeout(60_000)
    text = f"{SOURCE} <b>{'long' * 40}</b>"
    opened(phone, gallery, __theme=theme, source=text, beside="True")
    expect(phone.locator("#source textarea")).to_have_value(text)
    phone.locator("#run").click()
    expect(phone.locator("#facts").first).to_contain_text("tokens")
    check_sound(phone, f"phone-{theme}-translation")
    phone.get_by_role("tab", name="A file").click()
    upload(phone, "document", tmp_path / "texts.csv")
    phone.locator("#run-file").click()
    expect(phone.locator("#segments tbody tr")).to_have_count(2)
    check_sound(phone, f"phone-{theme}-translation-file")
    phone.close()


def check_sound(phone: Any, name: str) -> None:
    picture(phone, name)
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    violations = [
        (rule["id"], [node["html"][:200] for node in rule["nodes"]])
        for rule in Axe().run(phone).response["violations"]
        if rule["impact"] in ("serious", "critical")
    ]
    assert violations == []


# --- a real gateway ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Client]]:
    """A gallery of a specialist on a tiny base, trained on a few rows, and a client of its gateway."""
    import appkit

    sys.path.insert(0, str(TESTS))
    from tiny import save_tiny

    folder = tmp_path_factory.mktemp("trained")
    appkit.train(
        task={"name": "translation", "target_language": "fr", "glossary": "shipped"},
        name="translation",
        model={"name": str(save_tiny(folder / "tiny")), "dtype": "float32"},
        quant="none",
        method={"rank": 4},
        train={"name": "quick", "max_rows": 8, "trackers": []},
        eval={"rows": 4, "quant_rows": 0, "baseline": False, "resamples": 100},
        run_dir=str(folder / "runs" / "translation"),
    )
    words = ("serve", "--bundles=runs", "--engine=transformers", "--uncertified", "--port=0")
    with (
        command(*words, until="ready after", cwd=folder) as url,
        gallery_of(url, folder) as address,
        Client(url) as client,
    ):
        yield address, client


@pytest.mark.browser
def test_a_trained_bundle_answers_and_translates_a_file(
    page: Any, trained: tuple[str, Client], tmp_path: Path
) -> None:
    gallery, client = trained
    opened(page, gallery, source=SOURCE)
    page.get_by_role("button", name="Glossary").click()
    expect(page.locator("#shipped input")).to_be_checked(checked=has_terms(client.describe("translation")))
    page.locator("#shipped input").check()
    page.locator("#run").click()
    expect(page.locator("#facts").first).to_contain_text("tokens")
    terms = [{"source": "file", "target": "fichier"}, {"source": "window", "target": "fenêtre"}]
    row = {"source": SOURCE, "source_language": "en", "target_language": "fr", "terms": terms}
    (answer,) = client.task("translation", [row])
    assert page.locator("#translation textarea").input_value() == answer.text
    marks = page.locator(".side").nth(0).locator("mark").all_inner_texts()
    # what the tiny base writes keeps none of them, if it writes anything
    assert [mark.removesuffix(", not used") for mark in marks] == [
        "%d lost",
        "files = fichier",
        "window = fenêtre",
    ]
    (tmp_path / "texts.csv").write_text("source\nClose\n", encoding="utf-8")
    result = translate_file(page, gallery, tmp_path / "texts.csv", tmp_path)
    assert result.read_text(encoding="utf-8").startswith("source")
    expect(page.locator("#segments tbody tr")).to_have_count(1)
    expect(page.locator("#segments")).to_contain_text("Review")
