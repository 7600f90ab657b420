"""Reading pairs: what comes out, what is left out and why, from every format, in constant memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from appkit_tasks.translation.formats import Segment, read_pairs
from appkit_tasks.translation.tests.builders import FRENCH, Odd, po, tmx, tu, xliff1, xliff2
from appkit_tasks.translation.tests.odd_xml import TMX, XLIFF


def pairs(
    path: Path, content: str | bytes, source: str = "en", target: str = "fr"
) -> tuple[list[tuple[str, str]], dict[str, int]]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    reader = read_pairs(path, source, target)
    return [(segment.source, segment.target) for segment in reader], reader.counts.left_out


def test_po(tmp_path: Path) -> None:
    content = po(
        'msgid "A"\nmsgstr "a"\n\n#, fuzzy\nmsgid "B"\nmsgstr "b"\n\nmsgid "C"\nmsgstr ""\n\n'
        '#~ msgid "D"\n#~ msgstr "d"\n\n'
        'msgctxt "menu"\nmsgid "%d E"\nmsgid_plural "%d Es"\nmsgstr[0] "%d e"\nmsgstr[1] "%d es"\n'
    )
    assert pairs(tmp_path / "a.po", content) == (
        [("A", "a"), ("%d E", "%d e"), ("%d Es", "%d es")],
        {"the header": 1, "fuzzy": 1, "not translated": 1, "obsolete (#~)": 1},
    )
    reader = read_pairs(tmp_path / "a.po", "EN", "fr_FR.UTF-8")
    last = list(reader)[-1]
    assert last == Segment(
        place="line 21, msgstr[1]",
        source="%d Es",
        target="%d es",
        state="translated",
        context="menu",
        source_language="en",
        target_language="fr-FR",
        document="a.po",
    )
    assert reader.counts.first == {
        "the header": "line 1",
        "fuzzy": "line 11",
        "not translated": "line 14",
        "obsolete (#~)": "line 17",
    }


@pytest.mark.parametrize(
    ("language", "plural", "forms"),
    [
        ("fr", FRENCH, ["s", "p"]),
        ("ja", "nplurals=1; plural=0;", ["p"]),
        (
            "ru",
            "nplurals=3; plural=(n%10==1 && n%100!=11 ? 0 : n%10>=2 && n%10<=4 && (n%100<12 || n%100>14) ? 1 : 2);",
            ["s", "p", "p"],
        ),
        (
            "ar",
            "nplurals=6; plural=n==0 ? 0 : n==1 ? 1 : n==2 ? 2 : n%100>=3 && n%100<=10 ? 3 : n%100>=11 ? 4 : 5;",
            ["p", "s", "p", "p", "p", "p"],
        ),
    ],
)
def test_the_form_of_one_is_translated_from_the_singular(
    language: str, plural: str, forms: list[str], tmp_path: Path
) -> None:
    targets = "".join(f'msgstr[{form}] "{form}"\n' for form in range(len(forms)))
    content = po(f'msgid "s"\nmsgid_plural "p"\n{targets}', plural=plural).replace(
        "Language: fr", f"Language: {language}"
    )
    segments, _ = pairs(tmp_path / "a.po", content, target=language)
    assert segments == [(source, str(form)) for form, source in enumerate(forms)]


@pytest.mark.parametrize(
    ("plural", "note"),
    [
        (
            "nplurals=2; plural=n >< 1",
            "the header's Plural-Forms cannot be used ('nplurals=2; plural=n >< 1'); those of pl are taken",
        ),
        ("nplurals=2; plural=n%10;", "cannot be used"),
        ("nplurals=2; plural=n%(n-n);", "cannot be used"),
        ("nplurals=0; plural=0;", "cannot be used"),
        ("nplurals=2; plural=" + "(" * 500 + "n", "cannot be used"),
        ("nplurals=INTEGER; plural=EXPRESSION;", "the header has no Plural-Forms; those of pl are taken"),
        ("", "the header has no Plural-Forms"),
    ],
)
def test_a_broken_plural_header_gives_the_forms_of_the_language(
    plural: str, note: str, tmp_path: Path
) -> None:
    content = po('msgid "s"\nmsgid_plural "p"\nmsgstr[0] "0"\nmsgstr[1] "1"\nmsgstr[2] "2"\n', plural=plural)
    (tmp_path / "a.po").write_text(content.replace("Language: fr", "Language: pl"))
    reader = read_pairs(tmp_path / "a.po", "en", "pl")
    assert [segment.source for segment in reader] == ["s", "p", "p"]
    (sentence,) = reader.counts.notes
    assert note in sentence
    assert "Plural-Forms: nplurals=3; plural=(n==1 ? 0 : n%10>=2" in sentence


def test_xliff_1(tmp_path: Path) -> None:
    content = xliff1(
        '<trans-unit id="1" approved="yes"><source>A <g id="1">b</g></source><target>a <g id="1">'
        "c</g></target></trans-unit>"
        '<trans-unit id="2"><source>B</source><target state="needs-review-translation">b</target></trans-unit>'
        '<trans-unit id="3"><source>C</source><target state="new">C</target></trans-unit>'
        '<trans-unit id="4" translate="no"><source>D</source><target>d</target></trans-unit>'
        '<trans-unit id="5" resname="k"><source>E</source><target>e</target><note>n  1</note><note>'
        "n2</note></trans-unit>"
        '<trans-unit id="6"><source/><target>f</target></trans-unit>'
    )
    assert pairs(tmp_path / "a.xlf", content) == (
        [('A <g id="1">b</g>', 'a <g id="1">c</g>'), ("E", "e")],
        {
            "needs review": 1,
            "not translated": 1,
            "not for translation (translate=no)": 1,
            "the source is empty": 1,
        },
    )
    last = list(read_pairs(tmp_path / "a.xlf", "en", "fr"))[-1]
    assert (last.place, last.context, last.note, last.document) == ("unit '5'", "k", "n 1\nn2", "a.c")


def test_sentences_that_a_tool_has_marked_are_read_without_the_marks(tmp_path: Path) -> None:
    content = xliff1(
        '<trans-unit id="1"><source>A <g id="1">b</g>. C.</source><seg-source>'
        '<mrk mtype="seg" mid="1">A <g id="1">b</g>.'
        '</mrk> <mrk mtype="seg" mid="2">C.</mrk></seg-source><target><mrk mtype="seg" mid="1">'
        'D <g id="1">e</g>.</mrk> '
        '<mrk mtype="seg" mid="2">F.</mrk><mrk mtype="seg" mid="3"/></target></trans-unit>'
    )
    assert pairs(tmp_path / "a.sdlxliff", content)[0] == [('A <g id="1">b</g>. C.', 'D <g id="1">e</g>. F.')]


def test_xliff_2(tmp_path: Path) -> None:
    content = xliff2(
        '<unit id="u" name="k"><notes><note>n</note></notes><segment id="s" state="final"><source>'
        "A</source><target>a</target>"
        '</segment><segment><source>B</source></segment><segment state="initial"><source>C</source>'
        "<target>c</target></segment>"
        "</unit>"
    )
    assert pairs(tmp_path / "a.xliff", content) == ([("A", "a")], {"not translated": 1, "needs review": 1})
    (first,) = read_pairs(tmp_path / "a.xliff", "en", "fr")
    assert (first.place, first.context, first.note, first.document) == (
        "unit 'u', segment 's'",
        "k",
        "n",
        "f1",
    )


def test_tmx(tmp_path: Path) -> None:
    content = tmx(
        tu(("en-US", "A"), ("en", "A2"), ("fr", "a"), ("fr-CA", "a2"))
        + tu(("en", "B"), ("de", "b"))
        + tu(("en", "C"), ("fr", " "))
        + tu(("de", "x"), ("fr", "y")),
        'srclang="de"',
    )
    assert pairs(tmp_path / "a.tmx", content) == (
        [("A2", "a")],
        {
            "further variants in en": 1,
            "further variants in fr": 1,
            "no fr": 1,
            "the target is empty": 1,
            "no en": 1,
        },
    )
    reader = read_pairs(tmp_path / "a.tmx", "en-US", "fr-CA")
    assert [(segment.source, segment.target) for segment in reader] == [("A", "a2")]
    assert "translated from 'de'; they are read from en-US, against that direction" in reader.counts.notes[0]


def test_two_variants_of_one_language_are_a_pair_of_regions(tmp_path: Path) -> None:
    content = tmx(tu(("en-GB", "colour"), ("en-US", "color")))
    assert pairs(tmp_path / "a.tmx", content, "en-US", "en-GB")[0] == [("color", "colour")]
    # a variant is not a pair with itself
    assert pairs(tmp_path / "a.tmx", tmx(tu(("en", "color"))), "en-US", "en-GB") == ([], {"no en-GB": 1})


def test_parallel(tmp_path: Path) -> None:
    (tmp_path / "news.fr-en.fr_CA").write_text("wrong\n")
    (tmp_path / "news.fr-en.fr").write_bytes("\ufeffun\r\n\r\ndeux\u2028\r\n\r\nquatre".encode("utf-16-le"))
    assert pairs(tmp_path / "news.fr-en.en", "one\n\ntwo\x0b\n\nfour\r\n") == (
        [("one", "un"), ("two\x0b", "deux\u2028"), ("four", "quatre")],
        {"both lines are empty": 2},
    )
    with pytest.raises(
        ValueError, match=r"news.fr-en.en: it has 6 lines, and 'news.fr-en.fr' has 5; the lines of parallel"
    ):
        pairs(tmp_path / "news.fr-en.en", "one\n\ntwo\n\nfour\nfive")
    with pytest.raises(ValueError, match=r"it has 1 lines, and 'news.fr-en.fr' has 5"):
        pairs(tmp_path / "news.fr-en.en", "one\n")
    assert pairs(tmp_path / "news.fr-en.en", "a\n\nb\n\n\n")[1] == {
        "both lines are empty": 2,
        "one of the lines is empty": 1,
    }


@pytest.mark.parametrize("file", [*XLIFF, *TMX], ids=lambda file: file.name)
def test_pieces_of_a_file_read_like_the_whole(
    file: Odd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / file.file
    path.write_bytes(file.content)
    whole = read_pairs(path, *file.languages)
    segments = list(whole)
    monkeypatch.setattr("appkit_tasks.translation.formats.encoding.HEAD", 123)
    monkeypatch.setattr(
        "appkit_tasks.translation.formats.encoding.CHUNK", 1021 if len(file.content) > 5000 else 3
    )
    pieces = read_pairs(path, *file.languages)
    assert list(pieces) == segments
    assert pieces.counts == whole.counts


@pytest.mark.parametrize("name", ["big.po", "big.tmx", "big.xlf", "big.en"])
def test_memory_is_constant(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appkit_tasks.translation.formats.encoding.CHUNK", 1 << 14)
    monkeypatch.setattr("appkit_tasks.translation.formats.encoding.HEAD", 1 << 14)
    text = "The file cannot be saved because this folder is read-only. " * 4
    units = {
        "big.po": (po("{}"), 'msgid "{n} {text}"\nmsgstr "{text}"\n\n'),
        "big.tmx": (tmx("{}"), tu(("en", "{n} {text}"), ("fr", "{text}"))),
        "big.xlf": (
            xliff1("{}"),
            '<trans-unit id="{n}"><source>{text}</source><target>{text}</target></trans-unit>\n',
        ),
        "big.en": ("{}", "{n} {text}\n"),
    }
    frame, unit = units[name]
    body = "".join(unit.replace("{n}", str(number)).replace("{text}", text) for number in range(2000))
    (tmp_path / name).write_text(frame.replace("{}", body))
    (tmp_path / "big.fr").write_text(f"{text}\n" * 2000)
    tracemalloc.start()
    assert sum(1 for _ in read_pairs(tmp_path / name, "en", "fr")) == 2000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(body) > 450_000
    assert peak < 300_000
