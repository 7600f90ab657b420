"""PO: the same meaning as polib's, and edits that change the lines of one entry alone."""

from __future__ import annotations

import codecs
from pathlib import Path

import polib
import pytest
from appkit_tasks.translation.formats import Translation, open_document, read_pairs
from appkit_tasks.translation.formats.plurals import RULES, forms_of, read_forms
from appkit_tasks.translation.tests.builders import po
from hypothesis import given, settings
from hypothesis import strategies as st

# polib splits text at line separators and cannot read them back
TEXTS = st.text(
    st.characters(codec="utf-8", exclude_characters="\r\x1c\x1d\x1e\x85\u2028\u2029", min_codepoint=10),
    max_size=120,
)
ENTRIES = st.lists(
    st.builds(
        dict,
        msgid=TEXTS.filter(str.strip),
        msgstr=TEXTS,
        flags=st.lists(st.sampled_from(["fuzzy", "c-format", "no-wrap"]), unique=True),
        occurrences=st.lists(st.tuples(st.just("a.c"), st.integers(1, 99).map(str)), max_size=2),
        tcomment=st.sampled_from(["", "one", "two\nlines"]),
        msgctxt=st.none() | TEXTS.filter(bool),
        previous_msgid=st.none() | TEXTS.filter(bool),
    ),
    min_size=1,
    max_size=5,
)


def write(
    path: Path, content: str, translations: dict[int, Translation], languages: tuple[str, str] = ("en", "fr")
) -> str:
    path.write_bytes(content.encode())
    open_document(path, *languages).write(path, translations)
    return path.read_bytes().decode()


@settings(max_examples=40, deadline=None)
@given(entries=ENTRIES, target=TEXTS, place=st.integers(0, 4), doubtful=st.booleans())
def test_it_reads_and_writes_as_polib_does(
    tmp_path_factory: pytest.TempPathFactory,
    entries: list[dict[str, object]],
    target: str,
    place: int,
    doubtful: bool,
) -> None:
    path = tmp_path_factory.mktemp("po") / "a.po"
    file = polib.POFile()
    file.metadata = {"Content-Type": "text/plain; charset=UTF-8", "Language": "fr"}
    file.extend(polib.POEntry(**entry) for entry in entries)
    file.save(str(path))
    document = open_document(path, "en", "fr")
    assert [
        (part.source, part.target, part.context, part.state == "doubtful") for part in document.segments
    ] == [
        (entry.msgid, entry.msgstr, entry.msgctxt or "", bool(entry.msgstr) and entry.fuzzy) for entry in file
    ]
    assert [(part.source, part.target) for part in read_pairs(path, "en", "fr")] == [
        (entry.msgid, entry.msgstr) for entry in file if entry.msgstr and not entry.fuzzy
    ]
    place %= len(entries)
    written = document.write(path, {place: Translation(target, doubtful, "why")})
    if target:
        is_doubtful = bool(written.doubts)
        assert is_doubtful >= doubtful
        file[place].msgstr = target
        file[place].flags = [flag for flag in file[place].flags if flag != "fuzzy"] + ["fuzzy"] * is_doubtful
    again = polib.pofile(str(path))
    for ours, theirs in zip(again, file, strict=True):
        assert (ours.msgid, ours.msgstr, ours.msgctxt, sorted(ours.flags)) == (
            theirs.msgid,
            theirs.msgstr,
            theirs.msgctxt,
            sorted(theirs.flags),
        )
        assert (ours.occurrences, ours.tcomment, ours.previous_msgid) == (
            theirs.occurrences,
            theirs.tcomment,
            theirs.previous_msgid,
        )


BEFORE = """\
#. author
#: a.c:1
msgid "One"
msgstr ""

#: b.c:2
#| msgid "Twoo"
msgid ""
"Two "
"lines"
msgstr "Deux"

#, fuzzy, c-format
msgctxt "menu"
msgid "%d file"
msgid_plural "%d files"
msgstr[0] "x"

#~ msgid "gone"
#~ msgstr "parti"
"""


def test_only_the_lines_of_the_entry_change(tmp_path: Path) -> None:
    after = write(
        tmp_path / "a.po", po(BEFORE), {0: Translation("Un"), 1: Translation("Deux lignes", True, "low")}
    )
    assert after == po(
        BEFORE.replace('msgid "One"\nmsgstr ""', 'msgid "One"\nmsgstr "Un"')
        .replace('msgstr "Deux"', 'msgstr "Deux lignes"')
        .replace("#| msgid", "#, fuzzy\n#| msgid")
    )


def test_a_plural_is_fuzzy_until_each_form_is_sure(tmp_path: Path) -> None:
    path = tmp_path / "a.po"
    fuzzy, sure = "#, fuzzy, c-format\n", "#, c-format\n"
    first = 'msgstr[0] "%d fichier"\n'
    both = f'{first}msgstr[1] "%d fichiers"\n'
    one, other, doubted = (
        Translation("%d fichier"),
        Translation("%d fichiers"),
        Translation("%d fichiers", True, "low"),
    )
    assert write(path, po(BEFORE), {2: one, 3: other}) == po(
        BEFORE.replace('msgstr[0] "x"\n', both).replace(fuzzy, sure)
    )
    assert write(path, po(BEFORE), {2: one, 3: doubted}) == po(BEFORE.replace('msgstr[0] "x"\n', both))
    # the form that is there was fuzzy, and still is
    assert write(path, po(BEFORE), {3: other}) == po(
        BEFORE.replace('msgstr[0] "x"\n', f'msgstr[0] "x"\n{both.removeprefix(first)}')
    )
    assert write(path, po(BEFORE), {2: one}) == po(
        BEFORE.replace('msgstr[0] "x"\n', first).replace(fuzzy, sure)
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("#, fuzzy\n", ""),
        ("#,fuzzy,c-format\n", "#,c-format\n"),
        ("#, c-format, fuzzy\n", "#, c-format\n"),
        ("#, c-format\n#, fuzzy\n", "#, c-format\n"),
        ("  #, fuzzy\r\n", ""),
    ],
)
def test_the_flag_goes_and_the_others_stay(before: str, after: str, tmp_path: Path) -> None:
    body = '#: a.c:1\n{}msgid "A"\nmsgstr "B"\n'
    assert write(tmp_path / "a.po", body.format(before), {0: Translation("C")}) == body.format(after).replace(
        "B", "C"
    )
    assert write(tmp_path / "a.po", body.format(before), {0: Translation("C", True, "low")}) == body.format(
        before
    ).replace("B", "C")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "#, fuzzy\n"),
        ("#, c-format\n", "#, fuzzy, c-format\n"),
        ("#,\n", "#, fuzzy\n"),
        ("#| x\n", "#, fuzzy\n#| x\n"),
    ],
)
def test_the_flag_comes_where_gettext_has_it(before: str, after: str, tmp_path: Path) -> None:
    body = '#. a\n{}msgctxt "x"\nmsgid "A"\nmsgstr "B"\n'
    doubted = Translation("C", True, "low")
    assert write(tmp_path / "a.po", body.format(before), {0: doubted}) == body.format(after).replace(
        '"B"', '"C"'
    )


def test_line_ends_are_those_of_the_entry(tmp_path: Path) -> None:
    text = "long " * 20
    after = write(
        tmp_path / "a.po",
        'msgid "A"\nmsgstr ""\n\r\nmsgid "B"\r\nmsgstr ""\r\n',
        {1: Translation(text.strip(), True, "low")},
    )
    assert after == (
        'msgid "A"\nmsgstr ""\n\r\n#, fuzzy\r\nmsgid "B"\r\nmsgstr ""\r\n'
        f'"{"long " * 15}"\r\n"{("long " * 5).strip()}"\r\n'
    )


@pytest.mark.parametrize(
    ("source", "text", "lines"),
    [
        ("a", 'say "é" \\ \t', [r'msgstr "say \"é\" \\ \t"']),
        ("a\\n", "b\n", [r'msgstr "b\n"']),
        ("a\\n\\nb", "c\n\nd", ['msgstr ""', r'"c\n"', r'"\n"', '"d"']),
        ("a", "x" * 69, [f'msgstr "{"x" * 69}"']),
        ("a", "x" * 70, ['msgstr ""', f'"{"x" * 70}"']),
        ("a", "x" * 30 + " " + "y" * 60, ['msgstr ""', f'"{"x" * 30} "', f'"{"y" * 60}"']),
        ("a", "\u202bשלום\u202c", ['msgstr "\u202bשלום\u202c"']),
    ],
)
def test_strings_are_wrapped_as_gettext_does(
    source: str, text: str, lines: list[str], tmp_path: Path
) -> None:
    body = f'msgid "{source}"\nmsgstr ""\n'
    assert write(tmp_path / "a.po", body, {0: Translation(text)}) == body.replace(
        'msgstr ""', "\n".join(lines)
    )


def test_a_file_that_does_not_wrap_stays_so(tmp_path: Path) -> None:
    body = f'msgid "{"word " * 40}"\nmsgstr ""\n'
    text = "mot " * 40
    assert write(tmp_path / "a.po", body, {0: Translation(text)}) == body.replace(
        'msgstr ""', f'msgstr "{text}"'
    )


def test_line_breaks_at_the_ends_must_be_those_of_the_source(tmp_path: Path) -> None:
    path = tmp_path / "a.po"
    path.write_text(r'msgid "A\n"' + '\nmsgstr ""\n')
    written = open_document(path, "en", "fr").write(path, {0: Translation("B")})
    assert "line break" in written.doubts[0].reason
    assert path.read_text().startswith("#, fuzzy\n")


def test_what_the_encoding_lacks_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "a.po"
    content = po('msgid "A"\nmsgstr ""\n\nmsgid "B"\nmsgstr ""\n', "ISO-8859-1").encode()
    path.write_bytes(content)
    written = open_document(path, "en", "fr").write(
        path,
        {
            0: Translation("œuf"),
            1: Translation("é"),
        },
    )
    assert (written.translated, written.doubts) == (1, ())
    assert written.counts.left_out == {
        "the translation has characters that the file's encoding lacks (iso8859-1); convert it to UTF-8": 1
    }
    assert path.read_bytes() == content.replace(b'msgid "B"\nmsgstr ""', b'msgid "B"\nmsgstr "\xe9"')


@pytest.mark.parametrize("text", ["a\0b", "\ud800", ""])
def test_what_no_file_can_hold_is_counted(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.po"
    path.write_text('msgid "A"\nmsgstr ""\n')
    written = open_document(path, "en", "fr").write(path, {0: Translation(text)})
    assert written.translated == 0
    assert sum(written.counts.left_out.values()) == 1
    assert path.read_text() == 'msgid "A"\nmsgstr ""\n'


def test_a_template_in_the_source_language_can_be_translated(tmp_path: Path) -> None:
    path = tmp_path / "a.pot"
    path.write_text(po('msgid "A"\nmsgstr ""\n').replace("Language: fr", "Language: en_US"))
    assert len(open_document(path, "en", "fr").segments) == 1
    with pytest.raises(ValueError, match="Language: 'en_US', got fr"):
        list(read_pairs(path, "en", "fr"))


def test_utf_16_stays_utf_16(tmp_path: Path) -> None:
    path = tmp_path / "a.po"
    body = 'msgid "A"\r\nmsgstr "{}"\r\n'
    path.write_bytes(codecs.BOM_UTF16_BE + body.format("").encode("utf-16-be"))
    open_document(path, "en", "fr").write(path, {0: Translation("é")})
    assert path.read_bytes() == codecs.BOM_UTF16_BE + body.format("é").encode("utf-16-be")


def test_the_table_of_plural_forms_is_sound() -> None:
    codes = [code for codes in RULES.values() for code in codes.split()]
    assert len(codes) == len(set(codes))
    for code in [*codes, "en"]:
        forms = forms_of(code)
        assert read_forms(forms.rule, code) == (forms, "")
        assert (forms.singular is None) == (forms.number == 1)
    assert forms_of("pt-BR").rule == "nplurals=2; plural=(n > 1);"
    assert forms_of("pt").rule == "nplurals=2; plural=(n != 1);"
    assert forms_of("zh-Hant").number == 1
    assert [forms_of(code).singular for code in ("fr", "ar", "lv", "ga")] == [0, 1, 0, 0]
