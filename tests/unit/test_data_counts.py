"""Every line of a file is counted: rows that are used, rows that are left out, and lines that are no row."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import Field

from appkit.data.readers import SUFFIXES, Format, read_table
from appkit.data.report import check
from appkit.data.rows import Read, read
from appkit.errors import DataError
from appkit.task import Row
from tests.unit.test_data import parquet

HEADER = "text\tlabel\n"


class Labelled(Row):
    text: str = Field(min_length=1)
    label: str


def rows_of(path: Path, content: str | bytes) -> Read:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read(str(path), Labelled, {})


def counts(result: Read) -> tuple[int, int, int, int]:
    return result.lines, len(result.records), result.left_out, result.other


# --- every reader adds up -------------------------------------------------------------------------------

TEXT_SUFFIXES = [suffix for suffix in SUFFIXES if suffix != ".parquet"]
PIECES = [
    b'"', b'""', b"\t", b",", b";", b"\n", b"\r", b"\r\n", b"\n\n", b"pos", b"neg", b"A film", b"# text = a O",
    b"Ada\tB-PER\n", b"Ada B-PER\n", b"1\tAda\tB-PER\n", b"-DOCSTART- O\n", b"text,label\n", b"text\tlabel\n", b"\xe9",
    b"\x92", b"\0", b'{"text": "a", "label": "b"}', b'{"text": ', b"[", b"]", b"{}", b"3",
]  # fmt: skip


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(suffix=st.sampled_from(TEXT_SUFFIXES), pieces=st.lists(st.sampled_from(PIECES), max_size=40))
def test_used_left_out_and_other_lines_are_all_lines(
    tmp_path: Path, suffix: str, pieces: list[bytes]
) -> None:
    content = b"".join(pieces)
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(content)
    try:
        table = read_table(str(path), {"text", "label", "tokens", "tags"})
    except DataError:
        return  # the whole file, in one line
    assert table.lines == len(table.rows) + table.lost + table.other
    assert (table.lost > 0) == bool(table.faults)
    if suffix != ".json":
        physical = re.sub(rb"\r\r\n|\r\n|\r", b"\n", content)
        assert table.lines == physical.count(b"\n") + (not physical.endswith(b"\n") and physical != b"")


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    delimiter=st.sampled_from([",", "\t"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    rows=st.lists(
        st.tuples(
            st.lists(st.sampled_from(['"', "\n", "\t", ",", "a", "film", " ", "é"]), min_size=1).map("".join),
            st.sampled_from(["pos", "neg"]),
        ),
        min_size=1,
    ),
)
def test_what_the_csv_module_writes_is_read_or_refused_never_changed(
    tmp_path: Path, delimiter: str, quoting: Any, rows: list[tuple[str, str]]
) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter, quoting=quoting, lineterminator="\n")
    writer.writerows([("text", "label"), *rows])
    path = tmp_path / ("rows.csv" if delimiter == "," else "rows.tsv")
    path.write_text(buffer.getvalue(), encoding="utf-8", newline="")
    table = read_table(str(path), {"text", "label"})
    found = [(cells["text"], cells["label"]) for _, cells in table.rows]
    written = [(text if text.strip() else None, label) for text, label in rows]
    assert found == written or table.faults
    assert all(row in written for row in found)
    assert len(found) + table.lost >= len(rows)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    rows=st.lists(
        st.tuples(
            st.lists(st.sampled_from(['"', '""', " ", "a", "film"]), min_size=1).map("".join),
            st.sampled_from(["pos", "neg"]),
        ),
        min_size=1,
    ),
)
def test_no_line_of_a_tsv_without_quoting_is_swallowed(
    tmp_path: Path, end: str, rows: list[tuple[str, str]]
) -> None:
    path = tmp_path / "rows.tsv"
    # two plain rows say what labels are
    lines = ["text\tlabel", "a\tpos", "b\tneg", "c\tpos", "d\tneg", *map("\t".join, rows)]
    path.write_text(end.join(lines) + end, encoding="utf-8", newline="")
    table = read_table(str(path), {"text", "label"})
    assert [cells["label"] for _, cells in table.rows[4:]] == [label for _, label in rows]
    assert (table.lost, table.other) == (0, 1)


# --- quotes ---------------------------------------------------------------------------------------------


def test_a_quote_that_begins_a_text_of_a_tsv_is_text(tmp_path: Path) -> None:
    content = (
        'Fine\tpos\n"What a waste\tneg\nFine too\tpos\nDull\tneg\nShould have ended"\tpos\nFine again\tpos\n'
    )
    result = rows_of(tmp_path / "a.tsv", HEADER + content)
    assert counts(result) == (7, 6, 0, 1)
    assert [(r.line, r.value.text, r.value.label) for r in result.records][1:5] == [
        (3, '"What a waste', "neg"),
        (4, "Fine too", "pos"),
        (5, "Dull", "neg"),
        (6, 'Should have ended"', "pos"),
    ]
    assert (
        "in 1 rows a quote at the beginning of a cell is read as text (the first: line 3)" in result.notes[0]
    )


def test_a_quote_of_a_tsv_that_never_closes_takes_nothing(tmp_path: Path) -> None:
    result = rows_of(tmp_path / "a.tsv", HEADER + '"a\tpos\n' + "b\tneg\n" * 20)
    assert counts(result) == (22, 21, 0, 1)


def test_a_quoted_cell_of_a_tsv_keeps_its_tabs_and_line_ends(tmp_path: Path) -> None:
    result = rows_of(tmp_path / "a.tsv", HEADER + '"a\tb"\tpos\n"two\nlines"\tneg\n"He said ""no"""\tpos\n')
    assert [r.value.text for r in result.records] == ["a\tb", "two\nlines", 'He said "no"']
    assert counts(result) == (5, 3, 0, 2)
    assert "1 rows are quoted over several lines (the first: lines 3 to 4)" in result.notes[0]


def test_quoted_lines_of_a_tsv_that_may_be_rows_are_refused_where_nothing_decides(tmp_path: Path) -> None:
    result = rows_of(tmp_path / "a.tsv", 'text\tlabel\n"a\tx\nb"\ty\nc\tz\n')
    assert [r.value.text for r in result.records] == ["c"]
    assert counts(result) == (4, 1, 2, 1)
    assert "lines 2 to 3 may be rows of their own; double a quote" in result.faults[0].reason


def test_rows_inside_a_quote_of_a_csv_are_refused(tmp_path: Path) -> None:
    lines = 'text,label\na,pos\nb,neg\nc,pos\nd,neg\n"What a waste,neg\nfine,pos\nended sooner",pos\n'
    result = rows_of(tmp_path / "a.csv", lines)
    assert counts(result) == (8, 4, 3, 1)
    assert "lines 6 to 8 look like rows of their own" in result.faults[0].reason


CLASSES = "a,pos\nb,neg\nc,pos\nd,neg\n"
SWALLOWED = {
    "commas in the texts": 'text,label\n"Well, I said,pos\nbar,neg\nno way,pos\nand, left",neg\nqux,neg\n',
    "commas and classes": f'text,label\n{CLASSES}"Well, I said,pos\nbar,neg\nand, left",neg\n',
    "first line too long": 'text,label\n"foo,pos,extra\nbar,neg\nbaz",pos\n',
    "first line too short": f'text,label\n{CLASSES}"foo\nbar,neg\nbaz",pos\n',
    "classes in front": 'label,text\nx,a\ny,b\nx,c\ny,d\nx,"Well, I said\ny,bar, no\nx,and left"\n',
    "numbers": 'text,label\n"Great,4.5\nbar,3.25\nbaz",1.75\n',
    "formulas": 'text,label\n"Dogs bark,∀x (Dog(x) → Bark(x))\nAnn runs,Runs(ann)\nBob sleeps",Sleeps(bob)\n',
}


@pytest.mark.parametrize("content", SWALLOWED.values(), ids=SWALLOWED)
def test_quoted_lines_of_a_csv_that_may_be_rows_are_refused(tmp_path: Path, content: str) -> None:
    result = rows_of(tmp_path / "a.csv", content)
    (fault,) = result.faults
    lines = content.split("\n")[fault.line - 1 :]
    swallowed = next(at for at, line in enumerate(lines) if '"' in line[1:] and at) + 1
    assert (result.left_out, result.notes) == (swallowed, ())
    assert "rows of their own; double a quote" in fault.reason


@pytest.mark.parametrize("others", ["", CLASSES])
@pytest.mark.parametrize(
    "cell", ["one, two\nthree, four", "one\n\ntwo, pos", "1,000 or so, yes\nfine\nno, never", "a,b\nc"]
)
def test_prose_of_several_lines_in_a_csv_is_a_cell(tmp_path: Path, others: str, cell: str) -> None:
    if cell == "a,b\nc" and not others:
        return  # nothing says that "b" is no label
    result = rows_of(tmp_path / "a.csv", f'text,label\n{others}"{cell}",pos\n')
    assert result.records[-1].value.text == cell
    assert not result.faults
    (tmp_path / "b.csv").write_text(f'text\n"{cell}"\n', encoding="utf-8")
    assert [cells["text"] for _, cells in read_table(str(tmp_path / "b.csv"), {"text"}).rows] == [cell]


@pytest.mark.parametrize(
    "content",
    [
        'text\tlabel\tby\n"foo\tpos\nbar\tneg\tx\ngood\tneg\ty\nbaz"\ty\tneg\n',
        'text\tlabel\n"foo\nbar\tneg\nok\tpos\nbaz"\tneg\n',
        'text\tlabel\n"foo\tpos\nbar\tneg\nok\nbaz"\tneg\n',
    ],
)
def test_whole_rows_inside_a_quote_of_a_tsv_are_refused(tmp_path: Path, content: str) -> None:
    result = rows_of(tmp_path / "a.tsv", content)
    assert counts(result) == (5, 0, 4, 1)
    assert "lines 2 to 5 may be rows of their own" in result.faults[0].reason


def test_all_lines_behind_an_open_quote_of_a_csv_are_left_out(tmp_path: Path) -> None:
    result = rows_of(tmp_path / "a.csv", 'text,label\na,pos\n"b,neg\n' + "c,pos\n" * 17)
    assert counts(result) == (20, 1, 18, 1)


def test_a_broken_quote_of_a_csv_tells_the_lines_it_took(tmp_path: Path) -> None:
    result = rows_of(tmp_path / "a.csv", 'text,label\n"a,pos\nb "no" c,neg\nd,pos\n')
    assert counts(result) == (4, 1, 2, 1)
    assert result.faults[0].reason.endswith("(lines 2 to 3)")


# --- counts of the others -------------------------------------------------------------------------------


def test_faults_on_one_line_of_a_json_array_are_as_many_rows(tmp_path: Path) -> None:
    result = rows_of(tmp_path / "a.json", '[{"text": "a", "label": "b"}, 3, 4, {"text": ""}]')
    assert counts(result) == (4, 1, 3, 0)


def test_a_row_with_two_faults_is_left_out_once(tmp_path: Path) -> None:
    result = rows_of(tmp_path / "a.jsonl", '{"text": "", "label": 3}\n\n{"text": "a", "label": "b"}\n')
    assert (counts(result), len(result.faults)) == ((3, 1, 1, 1), 2)


def test_a_sentence_with_two_broken_lines_is_left_out_once(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text("# one\na O\nb\nc\n\nd O\ne O\n", encoding="utf-8")
    table = read_table(str(path), {"tokens", "tags"})
    assert (table.lines, len(table.rows), table.lost, table.other, len(table.faults)) == (7, 1, 1, 5, 2)


def test_parquet_rows_add_up(tmp_path: Path) -> None:
    source = parquet(tmp_path / "a.parquet", [{"text": "a", "label": "x"}, {"text": None, "label": "x"}])
    assert counts(read(source, Labelled, {})) == (2, 1, 1, 0)


def test_the_report_says_what_the_lines_are(tmp_path: Path) -> None:
    from appkit_tasks.classification import TASK

    path = tmp_path / "a.csv"
    path.write_text('text,label\na,x\n"b\nc",y\n,x\n', encoding="utf-8")
    result = read(str(path), TASK.row, {})
    lines = check({"train": result}, TASK).lines()
    assert (
        "train: 5 lines are 2 rows, 1 left out and 2 without a row of their own (header, blank, comment, or further "
        "line of a row)" in lines
    )
    assert any("1 rows are quoted over several lines" in line for line in lines)


# --- line ends, packing, encodings, delimiters ----------------------------------------------------------

FILES = {
    ".jsonl": ['{"text": "a", "label": "x"}', '{"text": "b", "label": "y"}'],
    ".json": ["[", '{"text": "a", "label": "x"},', '{"text": "b", "label": "y"}', "]"],
    ".csv": ["text,label", "a,x", "b,y"],
    ".tsv": ["text\tlabel", "a\tx", "b\ty"],
}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"])
@pytest.mark.parametrize("suffix", FILES)
def test_lines_end_as_they_like(tmp_path: Path, suffix: str, end: str) -> None:
    lines = FILES[suffix]
    result = rows_of(tmp_path / f"a{suffix}", end.join(lines) + end)
    assert [(r.value.text, r.value.label) for r in result.records] == [("a", "x"), ("b", "y")]
    assert not result.faults
    if suffix != ".json":  # whose \r\r\n are blank lines between elements
        assert result.records[-1].line == len(lines)


@pytest.mark.parametrize("suffix", FILES)
def test_packed_files_are_read_by_name_and_told_by_content(tmp_path: Path, suffix: str) -> None:
    packed = gzip.compress("\n".join(FILES[suffix]).encode())
    assert len(rows_of(tmp_path / f"a{suffix}.gz", packed).records) == 2
    with pytest.raises(DataError, match=rf"is packed with gzip; name it a{suffix}.gz"):
        rows_of(tmp_path / f"a{suffix}", packed)
    with pytest.raises(DataError, match="is not a sound gzip file"):
        rows_of(tmp_path / f"b{suffix}.gz", packed[:-6])


@pytest.mark.parametrize(
    ("first", "message"),
    [
        (b"PK\x03\x04", "zip archive, as Excel"),
        (b"BZh9", "bunzip2"),
        (b"\xfd7zXZ", "unxz"),
        (b"PAR1", "Parquet"),
    ],
)
def test_other_binary_files_are_told(tmp_path: Path, first: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        rows_of(tmp_path / "a.csv", first + b"\n\n")


WINDOWS = "text,label\nIt’s “great” 5 €,pos\ncafé,neg\n"


def test_windows_1252_is_a_guess_that_shows_its_word(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    faults = rows_of(path, WINDOWS.encode("cp1252")).faults
    for fault, byte, word in zip(faults, ("0x92", "0xe9"), ("It’s", "café"), strict=True):
        guess = f"perhaps Windows-1252, which reads {word!r}; if that is the word: data.encoding=cp1252"
        assert fault.reason.endswith(f"{byte} is not UTF-8 ({guess})")
    result = read(str(path), Labelled, {}, form=Format(encoding="cp1252"))
    assert [r.value.text for r in result.records] == ["It’s “great” 5 €", "café"]


@pytest.mark.parametrize(
    ("word", "encoding", "shown"),
    [
        ("Привет", "cp1251", "perhaps Windows-1252, which reads 'Ïðèâåò'; if that is the word"),
        ("你好世界", "gbk", "perhaps Windows-1252, which reads 'ÄãºÃÊÀ½ç'; if that is the word"),
        ("“x”", "mac-roman", "perhaps Windows-1252, which reads 'ÒxÓ'; if that is the word"),
        ("üben", "cp850", "(name the encoding that wrote it: data.encoding=)"),  # cp1252 has no 0x81
    ],
)
def test_a_guess_at_other_encodings_shows_what_it_makes_of_them(
    tmp_path: Path, word: str, encoding: str, shown: str
) -> None:
    result = rows_of(tmp_path / "a.csv", f"text,label\n{word},pos\n".encode(encoding))
    assert shown in result.faults[0].reason


def test_the_encoding_that_failed_is_not_advised(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"text,label\n\x81ber,pos\n")
    result = read(str(tmp_path / "a.csv"), Labelled, {}, form=Format(encoding="cp1252"))
    assert result.faults[0].reason.endswith(
        "0x81 is not cp1252 (name the encoding that wrote it: data.encoding=)"
    )


def test_windows_1252_read_as_latin_1_does_not_corrupt_silently(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(WINDOWS.encode("cp1252"))
    latin = read(str(path), Labelled, {}, form=Format(encoding="latin-1"))
    guess = "perhaps Windows-1252, which reads 'It’s'; if that is the word: data.encoding=cp1252"
    assert latin.faults[0].reason.endswith(f"0x92 is a control character in iso8859-1 ({guess})")


ONE_BYTE = [
    "cp1252",
    "latin-1",
    "mac-roman",
    "koi8-r",
    "cp437",
    "cp850",
    "cp866",
    "hp-roman8",
    "kz1048",
    "ptcp154",
]


@pytest.mark.parametrize("encoding", ONE_BYTE)
def test_utf_8_under_an_encoding_that_reads_any_byte_is_a_fault(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"text,label\nplain,neg\n" + "café déjà,pos\n".encode())
    (fault,) = read(str(path), Labelled, {}, form=Format(encoding=encoding)).faults
    assert fault.line == 3
    assert "begins a character of UTF-8, not of" in fault.reason


@pytest.mark.parametrize(
    ("encoding", "word"),
    [("koi8-r", "Привет"), ("cp866", "Привет"), ("mac-roman", "“déjà”"), ("cp850", "déjà")],
)
def test_an_encoding_that_reads_any_byte_reads_its_own(tmp_path: Path, encoding: str, word: str) -> None:
    (tmp_path / "a.csv").write_bytes(f"text,label\n{word},pos\n".encode(encoding))
    result = read(str(tmp_path / "a.csv"), Labelled, {}, form=Format(encoding=encoding))
    assert [r.value.text for r in result.records] == [word]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-8-sig", "shift_jis", "gb18030"])
@pytest.mark.parametrize("suffix", FILES)
def test_other_encodings(tmp_path: Path, suffix: str, encoding: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(
        "\r\n".join(FILES[suffix]).replace("a", "日本").replace("l日本bel", "label").encode(encoding)
    )
    result = read(str(path), Labelled, {}, form=Format(encoding=encoding))
    assert [r.value.text for r in result.records] == ["日本", "b"]


def test_a_wrong_encoding_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"text,label\na,b\n")
    with pytest.raises(DataError, match=r"utf-16.*name its encoding: data\.encoding="):
        read(str(path), Labelled, {}, form=Format(encoding="utf-16"))


@pytest.mark.parametrize(
    ("sign", "word"), [(";", r"'data\.delimiter=;'"), ("|", r"'data\.delimiter=\|'"), ("\t", "tab")]
)
def test_another_delimiter_is_named_and_read_on_demand(tmp_path: Path, sign: str, word: str) -> None:
    path = tmp_path / "a.csv"
    content = f"text{sign}label\ngood, really{sign}x\nbad{sign}y\n"
    with pytest.raises(DataError, match=rf"separates its cells by .*, not by ','.*{word}"):
        rows_of(path, content)
    result = read(str(path), Labelled, {}, form=Format(delimiter=sign))
    assert [r.value.text for r in result.records] == ["good, really", "bad"]


@pytest.mark.parametrize(
    ("sign", "word"), [(";", "'data.delimiter=;'"), ("|", "'data.delimiter=|'"), ("\t", "=tab")]
)
def test_another_delimiter_between_quoted_names_is_named(tmp_path: Path, sign: str, word: str) -> None:
    content = f'"text"{sign}"label"\n"good, really"{sign}"x"\n'
    with pytest.raises(DataError, match=rf"separates its cells by .*, not by ','.*{re.escape(word)}"):
        rows_of(tmp_path / "a.csv", content)
    assert len(read(str(tmp_path / "a.csv"), Labelled, {}, form=Format(delimiter=sign)).records) == 1


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "sep=;\r"])
def test_the_line_of_excel_that_names_the_delimiter_is_told(tmp_path: Path, first: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"{first}\ntext;label\na;x\n", encoding="utf-8", newline="")
    for delimiter in (None, ";"):
        with pytest.raises(
            DataError, match=r"Excel's line .*sep=;.*; delete that line.*: 'data\.delimiter=;'$"
        ):
            read(str(path), Labelled, {}, form=Format(delimiter=delimiter))


def test_a_tsv_with_commas_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"not by tab.*'data.delimiter=,'"):
        rows_of(tmp_path / "a.tsv", "text,label\na,b\n")


# --- columns and shapes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "csv", "json"])
def test_blanks_around_a_columns_name_do_not_count(tmp_path: Path, suffix: str) -> None:
    rows = [{"text ": "a", " label": "x"}, {"text ": "b", " label": "y"}]
    path = tmp_path / f"a.{suffix}"
    if suffix == "parquet":
        parquet(path, rows)
    else:
        content = {
            "jsonl": "\n".join(map(json.dumps, rows)),
            "json": json.dumps(rows),
            "csv": "text , label\na,x\nb,y\n",
        }
        path.write_text(content[suffix], encoding="utf-8")
    for columns in ({}, {"text": "text "}, {"label": "label"}):
        assert [r.value.text for r in read(str(path), Labelled, columns).records] == ["a", "b"]


def test_two_fields_are_not_read_from_one_column(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("text,label\na,x\n")
    for columns in ({"text": "label"}, {"label": "text"}, {"label": " text "}):
        with pytest.raises(
            DataError, match=r"would both be read from column '(text|label)'; name another one"
        ):
            read(str(file), Labelled, columns)
    (record,) = read(str(file), Labelled, {"text": "label", "label": "text"}).records
    assert (record.value.text, record.value.label) == ("x", "a")


def test_columns_that_differ_by_blanks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'text' and 'text ', which differ by blanks alone"):
        rows_of(tmp_path / "a.jsonl", '{"text": "a", "label": "x"}\n{"text ": "b", "label": "x"}\n')


def test_nested_json_is_told_with_the_way_out(tmp_path: Path) -> None:
    squad = {"version": "2", "data": [{"title": "t", "paragraphs": [{"context": "c", "qas": []}]}]}
    for suffix in ("json", "jsonl"):
        with pytest.raises(DataError, match=r"SQuAD's nested JSON .*jq -c '\.data\[\]\.paragraphs"):
            rows_of(tmp_path / f"a.{suffix}", json.dumps(squad))
        with pytest.raises(DataError, match=r"holds a list under 'rows', not rows; .*jq -c '\.rows\[\]'"):
            rows_of(tmp_path / f"b.{suffix}", json.dumps({"rows": [{"text": "a", "label": "b"}]}))
