"""The page of code changes: its pieces, and the page before a gateway of tiny bundles whose answers are chosen."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from appkit_apps.codechange.change import MOST_REMARKS, Review, write_change, write_seen
from appkit_apps.codechange.looks import BACKS, INKS
from appkit_apps.codechange.texts import write_answer, write_runs, write_visible, write_words
from appkit_apps.tests.conftest import between, command, gallery_of, picture, settled, upload
from appkit_tasks.codechange.tools import COLOURS, diff, remarks, view, words
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from appkit.data.feedback import Feedback

expect.set_options(timeout=60_000)

TESTS = Path(__file__).parents[3] / "tests"

SHELF = '''\
diff --git a/src/shelf.py b/src/shelf.py
--- a/src/shelf.py
+++ b/src/shelf.py
@@ -12,5 +12,4 @@ def mean_weight(jars):
     """Return the mean weight
     of the jars in grams."""
-    if not jars:
-        return 0.0
+    total = sum(jar.weight for jar in jars)
-    return sum(jar.weight for jar in jars) / len(jars)
+    return total / len(jars)
diff --git a/old name.txt b/new name.txt
similarity index 100%
rename from old name.txt
rename to new name.txt
diff --git a/run.sh b/run.sh
old mode 100644
new mode 100755
diff --git a/logo.png b/logo.png
Binary files a/logo.png and b/logo.png differ
'''
REVIEW = """\
Line src/shelf.py:15: error: An empty shelf divides by zero.
src/shelf.py:90: note: Name it mean.
other.py:3: It is gone.
: Well done otherwise."""
HOSTILE = (
    "<script>window.hit = 1</script><img src=x onerror='window.hit = 1'> ${window.hit = 1} {{hit}} `x` "
    "\x1b[31m \x00 \u202edesrever\u202c \u2066in\u2069 \U000e0041 " + "w" * 20_000
)
TALL = "".join(f"+x = {number}\n" for number in range(5000))


def write_diff(path: str, body: str) -> str:
    """Writes the diff of a new file from its lines with their signs."""
    return f"--- /dev/null\n+++ b/{path}\n@@ -0,0 +1,{body.count(chr(10))} @@\n{body}"


# --- pieces -----------------------------------------------------------------------------------------------


class Outline(HTMLParser):
    """Reads HTML; raises ValueError for an element that is not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(html)
        self.close()
        if self.open:
            raise ValueError(f"not closed: {self.open}")

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        self.tags.add(tag)
        if tag != "col":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            raise ValueError(f"closed out of order: {tag}")

    def handle_data(self, data: str) -> None:
        self.text += data


def luminance(colour: str) -> float:
    shares = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", [0, 1])
def test_every_ink_can_be_read_on_every_back_in_both_themes(theme: int) -> None:
    for ink, inks in INKS.items():
        for back, backs in BACKS.items():
            dark, light = sorted(luminance(colours[theme]) for colours in (inks, backs))
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, back)


def test_every_class_of_the_packs_tool_has_an_ink() -> None:
    assert set(COLOURS.values()) <= set(INKS)


def test_what_cannot_be_seen_is_marked_and_markup_is_text() -> None:
    assert write_visible("a\tb\n") == "a\tb\n"
    assert write_visible("\x00\r\x7f\x85") == "<mark>␀</mark><mark>␍</mark><mark>␡</mark><mark>U+0085</mark>"
    assert write_visible("\u202e\u2066\u200b") == (
        "<mark>U+202E</mark><mark>U+2066</mark><mark>U+200B</mark>"
    )
    assert write_visible("<b>&'${x}`") == "&lt;b&gt;&amp;&#x27;&#36;&#123;x&#125;&#96;"
    assert write_visible("\u202eabc", 2) == "<mark>U+202E</mark>a…"
    assert write_visible("é 日本 🦊 ا") == "é 日本 🦊 ا"
    assert write_runs([["keyword", "<"], ["", "x"]]) == '<span class="keyword">&lt;</span>x'
    assert "<script>" not in write_runs([['"><script>', "x"]])
    assert write_words([["-", "<"], [" ", "x"], ["+", "y"]]) == "<del>&lt;</del>x<ins>y</ins>"
    assert "nothing" in write_answer("Review", "")


def test_files_stand_with_numbers_signs_and_what_is_said_of_them() -> None:
    html = write_change(diff(SHELF))
    outline = Outline(html)
    titles = [re.sub("<.*?>", "", title) for title in re.findall("<h2>(.*?)</h2>", html)]
    assert titles == [
        "src/shelf.py",
        "old name.txt → new name.txt: renamed, its content is unchanged",
        "run.sh: mode 100644 → 100755",
        "logo.png: binary",
    ]
    rows = re.findall(
        r'<tr class="(\w+)"><td class="no">(\d*)</td><td class="no">(\d*)</td><td class="sign">(.)', html
    )
    assert rows == [
        ("same", "12", "12", " "),
        ("same", "13", "13", " "),
        ("removed", "14", "", "−"),
        ("removed", "15", "", "−"),
        ("added", "", "14", "+"),
        ("removed", "16", "", "−"),
        ("added", "", "15", "+"),
    ]
    assert "@@ -12 +12 @@ def mean_weight(jars):" in outline.text
    assert html.count("<table>") == 1


def test_remarks_stand_below_their_lines_below_their_file_or_below_all() -> None:
    review = Review("Review", "", remarks(SHELF, REVIEW)["remarks"])
    said = "4 remarks (1 error, 1 note, 2 without a severity), 1 beside a line."
    assert Outline(review.write()).text == f"Review{said}Remark\nWell done otherwise."
    html = write_change(diff(SHELF), [review])
    text = Outline(html).text
    places = [
        text.index(part)
        for part in (
            "return total / len(jars)",
            "Error · line 15\nAn empty shelf divides by zero.",
            "Remarks on lines that are not shown in the diff:",
            "Note · src/shelf.py · line 90\nName it mean.",
            "renamed",
            "Remarks on files that are not shown:",
            "Remark · other.py · line 3\nIt is gone.",
        )
    ]
    assert places == sorted(places)
    assert text.count("divides by zero") == text.count("Name it mean") == text.count("It is gone") == 1
    # the last line of a remark over lines has it
    over = Review("Review", "by the base alone", remarks(SHELF, "src/shelf.py:14-15: Two.")["remarks"])
    text = Outline(write_change(diff(SHELF), [over])).text
    assert "return total / len(jars)Remark · by the base alone · line 14 to 15\nTwo." in text


def test_a_remark_without_a_line_stands_with_the_review() -> None:
    review = Review("Review", "", remarks(SHELF, "Well done.")["remarks"], "It was cut off at the limit.")
    text = Outline(review.write()).text
    assert (
        "1 remark (1 without a severity), 0 beside a line.It was cut off at the limit.Remark\nWell done."
        in text
    )
    assert "No remark." in Review("Review", "", []).write()
    assert "No remark." not in Review("Review", "", [], "It could not be read.", read=False).write()


def test_many_remarks_are_cut_and_counted() -> None:
    answer = "\n".join(f"src/shelf.py:{number}: x" for number in range(1, 131))
    review = Review("Review", "", remarks(SHELF, answer)["remarks"])
    assert "130 remarks" in review.write()
    assert "The first 100 are shown, 30 are not." in review.write()
    assert write_change(diff(SHELF), [review]).count('class="remark') == MOST_REMARKS


def test_a_hostile_change_stays_text() -> None:
    hostile = write_diff(f"{HOSTILE[:150]}.py", f"+{HOSTILE}\n").replace(" @@\n", f" @@ {HOSTILE}\n")
    texts = [hostile, write_diff("tall.py", TALL)]
    read = [diff(text) for text in texts]
    for text, described in zip(texts, read, strict=True):
        html = write_change(described) + write_seen(view(text, 400))
        outline = Outline(html)
        assert outline.tags <= {
            *("section", "h2", "table", "colgroup", "col", "thead", "tbody", "tr", "th", "td", "span"),
            *("mark", "p", "details", "summary", "pre"),
        }
        assert not set("\x00\x1b\u202e\u202c\u2066\U000e0041${`") & set(html)
        assert len(html) < 3_000_000
    wide, tall = (Outline(write_change(described)).text for described in read)
    assert "U+202Edesrever" in wide
    assert "more characters)" in wide
    assert "x = 2997" in tall
    assert "x = 2998" not in tall
    assert "The diff goes on; not shown are 2,002 lines." in tall
    answer = f"{HOSTILE}\n1: error: {HOSTILE}"
    review = Review("Review", "", remarks(texts[1], answer[:20_000])["remarks"])
    html = review.write() + write_change(read[1], [review])
    assert "script" not in Outline(html).tags


def test_what_the_model_did_not_read_is_said() -> None:
    text = "".join(write_diff(f"{name}.py", "+x = 1\n" * 40) for name in "ab")
    assert "The model read a part of the change: 1 of 2 hunks." in write_seen(view(text, 400))
    assert "left out, hunks by file: b.py (1)" in write_seen(view(text, 400))
    assert "The model read the whole change." in write_seen(view(text, 4000))
    cut = write_seen(view(write_diff("a.py", TALL), 400))
    assert "more lines of this hunk are left out" in cut
    assert "1 of 1 hunk." in cut
    assert "lines cut after 400 characters: 1" in write_seen(
        view(write_diff("a.py", f"+{'x' * 401}\n"), 4000)
    )


def test_secrets_are_said_to_be_masked() -> None:
    text = write_diff("a.py", '+password = "hunter2-hunter2-hunter2"\n')
    html = write_change(diff(text))
    assert "hunter2" not in html
    assert "Secrets masked, here and for the model: 1." in html


# --- a real gateway, whose answers are chosen ---------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("codechange")


@pytest.fixture(scope="module")
def asked() -> list[Mapping[str, Any]]:
    """The requests for answers that reached the gateway of `gallery`, in order."""
    return []


ANSWERS = {
    "review": REVIEW,
    "commit_message": "Add up the jars first\n\nOne place <b>divides</b>.",
    "comment_update": "Return the mean weight of all jars.",
}
"""problem -> the adapter's answer"""
BASE = "No remark."


@pytest.fixture(scope="module")
def gallery(place: Path, asked: list[Mapping[str, Any]]) -> Iterator[str]:
    """A gallery of a bundle for each problem, trained on a tiny base, whose answers are replaced by chosen ones."""
    for problem in ANSWERS:
        train(place, problem)

    def choose(request: dict[str, Any], given: dict[str, Any]) -> None:
        asked.append(request)
        for result in given["results"]:
            text = BASE if request.get("base") else ANSWERS[given["model"].split("@")[0]]
            sure = None if request.get("base") else 0.75
            result |= {"text": text, "error": None, "truncated": False, "confidence": sure}

    words = ("serve", "--bundles=runs", "--engine=transformers", "--uncertified", "--port=0")
    with (
        command(*words, until="ready after", cwd=place) as url,
        between(url, [choose]) as chosen,
        gallery_of(chosen, place) as address,
    ):
        yield address


def train(folder: Path, problem: str) -> None:
    """Trains a bundle on a tiny base and a few rows."""
    import appkit

    sys.path.insert(0, str(TESTS))
    from tiny import save_tiny

    rows = [
        {
            "diff": write_diff(f"m{number}.py", f"+a = {number}\n"),
            "answer": f"Set a to {number}",
            "comment": f"a is {number}",
        }
        for number in range(12)
    ]
    for split, part in (("train", rows[:9]), ("test", rows[9:])):
        (folder / f"{split}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in part))
    appkit.train(
        task={"name": "codechange", "problem": problem, "diff_chars": 400},
        name=problem,
        model={"name": str(save_tiny(folder / "tiny")), "dtype": "float32"},
        quant="none",
        method={"rank": 4},
        data={"train": str(folder / "train.jsonl"), "test": str(folder / "test.jsonl")},
        train={"name": "quick", "max_rows": 6, "trackers": []},
        eval={"rows": 2, "quant_rows": 0, "baseline": False, "resamples": 100},
        run_dir=str(folder / "runs" / problem),
    )


def opened(page: Any, gallery: str, problem: str, **fields: str) -> None:
    settled(page, f"{gallery}/{problem}?{urlencode(fields)}")


def told(page: Any, text: str) -> None:
    expect(page.get_by_test_id("toast-body").filter(has_text=text)).to_be_visible()


def run(page: Any) -> None:
    page.locator("#run").click()
    expect(page.locator("#facts").first).to_contain_text("tokens")


@pytest.mark.browser
def test_a_review_stands_in_its_change_and_can_be_corrected(
    page: Any, gallery: str, asked: list[Mapping[str, Any]], place: Path
) -> None:
    opened(page, gallery, "review")
    (place / "change.patch").write_text(SHELF, encoding="utf-16")
    upload(page, "patch", place / "change.patch")
    expect(page.locator("#diff textarea")).to_have_value(SHELF)
    page.locator("#beside input").check()
    run(page)
    expect(page.locator("#answer textarea")).to_have_value(REVIEW)
    assert asked[-2]["rows"] == asked[-1]["rows"] == [{"diff": SHELF}]
    rows = page.locator("#change .file").nth(0).locator("tbody tr").all_inner_texts()
    assert rows[-2].split("\t")[-1].strip() == "return total / len(jars)"
    assert "An empty shelf divides by zero." in rows[-1]
    expect(page.locator("#change .file").nth(0).locator("ul .remark")).to_contain_text("Name it mean.")
    expect(page.locator("#change .answer").nth(0)).to_contain_text("Right with probability 0.75.")
    expect(page.locator("#change .answer").nth(1)).to_have_text("By the base alone" + BASE)
    expect(page.locator("#change .seen").first).to_contain_text("The model read")
    keyword = page.locator("#change td .keyword").first
    assert keyword.evaluate("one => getComputedStyle(one).color") == "rgb(161, 18, 54)"
    picture(page, "codechange-review")

    page.locator("#start-correction").click()
    expect(page.locator("#correction textarea")).to_have_value(REVIEW)
    page.locator("#correction textarea").fill("src/shelf.py:15: error: It divides by zero.")
    page.locator("#consent input").check()
    page.locator("#send-correction").click()
    expect(page.locator("#feedback-told")).to_contain_text("it is kept")
    (kept,) = Feedback(place / "feedback.sqlite").entries()
    assert (kept.input, kept.answer, kept.correction) == (
        {"diff": SHELF},
        REVIEW,
        "src/shelf.py:15: error: It divides by zero.",
    )


@pytest.mark.browser
def test_a_message_stands_above_its_change_whatever_that_holds(page: Any, gallery: str, place: Path) -> None:
    opened(page, gallery, "commit_message")
    (place / "hostile.diff").write_text(write_diff("a.py", f"+{HOSTILE}\n") + write_diff("b.py", TALL))
    upload(page, "patch", place / "hostile.diff")
    expect(page.locator("#diff textarea")).to_have_value(re.compile(r"x = 4999\n$"))
    page.locator("#beside input").check()
    run(page)
    boxes = page.locator("#change .answer")
    expect(boxes.nth(0)).to_contain_text("One place <b>divides</b>.")
    expect(boxes.nth(1)).to_contain_text(BASE)
    expect(page.locator("#change .file").nth(0)).to_contain_text("<script>window.hit = 1</script>")
    expect(page.locator("#change .file").nth(0)).to_contain_text("U+202Edesrever")
    expect(page.locator("#change .seen").last).to_contain_text("The diff goes on")
    assert page.evaluate("window.hit === undefined && !document.querySelector('#change img')")
    assert page.evaluate("document.documentElement.scrollWidth") <= 1200


@pytest.mark.browser
def test_an_updated_comment_shows_its_words(page: Any, gallery: str, asked: list[Mapping[str, Any]]) -> None:
    old = "Return the mean weight of the jars."
    text = write_diff("a.py", '+password = "hunter2-hunter2-hunter2"\n')
    opened(page, gallery, "comment_update", diff=text, comment=old)
    expect(page.locator("#comment textarea")).to_have_value(old)
    run(page)
    assert asked[-1]["rows"] == [{"diff": diff(text)["text"], "comment": old}]
    link = str(page.locator("#share a").get_attribute("href"))
    assert "diff=" in link
    assert "hunter2" not in link
    boxes = page.locator("#change .answer")
    assert boxes.nth(0).locator("del").all_inner_texts() == ["the "]
    assert boxes.nth(1).locator("ins").all_inner_texts() == ["all "]


@pytest.mark.browser
def test_what_cannot_be_asked_is_told_in_a_line(page: Any, gallery: str, tmp_path: Path) -> None:
    opened(page, gallery, "comment_update")
    page.locator("#run").click()
    told(page, "Nothing to read: paste a diff")
    page.locator("#diff textarea").fill("Hello")
    page.locator("#run").click()
    told(page, "Write the comment as it was before the change.")
    page.locator("#comment textarea").fill("Old.")
    page.locator("#run").click()
    told(page, "no diff: neither a hunk")
    page.locator("#diff textarea").fill("x" * 200_001)
    page.locator("#run").click()
    told(page, "The diff has 200,001 characters, the limit here is 200,000")
    (tmp_path / "large.diff").write_text("x" * 200_001)
    page.locator("#patch input[type=file]").set_input_files(tmp_path / "large.diff")
    told(page, "The file has 200,001 bytes, the limit here is 200,000")


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_is_sound_on_a_phone_in_both_themes(browser: Any, gallery: str, theme: str) -> None:
    phone = browser.new_page(viewport={"width": 390, "height": 800})
    phone.set_default_timeout(60_000)
    opened(phone, gallery, "review", __theme=theme, beside="True")
    phone.locator("#diff textarea").fill(SHELF + write_diff("b.py", f"+{'long' * 90}\n"))
    run(phone)
    picture(phone, f"phone-{theme}-codechange")
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    violations = [
        (rule["id"], [node["html"][:200] for node in rule["nodes"]])
        for rule in Axe().run(phone).response["violations"]
        if rule["impact"] in ("serious", "critical")
    ]
    assert violations == []
    phone.close()


def test_the_words_of_two_comments_are_compared() -> None:
    runs = words("Return the mean.", "Return all.")
    assert write_words(runs["before"]) == "Return <del>the mean</del>."
    assert write_words(runs["after"]) == "Return <ins>all</ins>."
