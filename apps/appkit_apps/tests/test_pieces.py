"""What pages compute without a gateway."""

import csv
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import gradio as gr
import pytest
from appkit_apps import parts
from appkit_apps.app import Limiter, trouble
from appkit_apps.classification.page import _correction
from appkit_apps.classification.rows import MOST, read_csv, read_lines, write_csv
from appkit_apps.classification.words import effects, without_each
from appkit_apps.evidence.sections import PNG, checks, compared, write_pictures
from appkit_apps.ner.page import _entities, highlighted
from appkit_apps.nl2fol.page import _tree
from appkit_apps.startup import without_app

from appkit.client import Answer

SCRIPT = '<script>alert("x")</script>'


def answer(**changed: Any) -> Answer:
    return Answer(
        **{"text": "a", "parsed": "a", "error": None, "truncated": False, "tokens": 3, "model": "m@1"}
        | changed
    )


# --- many texts -------------------------------------------------------------------------------------------


def test_rows_of_a_csv_file_are_its_texts(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text('﻿text,other\n"two\nlines",1\n  ,2\nסלאם 🦊,3\n', encoding="utf-8")
    assert read_csv(file) == [{"text": "two\nlines"}, {"text": "סלאם 🦊"}]
    file.write_text("sentence\nalone\n", encoding="utf-8")
    assert read_csv(file) == [{"text": "alone"}]
    file.write_text("text,pair\na,b\nc,\n", encoding="utf-8")
    assert read_csv(file) == [{"text": "a", "pair": "b"}, {"text": "c"}]
    file.write_text("text;label\nHello, my card;Billing\n", encoding="utf-8")
    assert read_csv(file) == [{"text": "Hello, my card"}]
    file.write_text("label\ttext\nBilling\tHello; you\n", encoding="utf-8")
    assert read_csv(file) == [{"text": "Hello; you"}]
    file.write_text("My card was lost.\nSo was mine.\n", encoding="utf-8")
    assert read_csv(file) == [{"text": "My card was lost."}, {"text": "So was mine."}]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"PK\x03\x04\x00\x00zip", "no CSV file but something binary"),
        ("text\nñandú".encode("latin-1"), "not UTF-8"),
        (b"a,b\n1,2\n", "needs a column named text; it has: a, b"),
        (b"", "no text in it"),
        (
            b"text\nHello, my card was lost\n",
            "line 2 has 2 cells where the header has 1; put texts with commas",
        ),
        (b"text\n \n", "no text in it"),
        (b"text\n" + b"x" * 30_000 + b"\n", "cannot be read as CSV"),
    ],
)
def test_what_is_no_such_file_is_told(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "rows.csv").write_bytes(content)
    with pytest.raises(ValueError, match=told):
        read_csv(tmp_path / "rows.csv")


def test_no_more_rows_are_read_than_may_be_asked(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    with file.open("w") as handle:
        handle.write("text\n")
        handle.writelines("row\n" for _ in range(MOST))
    assert len(read_csv(file)) == MOST
    with file.open("a") as handle:
        handle.write('one more\n"and a quote that never ends\n')  # would be an error if it were reached
    with pytest.raises(ValueError, match=f"more than {MOST} texts"):
        read_csv(file)
    with pytest.raises(ValueError, match=f"more than {MOST} texts"):
        read_lines("a\n" * (MOST + 1))


def test_a_download_starts_no_formula(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", ["text", "answer"], [["=HYPERLINK(1)", "x"], ["-1+1", 0.5]])
    with (tmp_path / "a.csv").open(encoding="utf-8-sig", newline="") as handle:
        assert list(csv.reader(handle)) == [["text", "answer"], ["'=HYPERLINK(1)", "x"], ["'-1+1", "0.5"]]


@pytest.mark.parametrize(
    "cell",
    [
        " =1+1",
        "\n=1",
        "\u00a0+1",
        "\ufeff@SUM(1)",
        "\u200b-1",
        "＝1+1",
        "＋1",
        "－1",
        "＠x",
        "﹦1",
        "−1",
        "\r1",
        "|x",
        "%0",
    ],
)
def test_no_cell_and_no_name_of_a_column_begins_a_formula(tmp_path: Path, cell: str) -> None:
    write_csv(tmp_path / "a.csv", [cell, "plain"], [[cell, "a;=1+1"], ["fine = so", 1]])
    with (tmp_path / "a.csv").open(encoding="utf-8-sig", newline="") as handle:
        expected = [[f"'{cell}", "plain"], [f"'{cell}", "a;=1+1"], ["fine = so", "1"]]
        assert list(csv.reader(handle)) == expected
    assert '"a;=1+1"' in (tmp_path / "a.csv").read_text(encoding="utf-8-sig")


# --- words ------------------------------------------------------------------------------------------------


def test_each_word_is_left_out_once() -> None:
    words, texts = without_each("my card, arrived 🦊")
    assert words == ["my", "card,", "arrived", "🦊"]
    assert texts == ["card, arrived 🦊", "my  arrived 🦊", "my card,  🦊", "my card, arrived"]
    assert effects(["a", "b"], 0.9, [0.2, 1.0]) == [("a", pytest.approx(0.7)), ("b", pytest.approx(-0.1))]
    for text, told in (("one", "one word alone"), ("a " * 101, "101 words are too many")):
        with pytest.raises(ValueError, match=told):
            without_each(text)


# --- entities ---------------------------------------------------------------------------------------------


def test_pieces_together_are_the_text() -> None:
    text = "🦊 Ada met Bo."
    spans = [
        {"start": 10, "end": 12, "type": "PER", "confidence": 0.5},
        {"start": 2, "end": 5, "type": "PER"},
    ]
    pieces = highlighted(text, spans)
    assert pieces == [("🦊 ", None), ("Ada", "PER"), (" met ", None), ("Bo", "PER 0.50"), (".", None)]
    assert "".join(piece for piece, _ in pieces) == text
    assert highlighted("none", []) == [("none", None)]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([["x", "PER", float("inf"), 3, ""]], "row 1: start and end are numbers"),
        ([["x", "PER", "a", 3, ""]], "row 1: start and end are numbers"),
        ([["x", "PER", 0, 99, ""]], "0 to 99 is not within the text of 7 characters"),
        ([["x", "", 0, 3, ""]], "row 1 has no type"),
        ([["x", "PER", 0, 3, ""], ["x", "ORG", 2, 5, ""]], "overlap"),
    ],
)
def test_a_span_that_is_none_is_told(rows: list[list[Any]], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        _entities("Ada met", rows)


def test_edited_spans_are_those_of_the_text() -> None:
    rows = [["stale", "PER", "0", 3, None], ["", "", "", "", ""]]
    assert _entities("Ada met", rows) == [{"text": "Ada", "type": "PER", "start": 0, "end": 3}]


# --- corrections ------------------------------------------------------------------------------------------


def test_a_correction_has_the_form_of_the_answer() -> None:
    page: Any = SimpleNamespace(about={"labels": ["Billing", "Refund"]})
    assert _correction(page, " billing ", {"label": "Refund"}) == "Billing"
    assert _correction(page, "brand new", {"label": "Refund"}) == "brand new"
    assert _correction(page, "refund, BILLING,", {"labels": []}) == ["Refund", "Billing"]
    assert _correction(page, "2.5", {"value": 1.0}) == 2.5
    with pytest.raises(ValueError, match="could not convert"):
        _correction(page, "many", {"value": 1.0})


# --- nothing of a user's is markup ------------------------------------------------------------------------


def test_text_is_never_markup() -> None:
    assert "<script>" not in str(trouble(f"got {SCRIPT}"))
    node = {
        "label": SCRIPT,
        "kind": 'a" onload="x',
        "children": [{"label": "&", "kind": "atom", "children": []}],
    }
    drawn = _tree(node)
    assert "<script>" not in drawn
    assert 'onload="' not in drawn
    assert "&amp;" in drawn
    assert parts.plain("<b>*a*_[x](y)") == "\\<b\\>\\*a\\*\\_\\[x\\](y)"
    assert write_pictures({"x": "bm90IGEgcG5n", "y": "%%%"}) == ""
    import base64

    shown = write_pictures({'" onerror="x': base64.b64encode(PNG + b"rest").decode()})
    assert "data:image/png;base64," in shown
    assert 'onerror="' not in shown


def test_a_link_holds_the_fields_and_stays_short() -> None:
    made = parts.link(
        {"sentence": "Is 1 < 2 & 3? )[x](javascript:alert(1)", "constrain": False, "beside": True}
    )
    query = made.removeprefix("[Link to this input](?").removesuffix(")")
    assert parse_qs(query) == {
        "sentence": ["Is 1 < 2 & 3? )[x](javascript:alert(1)"],
        "constrain": ["False"],
        "beside": ["True"],
    }
    assert parts.link({"most": 0, "style": None, "question": ""}) == "[Link to this input](?most=0)"
    assert ")" not in query
    assert parts.link({"sentence": "x" * 5000}) == "This input is too long for a link."


# --- figures ----------------------------------------------------------------------------------------------


def test_facts_say_what_it_cost_and_who_answered() -> None:
    assert (
        parts.facts([answer(), answer(truncated=True)], 1.25)
        == "1.25 s · 6 tokens · `m@1` · 1 cut off at the limit"
    )


def test_two_bundles_stand_side_by_side() -> None:
    score = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 10}
    one = {"model": "a@1", "manifest": {"metrics": {"adapter": {"metrics": {"F1": score}}}}}
    two = {"model": "b@2", "manifest": {"metrics": {"adapter": {"metrics": {"accuracy": score}}}}}
    header, rows = compared(one, two)
    assert header == ["metric", "adapter", "b@2, adapter"]
    assert rows == [["F1", "0.500 [0.400, 0.600]", ""], ["accuracy", "", "0.500 [0.400, 0.600]"]]
    assert checks(None)[0][0] == "not certified"
    certificate = {"checks": [{"name": "ids", "passed": None, "figure": "no room"}], "sealed": True}
    assert checks(certificate) == [["ids", "not made", "no room"]]
    assert [row[0] for row in checks(certificate | {"sealed": False})] == ["certified elsewhere", "ids"]


def test_only_a_seal_of_the_gateways_machine_makes_certified() -> None:
    certificate = {"engine": "vllm", "version": "1", "dtype": "float32"}
    about = {"model": "a@1", "summary": "s", "primary": "F1"}
    assert "certified for vllm 1, float32" in parts.about_line(
        about | {"certificate": certificate | {"sealed": True}}
    )
    for unsealed in (certificate, certificate | {"sealed": False}):
        line = parts.about_line(about | {"certificate": unsealed})
        assert "**certified elsewhere** for vllm 1, float32" in line
        assert "certified for" not in line
    assert "**not certified**" in parts.about_line(about | {"certificate": None})


def test_a_user_waits_others_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def of(user: str) -> Any:
        return SimpleNamespace(username=user, client=SimpleNamespace(host="127.0.0.1"))

    now = [100.0]
    monkeypatch.setattr("appkit_apps.app.time.monotonic", lambda: now[0])
    limiter = Limiter(10)
    limiter.take(of("ada"), 500)  # one request may be larger than the limit: it was allowed to be
    with pytest.raises(gr.Error, match="try again in 60 seconds"):
        limiter.take(of("ada"), 1)
    limiter.take(of("bo"), 1)
    now[0] += 61
    limiter.take(of("ada"), 10)
    with pytest.raises(gr.Error, match="10 rows a minute"):
        limiter.take(of("ada"), 1)


# --- a quick start ----------------------------------------------------------------------------------------


def test_gradio_is_imported_without_its_stubs_and_mcp() -> None:
    watch = """
import inspect, sys
before, stubs = inspect.getfile, []
sys.addaudithook(lambda name, given: name == "open" and str(given[0]).endswith(".pyi") and stubs.append(given[0]))
import {}, gradio
print(len(stubs), inspect.getfile is before, "mcp" in sys.modules)
"""

    def seen(module: str) -> str:
        words = [sys.executable, "-c", watch.format(module)]
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()

    stubs, *_ = seen("gradio").split()
    assert int(stubs) > 0  # else Gradio writes none any more, and `fast_import` can go
    assert seen("appkit_apps.gallery") == "0 True False"


def test_pages_are_built_without_an_app_until_they_are_shown() -> None:
    with without_app(), gr.Blocks() as blocks:
        gr.Textbox()
    assert getattr(blocks, "app", None) is None
    with gr.Blocks() as blocks:
        gr.Textbox()
    assert isinstance(blocks.app, gr.routes.App)
