"""Files of inputs are read by the readers of the training rows: the same formats, columns and mapping."""

import gzip
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from appkit.bundles.specialist import input_row
from appkit.cli.inputs import FileWords, file_words, is_data_file, read_inputs, read_rows
from appkit.data.tables import Format
from appkit.errors import AppkitError, ConfigError, DataError
from appkit.plugins import load_task

ROWS = [{"text": 'She said "no", twice.', "label": "a"}, {"text": "Two\nlines", "label": "b"}]
FIELDS = {"text": True, "pair": False}


def naming(**columns: str) -> FileWords:
    return FileWords(columns, Format())


def write_csv(path: Path, rows: list[dict[str, str]]) -> None:
    import csv

    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(path: Path, rows: list[dict[str, str]]) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def write_jsonl(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_json(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text(json.dumps(rows, indent=1), encoding="utf-8")


WRITERS = {
    "csv": write_csv,
    "tsv": write_csv,
    "json": write_json,
    "jsonl": write_jsonl,
    "ndjson": write_jsonl,
    "parquet": write_parquet,
}


@pytest.mark.parametrize(("suffix", "write"), WRITERS.items(), ids=list(WRITERS))
def test_every_format_gives_the_same_rows(
    suffix: str, write: Callable[[Path, list[dict[str, str]]], None], tmp_path: Path
) -> None:
    file = tmp_path / f"rows.{suffix}"
    write(file, ROWS)
    assert is_data_file(file)
    inputs = read_rows(file, FIELDS, naming())
    assert [row["text"] for row in inputs.values] == [row["text"] for row in ROWS]
    assert len(inputs.places) == len(ROWS)
    assert inputs.places[0].startswith(str(file))
    write(file, [{"body": row["text"], "text": "-"} for row in ROWS])
    for named, learned in (
        ({"text": "body"}, {}),
        ({}, {"text": "body"}),
        ({"text": "body"}, {"text": "no"}),
    ):
        inputs = read_rows(file, FIELDS, naming(**named), learned)
        assert [row["text"] for row in inputs.values] == [row["text"] for row in ROWS]


def test_the_columns_of_the_training_count_where_the_file_has_them(tmp_path: Path) -> None:
    write_csv(tmp_path / "rows.csv", ROWS)
    inputs = read_rows(tmp_path / "rows.csv", FIELDS, naming(), {"text": "body"})
    assert [row["text"] for row in inputs.values] == [row["text"] for row in ROWS]
    for named, learned in (({"text": "body"}, {}), ({"pair": "second"}, {})):
        with pytest.raises(AppkitError) as caught:
            read_rows(tmp_path / "rows.csv", FIELDS, naming(**named), learned)
        (field, column), *_ = named.items()
        assert str(caught.value) == (
            f"'{tmp_path / 'rows.csv'}' has no column '{column}'; it has 'text', 'label'; "
            f"name it: data.columns.{field}=<column>"
        )
    with pytest.raises(ConfigError, match=r"no field 'txt' for data.columns.txt; did you mean 'text'"):
        read_rows(tmp_path / "rows.csv", FIELDS, naming(txt="body"))


def test_conll_gives_tokens(tmp_path: Path) -> None:
    file = tmp_path / "a.conll"
    file.write_text("Ada B-person\nsleeps O\n\nIn O\nRome B-city\n", encoding="utf-8")
    task = load_task("ner")
    fields = {name: False for name in task.row.model_fields if name != task.output}
    rows = [input_row(task, row) for row in read_rows(file, fields, naming()).values]
    assert [row.text for row in rows] == ["Ada sleeps", "In Rome"]


def test_a_broken_row_is_one_line_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": "a"}\nplain\n{"text"', encoding="utf-8")
    with pytest.raises(AppkitError) as caught:
        read_rows(file, FIELDS, naming())
    assert str(caught.value).startswith(f"{file}:2: row is broken JSON")
    assert str(caught.value).endswith("; and 1 more; correct the file")


def test_a_key_that_comes_twice_is_one_line_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b'{"text": "a"}\n{"text": "b", "text": "c"}\n'
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(AppkitError, match=r"a\.jsonl:2: row has the key 'text' twice"):
        read_rows(tmp_path / "a.jsonl", FIELDS, naming())
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content), isatty=lambda: False))
    with pytest.raises(AppkitError, match=r"stdin:2: row has the key 'text' twice; got .*; keep one"):
        read_inputs(None, None)


def test_other_files_hold_a_text_a_line(tmp_path: Path) -> None:
    for name in ("a.txt", "a", "a.md"):
        file = tmp_path / name
        file.write_bytes(b"\xef\xbb\xbfOne, two\rThree\r\n\r\n4\n")
        assert not is_data_file(file)
        assert read_inputs(None, file).values == ["One, two", "Three", "4"]
        assert read_inputs(None, file).places == [f"{file}:{line}" for line in (1, 2, 4)]


def test_words_say_how_a_file_is_read() -> None:
    about, others = file_words(["a", "data.columns.text=no", "data.columns.pair=a b", "data.delimiter=tab"])
    assert (about, others) == (FileWords({"text": "no", "pair": "a b"}, Format(None, "\t")), ["a"])
    assert file_words(["b", "data.encoding=cp1252"]) == (FileWords({}, Format("cp1252")), ["b"])
    for word, line in (
        ("data.columns.text=", "is empty"),
        ("data.encoding=cp9999", "must be a text encoding"),
        ("data.delimiter=ab", "must be one sign"),
    ):
        with pytest.raises(ConfigError, match=line):
            file_words([word])


@pytest.mark.parametrize(
    ("words", "file", "line"),
    [
        (["data.columns.text=t"], None, "data.columns names columns of a data file"),
        (["data.columns.text=t"], "a.txt", "data.columns names columns of a data file"),
        (["data.delimiter=;"], "a.txt", "data.delimiter says how a data file is written"),
        (["data.delimiter=;", "a sentence"], "a.csv", "data.delimiter says how a data file is written"),
        (["data.encoding=cp1252", "a sentence"], None, "data.encoding says how a file is written"),
    ],
)
def test_a_word_about_a_file_that_is_not_read_is_refused(
    words: list[str], file: str | None, line: str
) -> None:
    about, sentences = file_words(words)
    with pytest.raises(ConfigError, match=line):
        about.check(file and Path(file), sentences)


QUOTED = "Das war „schlecht“, 5 €"
"""a text whose signs UTF-8 and Windows-1252 write differently"""


def test_a_data_file_of_another_encoding_and_delimiter(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_bytes(f"text;label\n{QUOTED};bad\n".encode("cp1252"))
    about, _ = file_words(["data.encoding=cp1252", "data.delimiter=;"])
    assert read_rows(file, FIELDS, about).values == [{"text": QUOTED, "label": "bad"}]
    with pytest.raises(DataError, match=r"data\.encoding=cp1252"):
        read_rows(file, FIELDS, FileWords({}, Format(None, ";")))
    file.write_bytes(b"text;label\nfine;good\n")
    with pytest.raises(DataError, match=r"'data.delimiter=;'"):
        read_rows(file, FIELDS, naming())


@pytest.mark.parametrize("name", ["rows.csv.gz", "ROWS.CSV.GZ", "rows.jsonl.gz"])
def test_a_packed_data_file_is_one(name: str, tmp_path: Path) -> None:
    plain = tmp_path / name.lower().removesuffix(".gz")
    (write_csv if plain.suffix == ".csv" else write_jsonl)(plain, ROWS)
    (tmp_path / name).write_bytes(gzip.compress(plain.read_bytes()))
    assert is_data_file(tmp_path / name)
    assert [row["text"] for row in read_rows(tmp_path / name, FIELDS, naming()).values] == [
        r["text"] for r in ROWS
    ]


def test_a_text_file_and_stdin_of_another_encoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = f"Fine.\n{QUOTED}\n".encode("cp1252")
    (tmp_path / "a.txt").write_bytes(content)
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(content))
    for file in (tmp_path / "a.txt", tmp_path / "a.txt.gz", None):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content), isatty=lambda: False))
        assert read_inputs(None, file, Format("cp1252")).values == ["Fine.", QUOTED]
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content), isatty=lambda: False))
        with pytest.raises(DataError) as caught:
            read_inputs(None, file)
        line = f"{file or 'stdin'}:2: row byte 9 of the line 0x84 is not UTF-8 (perhaps Windows-1252, which reads '„sch"
        assert str(caught.value).startswith(line)
    (tmp_path / "b.txt").write_bytes("Fine.\n".encode("utf-16"))
    with pytest.raises(DataError, match=r"data\.encoding=utf-16"):
        read_inputs(None, tmp_path / "b.txt")
    assert read_inputs(None, tmp_path / "b.txt", Format("utf-16")).values == ["Fine."]


def test_what_was_decided_while_reading_is_noted(tmp_path: Path) -> None:
    write_csv(tmp_path / "rows.csv", ROWS)
    (note,) = read_rows(tmp_path / "rows.csv", FIELDS, naming()).notes
    assert note.endswith("1 rows are quoted over several lines (the first: lines 3 to 4)")


def test_blanks_around_a_column_do_not_count_as_in_training(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"text ": "a", " pair": "b"}) + "\n")
    read = read_rows(file, FIELDS, naming())
    assert [{name: value[name] for name in FIELDS} for value in read.values] == [{"text": "a", "pair": "b"}]
