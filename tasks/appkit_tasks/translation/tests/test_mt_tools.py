"""What pages ask: terms, spans and findings of a text, and files sent and received whole."""

from __future__ import annotations

import base64
import re
import tempfile
from pathlib import Path
from typing import Any

import polib
import pytest
from appkit_tasks.translation import TASK
from appkit_tasks.translation.file_tools import MAX_BYTES, FileAnswer, read_document, write_document
from appkit_tasks.translation.load import Term
from appkit_tasks.translation.tools import Pair, check, difference, spans, terms
from lxml import etree
from pydantic import ValidationError

PO = """msgid ""
msgstr "Content-Type: text/plain; charset=UTF-8\\n"

msgctxt "button"
msgid "Save the %d files."
msgstr ""

msgid "Close"
msgstr "Fermer"

#, fuzzy
msgid "Open the window"
msgstr "Ouvrir"
"""
XLIFF = """<?xml version="1.0"?>
<xliff version="1.2" xmlns="urn:oasis:names:tc:xliff:document:1.2">
<file original="a" source-language="en" target-language="fr" datatype="plaintext"><body>
<trans-unit id="1"><source>Save the file before you close it.</source></trans-unit>
</body></file></xliff>
"""


def encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def decode(written: dict[str, Any]) -> str:
    return base64.b64decode(written["content_base64"]).decode()


# --- texts ------------------------------------------------------------------------------------------------


def test_spans_have_the_places_of_their_texts() -> None:
    text = "🦊 %d files in <b>{folder}</b>"
    answer = spans(text)["spans"]
    assert [(span["kind"], span["text"]) for span in answer] == [
        ("printf", "%d"),
        ("tag", "<b>"),
        ("brace", "{folder}"),
        ("tag", "</b>"),
    ]
    assert [text[span["start"] : span["end"]] for span in answer] == [span["text"] for span in answer]


def test_terms_are_found_in_both_sides() -> None:
    text, translation = (
        "Save the file and the files, then the folder.",
        "Enregistrez les fichiers, puis le tas.",
    )
    entries = (Term(source="folder", target="dossier"), Term(source="folder", target="répertoire"))
    answer = terms(text, "en_US", "fr", entries, True, translation)
    assert answer["note"] == ""
    by_source = {term["source"]: term for term in answer["terms"]}
    assert set(by_source) == {"file", "folder"}  # `folder` is shipped too: one's own goes first
    assert [text[slice(*place)] for place in by_source["file"]["places"]] == ["file", "files"]
    assert [translation[slice(*place)] for place in by_source["file"]["translated"]] == ["fichiers"]
    assert by_source["file"]["kept"] is True
    assert by_source["folder"]["targets"] == ["dossier", "répertoire"]
    assert (by_source["folder"]["kept"], by_source["folder"]["translated"]) == (False, [])


def test_a_term_in_a_compound_is_kept_without_a_place() -> None:
    entries = (Term(source="file", target="Datei"),)
    (term,) = terms("Open the file manager.", "en", "de", entries, False, "Dateimanager öffnen.")["terms"]
    assert (term["kept"], term["translated"]) == (True, [])
    (term,) = terms("Open the file manager.", "en", "de", entries)["terms"]
    assert (term["kept"], term["translated"]) == (None, [])


def test_a_direction_without_shipped_terms_is_told_and_entries_count_anyway() -> None:
    answer = terms("Open the file.", "en", "es", (Term(source="file", target="archivo"),), True)
    assert [term["source"] for term in answer["terms"]] == ["file"]
    assert answer["note"] == "The glossary of appkit has no terms from en to es."


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [(" ", "x", "term 1: its source has no letter"), ("x", "->", "term 1: its target has no letter")],
)
def test_an_entry_without_a_word_is_told(source: str, target: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        terms("text", "en", "fr", (Term(source=source, target=target),))


def test_a_difference_names_its_spans() -> None:
    answer = difference("%s: {name} <b>x</b>", "{other} x</b>")
    assert [span["text"] for span in answer["missing"]] == ["%s", "{name}", "<b>"]
    assert [span["text"] for span in answer["extra"]] == ["{other}"]
    assert answer["text"].startswith("lost %s, {name}, <b>; added {other}")
    assert difference("%s <b>x</b>", "<b>y</b> %s")["text"] == ""


def test_findings_are_those_of_each_pair_alone() -> None:
    source = "Save the %d files before you close the window."
    good = "Enregistrez les %d fichiers avant de fermer la fenêtre."
    copy, long = source, good + " Et puis encore une phrase." * 8
    answers = [good, good, copy, good.replace("%d ", ""), long, good + "\nNote: formal."]
    pairs = tuple(Pair(source=source, target=target) for target in answers)
    kinds = [[one["kind"] for one in findings] for findings in check(pairs, "en", "fr")["findings"]]
    assert kinds == [[], [], ["identical"], ["protected"], ["ratio"], ["newline", "over-generation"]]
    german = Pair(source=source, target="Speichern Sie die %d Dateien, bevor Sie das Fenster schließen.")
    (findings,) = check((german,), "en", "fr")["findings"]
    assert [one["kind"] for one in findings] == ["language"]
    assert "German" in findings[0]["reason"]


# --- files ------------------------------------------------------------------------------------------------


def test_a_po_file_comes_back_with_its_answers() -> None:
    content = encode(PO)
    read = read_document("messages.po", content, "en", "fr", (Term(source="file", target="fichier"),))
    assert read["segments"] == {"translated": 1, "untranslated": 1, "doubtful": 1}
    assert read["rows"] == [
        {
            "source": "Save the %d files.",
            "source_language": "en",
            "target_language": "fr",
            "context": "button",
            "terms": [{"source": "file", "target": "fichier"}],
        }
    ]
    assert TASK.input_row(read["rows"][0]).terms == (Term(source="file", target="fichier"),)
    written = write_document(
        "messages.po", content, "en", "fr", (FileAnswer(text="Enregistrez les % d fichiers.\nNote: …"),)
    )
    assert written["segments"] == [
        {
            "place": "line 5",
            "source": "Save the %d files.",
            "target": "Enregistrez les %d fichiers.",
            "doubtful": False,
            "reason": "",
        }
    ]
    entries = {entry.msgid: (entry.msgstr, entry.fuzzy) for entry in polib.pofile(decode(written))}
    assert entries == {
        "Save the %d files.": ("Enregistrez les %d fichiers.", False),
        "Close": ("Fermer", False),
        "Open the window": ("Ouvrir", True),
    }


def test_doubtful_ones_are_marked_and_asked_again_where_wished() -> None:
    content = encode(PO)
    rows = read_document("a.po", content, "en", "fr", again=True)["rows"]
    assert [row["source"] for row in rows] == ["Save the %d files.", "Open the window"]
    answers = (
        FileAnswer(text="Enregistrez les fichiers.", confidence=0.9),
        FileAnswer(text="Ouvrir la fenêtre", confidence=0.25),
    )
    written = write_document("a.po", content, "en", "fr", answers, 0.5, True)
    assert [one["reason"] for one in written["segments"]] == ["lost %d", "confidence 0.25 is below 0.5"]
    assert all(entry.fuzzy for entry in polib.pofile(decode(written)) if entry.msgid != "Close")
    with pytest.raises(ValueError, match="the file has 2 rows to answer, got 1 answers"):
        write_document("a.po", content, "en", "fr", answers[:1], 0.5, True)


def test_an_xliff_file_comes_back_with_what_is_wrong_marked() -> None:
    content = encode(XLIFF)
    (row,) = read_document("a.xlf", content, "en", "fr")["rows"]
    copy = FileAnswer(text=row["source"], truncated=True)
    written = write_document("a.xlf", content, "en", "fr", (copy,))
    (segment,) = written["segments"]
    assert segment["reason"].startswith("it was cut off at the limit of tokens; target is the source")
    target = etree.fromstring(decode(written).encode()).find(".//{*}target")
    assert target.text == row["source"]
    assert target.get("state") == "needs-review-translation"


def test_a_table_comes_back_with_its_answers() -> None:
    content = encode("id;source\n1;Save\n2;Close\n")
    rows = read_document("a.CSV", content, "en", "fr")["rows"]
    answers = tuple(FileAnswer(text=f"[{row['source']}]") for row in rows)
    written = write_document("a.CSV", content, "en", "fr", answers)
    assert decode(written) == 'id;source;target\n"1";"Save";"[Save]"\n"2";"Close";"[Close]"\n'


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.po", "§", "content_base64 is no base64, got '§'"),
        ("a.po", base64.b64encode(bytes(MAX_BYTES + 1)).decode(), "500,001 bytes, the limit is 500,000"),
        ("a.docx", encode("PK"), "its suffix is '.docx'"),
        ("../../etc/passwd", encode("x"), "its suffix is ''"),
        ("a.po", encode("msgid"), "the file: "),
        ("a.csv", encode("text\nx\n"), "a column named source, it has 'text'"),
        (
            "a.xlf",
            encode('<!DOCTYPE x [<!ENTITY a "aaa">]><xliff>&a;</xliff>'),
            "the file: ",
        ),
    ],
)
def test_a_file_that_is_none_is_told_in_a_line_without_our_folders(
    name: str, content: str, reason: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)) as error:
        read_document(name, content, "en", "fr")
    message = str(error.value)
    assert "\n" not in message
    assert tempfile.gettempdir() not in message


def test_nothing_is_left_in_the_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    read_document("a.po", encode(PO), "en", "fr")
    write_document("a.po", encode(PO), "en", "fr", (FileAnswer(text="x"),))
    with pytest.raises(ValueError, match="the file"):
        read_document("a.xlf", encode("<x"), "en", "fr")
    assert list(tmp_path.iterdir()) == []


def test_the_gateway_can_make_a_request_model_of_every_tool() -> None:
    from appkit.serving.gateway.routes.tasks import _tool_model, _tool_schema

    assert set(TASK.tools) == {"spans", "terms", "difference", "check", "read_document", "write_document"}
    for name, tool in TASK.tools.items():
        assert _tool_schema(name, tool)["arguments"]["additionalProperties"] is False
    values = {"text": "a file", "source_language": "en", "target_language": "fr"}
    model = _tool_model(TASK.tools["terms"])
    parameters = model.model_validate(values | {"entries": [{"source": "file", "target": "fichier"}]})
    answer = terms(**{field: getattr(parameters, field) for field in model.model_fields})
    assert [term["source"] for term in answer["terms"]] == ["file"]
    for wrong in ({"text": "x" * 20_001}, {"entries": [{"source": "", "target": "a"}]}, {"more": 1}):
        with pytest.raises(ValidationError):
            model.model_validate(values | wrong)
