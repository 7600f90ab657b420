"""Rows of the field's own files, and what the pack's checks find in rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from appkit_tasks.translation import TASK
from appkit_tasks.translation.config import TranslationConfig
from appkit_tasks.translation.load import TranslationRow, inspect, read_file

from appkit.config import DataConfig
from appkit.data.findings import leave_out_found
from appkit.data.splits import read_source

FRENCH = TranslationConfig(target_language="fr")
PO = r"""
msgid ""
msgstr ""
"Language: fr\n"
"Plural-Forms: nplurals=2; plural=(n > 1);\n"

#: menu.c:3
msgctxt "menu"
msgid "Open"
msgstr "Ouvrir"

msgid "%d file"
msgid_plural "%d files"
msgstr[0] "%d fichier"
msgstr[1] "%d fichiers"

#, fuzzy
msgid "Close"
msgstr "Fermer"

msgid "New"
msgstr ""
"""
TMX = """<tmx version="1.4"><header srclang="en"/><body>
<tu><tuv xml:lang="en"><seg>Open</seg></tuv><tuv xml:lang="FR"><seg>Ouvrir</seg></tuv></tu>
<tu><tuv xml:lang="en"><seg>New</seg></tuv><tuv xml:lang="de"><seg>Neu</seg></tuv></tu>
</body></tmx>"""
XLIFF = """<xliff version="1.2" xmlns="urn:oasis:names:tc:xliff:document:1.2">
<file original="menu.c" source-language="en" target-language="fr" datatype="plaintext"><body>
<trans-unit id="a" resname="menu"><source>Open</source><target state="translated">Ouvrir</target></trans-unit>
<trans-unit id="b"><source>New</source></trans-unit>
</body></file></xliff>"""


def row(source: str, target: str = "", **fields: Any) -> TranslationRow:
    return TranslationRow(source=source, target=target, **fields)


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        stem, _, suffix = name.rpartition("_")
        (folder / f"{stem}.{suffix}").write_text(text, encoding="utf-8")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    write(
        tmp_path, a_po=PO, a_tmx=TMX, a_xlf=XLIFF, corpus_en="Open\n\nNew\n", corpus_fr="Ouvrir\n\nNouveau\n"
    )
    return tmp_path


@pytest.mark.parametrize(
    ("name", "pairs", "left_out"),
    [
        (
            "a.po",
            [("Open", "Ouvrir"), ("%d file", "%d fichier"), ("%d files", "%d fichiers")],
            {"fuzzy": 1, "not translated": 1},
        ),
        ("a.tmx", [("Open", "Ouvrir")], {"no fr": 1}),
        ("a.xlf", [("Open", "Ouvrir")], {"not translated": 1}),
        ("corpus.en", [("Open", "Ouvrir"), ("New", "Nouveau")], {"both lines are empty": 1}),
    ],
)
def test_files_of_the_field_are_rows_and_the_rest_is_counted(
    name: str, pairs: list[tuple[str, str]], left_out: dict[str, int], files: Path
) -> None:
    result = read_source(TASK, FRENCH, DataConfig(), "train", str(files / name))
    assert result.faults == []
    rows = [record.value for record in result.records]
    assert [(one.source, one.target) for one in rows] == pairs
    assert {(one.source_language, one.target_language) for one in rows} == {("en", "fr")}
    for reason, count in left_out.items():
        assert any(f"{count} left out: {reason}" in note for note in result.notes), result.notes


def test_rows_of_files_say_where_they_are_from(files: Path) -> None:
    of_po, of_xliff, of_lines = (read_file(files / name, FRENCH) for name in ("a.po", "a.xlf", "corpus.en"))
    assert of_po is not None
    assert of_xliff is not None
    assert of_lines is not None
    (line, first), *_ = of_po.rows
    assert (line, first["context"]) == (9, "menu")
    assert [values["document"] for _, values in of_xliff.rows] == ["menu.c"]
    assert [line for line, _ in of_lines.rows] == [1, 3]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.txt", "corpus.fr", "README", "a.jsonl.gz"])
def test_other_files_are_not_the_packs(name: str, tmp_path: Path) -> None:
    assert read_file(tmp_path / name, FRENCH) is None


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "a.po",
            TranslationConfig(),
            "name the language that it is translated into: task.target_language=fr",
        ),
        ("none.po", FRENCH, "cannot be read"),
        ("a.po", TranslationConfig(target_language="de"), "its header says Language: 'fr', got de"),
        ("a.xlf", TranslationConfig(target_language="de"), "its languages are 'en to fr', got en to de"),
        ("corpus.en", TranslationConfig(target_language="de"), r"there is no file corpus\.de beside it"),
    ],
)
def test_a_file_of_other_languages_is_one_line(
    name: str, options: TranslationConfig, message: str, files: Path
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        list(read_file(files / name, options).rows)  # type: ignore[union-attr]
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


# Checks

BAD = [
    ("Save the file", "Enregistrer le fichier"),
    ("Save the file", "Enregistrer le fichier"),
    ("Save the file", "Sauvegarder le fichier"),
    ("Open %s now", "Ouvrez maintenant"),
    ("The window is still open", "The window is still open"),
    ("The cat sleeps on the keyboard", "Die Katze schläft auf der Tastatur und träumt"),
    ("One line", "Une ligne\nou deux"),
]


@pytest.mark.parametrize("side", ["train", "test"])
def test_findings_are_of_rows_and_chosen_kinds_leave_them_out(side: str, tmp_path: Path) -> None:
    rows = [{"source": source, "target": target} for source, target in BAD]
    path = tmp_path / "bad.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    read = read_source(TASK, FRENCH, DataConfig(), side, str(path))
    values = [record.value for record in read.records]
    assert [(number, finding.kind) for number, finding in inspect(values, FRENCH)] == [
        (1, "duplicate"),
        (2, "many_targets"),
        (3, "protected"),
        (4, "identical"),
        (5, "language"),
        (6, "newline"),
    ]
    stay, notes = leave_out_found(TASK, FRENCH, {side: read})
    assert len(stay[side].records) == len(BAD)
    assert notes == [
        f"{side}: 6 rows have findings and stay, 1 duplicate ({path}:2), 1 many_targets ({path}:3), "
        f"1 protected ({path}:4), 1 identical ({path}:5), 1 language ({path}:6), 1 newline ({path}:7)"
    ]
    options = TranslationConfig(target_language="fr", drop=("protected", "language"))
    dropped, notes = leave_out_found(TASK, options, {side: read})
    assert [record.line for record in dropped[side].records] == [1, 2, 3, 5, 7]
    assert dropped[side].left_out == 2
    assert notes[0] == f"{side}: 2 rows left out, 1 protected ({path}:4), 1 language ({path}:6)"
    assert notes[1].startswith(f"{side}: 4 rows have findings and stay, 1 duplicate")


def test_deviations_say_how_odd_a_length_may_be() -> None:
    pair = row(
        "The file was moved to the archive.", "Le fichier a été déplacé vers l'archive, où il se plaît bien."
    )
    kinds = [
        [finding.kind for _, finding in inspect([pair], FRENCH.model_copy(update={"deviations": deviations}))]
        for deviations in (1.0, 5.0)
    ]
    assert kinds == [["ratio"], []]
