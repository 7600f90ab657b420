"""Files of inputs are read by the readers of the training rows: the same formats, columns and mapping."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from appkit.bundles.specialist import input_row
from appkit.cli.inputs import column_words, is_data_file, read_inputs, read_rows
from appkit.errors import AppkitError, ConfigError
from appkit.plugins import load_task

ROWS = [{"text": 'She said "no", twice.', "label": "a"}, {"text": "Two\nlines", "label": "b"}]
FIELDS = {"text": True, "pair": False}


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
    inputs = read_rows(file, FIELDS, {})
    assert [row["text"] for row in inputs.values] == [row["text"] for row in ROWS]
    assert len(inputs.places) == len(ROWS)
    assert inputs.places[0].startswith(str(file))
    write(file, [{"body": row["text"], "text": "-"} for row in ROWS])
    for named, learned in (
        ({"text": "body"}, {}),
        ({}, {"text": "body"}),
        ({"text": "body"}, {"text": "no"}),
    ):
        inputs = read_rows(file, FIELDS, named, learned)
        assert [row["text"] for row in inputs.values] == [row["text"] for row in ROWS]


def test_the_columns_of_the_training_count_where_the_file_has_them(tmp_path: Path) -> None:
    write_csv(tmp_path / "rows.csv", ROWS)
    inputs = read_rows(tmp_path / "rows.csv", FIELDS, {}, {"text": "body"})
    assert [row["text"] for row in inputs.values] == [row["text"] for row in ROWS]
    for named, learned in (({"text": "body"}, {}), ({"pair": "second"}, {})):
        with pytest.raises(AppkitError) as caught:
            read_rows(tmp_path / "rows.csv", FIELDS, named, learned)
        (field, column), *_ = named.items()
        assert str(caught.value) == (
            f"'{tmp_path / 'rows.csv'}' has no column '{column}'; it has 'text', 'label'; "
            f"name it: data.columns.{field}=<column>"
        )
    with pytest.raises(ConfigError, match=r"no field 'txt' for data.columns.txt; did you mean 'text'"):
        read_rows(tmp_path / "rows.csv", FIELDS, {"txt": "body"})


def test_conll_gives_tokens(tmp_path: Path) -> None:
    file = tmp_path / "a.conll"
    file.write_text("Ada B-person\nsleeps O\n\nIn O\nRome B-city\n", encoding="utf-8")
    task = load_task("ner")
    fields = {name: False for name in task.row.model_fields if name != task.output}
    rows = [input_row(task, row) for row in read_rows(file, fields, {}).values]
    assert [row.text for row in rows] == ["Ada sleeps", "In Rome"]


def test_a_broken_row_is_one_line_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": "a"}\nplain\n{"text"', encoding="utf-8")
    with pytest.raises(AppkitError) as caught:
        read_rows(file, FIELDS, {})
    assert str(caught.value).startswith(f"{file}:2: row is broken JSON")
    assert str(caught.value).endswith("; and 1 more; correct the file")


def test_other_files_hold_a_text_a_line(tmp_path: Path) -> None:
    for name in ("a.txt", "a", "a.md"):
        file = tmp_path / name
        file.write_bytes(b"\xef\xbb\xbfOne, two\rThree\r\n\r\n4\n")
        assert not is_data_file(file)
        assert read_inputs(None, file).values == ["One, two", "Three", "4"]
        assert read_inputs(None, file).places == [f"{file}:{line}" for line in (1, 2, 4)]


def test_words_name_columns() -> None:
    assert column_words(["a", "data.columns.text=no", "data.columns.pair=a b"]) == (
        {"text": "no", "pair": "a b"},
        ["a"],
    )
    with pytest.raises(ConfigError, match="is empty"):
        column_words(["data.columns.text="])
