"""Files that cannot be read: one line that names the file, what is wrong and what to do; never another error."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

import pytest
from appkit_tasks.translation.formats import open_document, read_pairs
from appkit_tasks.translation.tests.builders import UNIT, po, tmx, tu, xliff1, xliff2

LOLS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
BOMB = f'<?xml version="1.0"?>\n<!DOCTYPE xliff [<!ENTITY l0 "lol">{LOLS}]>\n'
NEEDS_A_LINE = 'msgid "A"\nmsgstr "B"\n'

BAD = [
    ("a.xlf", xliff1(UNIT.replace("Save", "&l9;"), start=BOMB), "DOCTYPE declares the entity 'l0'"),
    (
        "a.tmx",
        tmx("").replace('"tmx14.dtd"', '"x" [<!ENTITY e SYSTEM "file:///etc/passwd">]'),
        "declares the entity 'e'",
    ),
    (
        "a.tmx",
        tmx("").replace('"tmx14.dtd"', '"x" [<!ENTITY % p SYSTEM "http://x.example/p">%p;]'),
        "the entity 'p'",
    ),
    ("a.tmx", tmx(tu(("en", "&nbsp;"), ("fr", "B"))), "uses the entity 'nbsp'"),
    ("a.xlf", xliff1(UNIT.replace("Save", "&nbsp;")), "not well-formed XML (undefined entity)"),
    ("a.xlf", xliff1("<a>" * 100_000), "more than 200 elements are open"),
    ("a.xlf", xliff1(UNIT)[:-20], "not well-formed XML"),
    ("a.xlf", "", "not well-formed XML (no element found)"),
    ("a.xlf", "PK\x03\x04", "line 1: it is not well-formed XML"),
    ("a.xlf", tmx(""), "root element is 'tmx', not xliff"),
    ("a.tmx", xliff1(UNIT), "root element is 'xliff', not tmx"),
    ("a.xlf", xliff1(UNIT).replace('"1.2"', '"3.0"', 1), "version is '3.0'"),
    (
        "a.xlf",
        xliff1(UNIT, 'source-language="en" target-language="de"'),
        "its languages are 'en to de', got en to fr",
    ),
    ("a.xlf", xliff2("", 'srcLang="de" trgLang="fr"'), "its languages are 'de to fr', got en to fr"),
    (
        "a.xlf",
        xliff1(UNIT.replace("</source>", "</source><source>B</source>")),
        "unit '1' has more than one source",
    ),
    ("a.xlf", '<xliff version="1.2"><trans-unit/></xliff>', "a trans-unit stands outside any file"),
    (
        "a.xlf",
        b'<?xml version="1.0" encoding="latin-99"?><a/>',
        "its encoding is 'latin-99', which Python does not know",
    ),
    ("a.xlf", b'<?xml version="1.0" encoding="rot13"?><a/>', "its encoding is 'rot13'"),
    ("a.xlf", xliff1(UNIT.replace("Save", "Café")).encode("latin-1"), "it is not utf-8 at byte 196"),
    ("a.tmx", codecs.BOM_UTF16_LE + tmx("").encode("utf-16-le")[:-1], "it is not utf-16-le at byte"),
    ("a.po", NEEDS_A_LINE + 'msgstr "C"\n', "line 3 has a second msgstr in one entry"),
    ("a.po", 'msgid "A "B" C"\nmsgstr ""\n', 'line 1 is not PO: \'msgid "A "B" C"\''),
    ("a.po", 'msgid "A\nmsgstr ""\n', "line 1 is not PO"),
    ("a.po", 'msgstr_plural "A"\n', "line 1 is not PO"),
    ("a.po", '"A"\n', "line 1 has text without a keyword"),
    ("a.po", 'msgid "A"\nmsgid "B"\nmsgstr ""\n', "line 2 has a second msgid"),
    ("a.po", 'msgid "A"\n\n# c\nmsgid "B"\nmsgstr ""\n', "the entry at line 1 has no msgstr"),
    ("a.po", 'msgstr "A"\n', "the entry at line 1 has no msgid"),
    ("a.po", 'msgid "A"\nmsgid_plural "B"\nmsgstr "C"\n', "has msgstr with msgid_plural"),
    ("a.po", 'msgid "A"\nmsgstr[0] "C"\n', "has msgstr[0] without msgid_plural"),
    (
        "a.po",
        po(NEEDS_A_LINE).replace("Language: fr", "Language: de"),
        "its header says Language: 'de', got fr",
    ),
    ("a.po", po(NEEDS_A_LINE, "KLINGON-8"), "its encoding is 'KLINGON-8'"),
    ("a.po", po('msgid "Café"\nmsgstr "B"\n').encode("latin-1"), "it is not utf-8"),
    ("corpus.en", b"A\nB\n", "there is no file corpus.fr beside it"),
    ("a.docx", b"", "its suffix is '.docx'"),
    ("a", b"", "its suffix is ''"),
    ("a.tbx", b"", ""),
]


def check(error: pytest.ExceptionInfo[ValueError], path: Path, wanted: str) -> None:
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < 420 + len(str(path))
    assert wanted in message


@pytest.mark.parametrize(("name", "content", "wanted"), BAD, ids=range(len(BAD)))
def test_a_bad_file_is_refused_in_one_line(
    name: str, content: str | bytes, wanted: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ValueError, match=re.escape(path.name)) as error:
        list(read_pairs(path, "en", "fr"))
    check(error, path, wanted)
    if name.endswith((".po", ".xlf", ".tmx", ".docx", "a")):
        with pytest.raises(ValueError, match=re.escape(path.name)) as error:
            open_document(path, "en", "fr")
        check(error, path, wanted)


@pytest.mark.parametrize("name", ["a.po", "a.tmx", "a.xlf", "a.en"])
def test_no_file_and_a_folder(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    for wanted in ("No such file or directory", "Is a directory"):
        with pytest.raises(ValueError, match=wanted) as error:
            open_document(path, "en", "fr")
        check(error, path, "cannot be read")
        path.mkdir(exist_ok=True)


@pytest.mark.parametrize("name", ["a.txt", "a.md"])
def test_binary_is_no_text(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    for content, wanted in ((b"ab\0\0", "NUL"), (b"\xff\xd8\xff", "it is not utf-8 at byte 0, line 1")):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=wanted) as error:
            open_document(path, "en", "fr")
        check(error, path, "convert it to UTF-8")


def test_bytes_that_could_not_be_written_again_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.po"
    # ISO-2022-JP may switch to ASCII as often as it likes
    body = b'msgid "A"\nmsgstr ""\n' + b"#. \x1b(B\n"
    path.write_bytes(po("", "ISO-2022-JP").encode() + body)
    with pytest.raises(
        ValueError, match="the rest of the file could not be left as it is; convert it to UTF-8"
    ):
        open_document(path, "en", "fr")


def test_a_huge_comment_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.tmx"
    path.write_bytes(tmx(f"<!-- {'x' * (8 << 20)} -->").encode())
    with pytest.raises(ValueError, match="a tag or comment has more than 4 MiB"):
        list(read_pairs(path, "en", "fr"))


def test_a_wrong_language_code_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'French'.*; write fr"):
        read_pairs(tmp_path / "a.po", "en", "French")


def test_an_endless_line_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appkit_tasks.translation.formats.encoding.LONGEST_LINE", 10)
    for name in ("corpus.en", "corpus.fr"):
        (tmp_path / name).write_text("0123456789\n" * 3)
    assert len(list(read_pairs(tmp_path / "corpus.en", "en", "fr"))) == 3
    (tmp_path / "corpus.en").write_text("0123456789\n0123456789A\n")
    with pytest.raises(ValueError, match="line 2 has more than 10 characters"):
        list(read_pairs(tmp_path / "corpus.en", "en", "fr"))


def test_an_endless_segment_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appkit_tasks.translation.formats.inline.LONGEST", 100)
    monkeypatch.setattr("appkit_tasks.translation.formats.po.LONGEST", 100)
    (tmp_path / "a.tmx").write_text(tmx(tu(("en", "A" * 101))))
    (tmp_path / "a.po").write_text(f'msgid ""\n{chr(34)}{"A" * 60}{chr(34)}\n"{"A" * 60}"\nmsgstr ""\n')
    for name in ("a.tmx", "a.po"):
        with pytest.raises(ValueError, match="has more than 100 characters"):
            open_document(tmp_path / name, "en", "fr")
