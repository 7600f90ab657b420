"""Tables are read and written with the bytes of untranslated records kept."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from appkit_tasks.translation.formats import Translation
from appkit_tasks.translation.tables import open_table
from hypothesis import given, settings
from hypothesis import strategies as st

CELLS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=8)


def rewritten(path: Path, translations: dict[int, str]) -> str:
    document = open_table(path, "en", "fr")
    document.write(path, {index: Translation(text) for index, text in translations.items()})
    return path.read_bytes().decode("utf-8-sig")


def test_a_target_is_filled_and_other_records_keep_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(
        b'\xef\xbb\xbfid,Target,source,context\r\n1,,"Save, then\r\nclose",menu\r\n2,Fermer,  Close,\r\n3,,Open\r\n'
    )
    document = open_table(path, "en", "fr")
    assert [(one.place, one.source, one.state, one.context) for one in document.segments] == [
        ("line 2", "Save, then\r\nclose", "untranslated", "menu"),
        ("line 4", "  Close", "translated", ""),
        ("line 5", "Open", "untranslated", ""),
    ]
    assert rewritten(path, {0: 'Dit "oui",\nfin', 2: "Ouvrir"}) == (
        'id,Target,source,context\r\n"1","Dit ""oui"",\nfin","Save, then\r\nclose","menu"\r\n'
        '2,Fermer,  Close,\r\n"3","Ouvrir","Open"\r\n'
    )


def test_a_column_is_added_where_there_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("source\tnote\nSave\tx\n\nClose\n\tonly a note\nOpen\ty", encoding="utf-8", newline="")
    assert open_table(path, "en", "fr").counts.left_out == {"the source is empty": 1}
    assert rewritten(path, {0: "Enregistrer"}) == (
        'source\tnote\ttarget\n"Save"\t"x"\t"Enregistrer"\n\nClose\t\t\n\tonly a note\t\nOpen\ty\t'
    )


@pytest.mark.parametrize("target", ["=1+1", " +SUM(A1)", "＝1", "-cmd", "−1", "@x"])
def test_a_translation_that_begins_a_formula_is_not_written(tmp_path: Path, target: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text("source,target\nOne,\n- One,\n=A,\n")
    document = open_table(path, "en", "fr")
    written = document.write(path, {0: Translation(target), 1: Translation("- Un"), 2: Translation("=A")})
    assert written.translated == 2
    ((reason, count),) = written.counts.left_out.items()
    assert (count, "as a formula of a spreadsheet does" in reason) == (1, True)
    assert path.read_text() == 'source,target\nOne,\n"- One","- Un"\n"=A","=A"\n'


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "needs a column named source, it is empty"),
        (b"text,target\na,b\n", "it has 'text, target'"),
        (b"source,Source\na,b\n", "two columns named source"),
        (b"source,target\nHello, my card,x\n", "line 2 has 3 cells where the header has 2"),
        (b'source\n"open\n', "line 2 is no record of a table"),
        (b'source\n"a"b\n', "line 2 is no record of a table"),
        (b"source\n" + b"x" * 140_000 + b"\n", "line 2 is no record of a table"),
        ("source\nñandú\n".encode("latin-1"), "it is not utf-8 at byte 7, line 2"),
        (b"PK\x03\x04\xff\xfe", "it is not utf-8"),
        (b"source\na\0b\n", "is it a table"),
    ],
)
def test_what_is_no_such_table_is_told(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(ValueError, match=reason) as error:
        open_table(tmp_path / "a.csv", "en", "fr")
    assert "\n" not in str(error.value)


def records(data: bytes, delimiter: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(), newline=""), delimiter=delimiter))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(CELLS, CELLS), max_size=6),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.dictionaries(st.integers(0, 5), CELLS.filter(str.strip), max_size=4),
)
def test_what_is_written_reads_as_it_was_with_the_translations_in_it(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str]],
    delimiter: str,
    line_end: str,
    quoting: int,
    translations: dict[int, str],
) -> None:
    path = tmp_path_factory.mktemp("table") / "a.csv"
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=line_end, quoting=quoting)
    writer.writerows([("note", "source"), *rows])
    path.write_bytes(text.getvalue().encode())
    document = open_table(path, "en", "fr")
    written = {place: text for place, text in translations.items() if place < len(document.segments)}
    before = path.read_bytes()
    report = document.write(path, {place: Translation(text) for place, text in written.items()})
    if not report.translated:
        assert path.read_bytes() == before
        return
    after = open_table(path, "en", "fr")
    assert [segment.source for segment in after.segments] == [segment.source for segment in document.segments]
    targets = [segment.target for segment in after.segments]
    assert sum(map(bool, targets)) == report.translated
    assert {place: text for place, text in enumerate(targets) if text}.items() <= written.items()
    # a record that was short of cells gets empty ones before the new
    expected = [[*cells, ""][:2] if cells else [] for cells in records(before, delimiter)]
    assert [cells[:2] for cells in records(path.read_bytes(), delimiter)] == expected
