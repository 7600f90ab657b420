"""Reading: every format gives the same rows, and every way a row can be broken is a fault with its place."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import Field

from appkit.cli.inputs import read_inputs
from appkit.data.rows import Read, fingerprint, read
from appkit.errors import ConfigError, DataError
from appkit.task import Row


class Sentence(Row):
    sentence: str = Field(min_length=1)
    formula: str = ""
    depth: int = 0


ROWS = [
    {"sentence": "Alle Vögel fliegen.", "formula": "∀x (Bird(x) → Fly(x))", "depth": 1},
    {"sentence": 'He said "no", twice.', "formula": "Said(he, no)", "depth": 2},
    {"sentence": "Two\nlines", "formula": "P", "depth": 0},
]


def jsonl(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def cells(path: Path, rows: list[dict[str, Any]], delimiter: str = ",") -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def parquet(path: Path, rows: list[dict[str, Any]]) -> str:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return str(path)


def text(path: Path, content: str | bytes) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def one_fault(result: Read) -> tuple[int, str | None, str]:
    assert len(result.faults) == 1, [str(fault) for fault in result.faults]
    fault = result.faults[0]
    return fault.line, fault.field, fault.reason


def good(sentence: str = "a") -> str:
    return json.dumps({"sentence": sentence}) + "\n"


# --- formats --------------------------------------------------------------------------------------------


def test_every_format_gives_the_same_digests(tmp_path: Path) -> None:
    array = text(tmp_path / "rows.json", json.dumps(ROWS, indent=1))
    sources = [
        jsonl(tmp_path / "rows.jsonl", ROWS),
        jsonl(tmp_path / "rows.NDJSON", ROWS),
        array,
        cells(tmp_path / "rows.csv", ROWS),
        cells(tmp_path / "rows.tsv", ROWS, "\t"),
        parquet(tmp_path / "rows.parquet", ROWS),
    ]
    reads = [read(source, Sentence, {}) for source in sources]
    digests = [[record.digest for record in result.records] for result in reads]
    assert len(set(digests[0])) == 3
    assert all(other == digests[0] for other in digests)
    assert not [fault for result in reads for fault in result.faults]


def test_digest_is_of_content_not_of_its_spelling(tmp_path: Path) -> None:
    plain = read(jsonl(tmp_path / "a.jsonl", ROWS), Sentence, {})
    # column names, key order, unknown columns, Unicode composition, a BOM, CRLF, blank lines: none counts
    decomposed = [
        {"id": 7, "FOL": row["formula"], "depth": row["depth"], "NL": row["sentence"]} for row in ROWS
    ]
    decomposed[0]["NL"] = "Alle Vo\u0308gel fliegen."
    other = "\ufeff" + "\r\n\r\n".join(json.dumps(row) for row in reversed(decomposed))
    mapped = read(text(tmp_path / "b.jsonl", other), Sentence, {"sentence": "NL", "formula": "FOL"})
    assert [r.digest for r in mapped.records] == [r.digest for r in reversed(plain.records)]
    assert [r.line for r in mapped.records] == [1, 3, 5]
    assert fingerprint(mapped.records) == fingerprint(plain.records)
    assert fingerprint(plain.records[:2]) != fingerprint(plain.records)
    assert fingerprint([*plain.records, plain.records[0]]) != fingerprint(plain.records)


def test_lines_of_a_csv_are_physical(tmp_path: Path) -> None:
    source = text(tmp_path / "a.csv", '\ufeffsentence,formula\r\n"a\r\nb\r\nc",P\r\n\r\nd,Q\r\ne\r\n')
    result = read(source, Sentence, {})
    assert [(r.line, r.value.sentence) for r in result.records] == [(2, "a\r\nb\r\nc"), (6, "d")]
    assert one_fault(result) == (7, None, "has 1 cells, the header has 2")
    assert str(result.faults[0]).startswith(f"{source}:7: ")


def test_lines_of_a_json_array_are_where_elements_begin(tmp_path: Path) -> None:
    source = text(
        tmp_path / "a.json", '[\n {"sentence":\n "a"}, {"sentence": "b"},\n 3,\n {"sentence": "c"}\n]\n'
    )
    result = read(source, Sentence, {})
    assert [r.line for r in result.records] == [2, 3, 5]
    assert one_fault(result) == (4, None, "is not a JSON object {...}")


def test_parquet_counts_rows(tmp_path: Path) -> None:
    source = parquet(tmp_path / "a.parquet", [{"sentence": "a"}, {"sentence": None}, {"sentence": "c"}])
    result = read(source, Sentence, {})
    assert str(result.faults[0]) == f"{source} row 2: sentence is empty; got None"
    assert result.records[1].place == f"{source} row 3"


def test_parquet_with_bytes_that_are_not_utf8_loses_one_row(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    column = pyarrow.array([b"a", b"caf\xe9", b"c"]).view(pyarrow.string())
    pyarrow.parquet.write_table(pyarrow.table({"sentence": column}), tmp_path / "a.parquet")
    result = read(str(tmp_path / "a.parquet"), Sentence, {})
    assert [r.line for r in result.records] == [1, 3]
    assert one_fault(result) == (2, None, "byte 4 of a cell is not UTF-8")


def test_null_means_the_default(tmp_path: Path) -> None:
    rows = [{"sentence": "a", "formula": None, "depth": None}]
    sources = [jsonl(tmp_path / "a.jsonl", rows), cells(tmp_path / "a.csv", rows)]
    values = [read(source, Sentence, {}).records[0].value for source in sources]
    assert values == [Sentence(sentence="a")] * 2


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "tsv", "parquet"])
def test_a_sentence_of_a_megabyte(tmp_path: Path, suffix: str) -> None:
    rows = [
        {"sentence": "wörd " * 200_000 + "end", "depth": "x"},
        {"sentence": "wörd " * 200_000, "depth": "1"},
    ]
    path = tmp_path / f"a.{suffix}"
    limit = csv.field_size_limit()
    if suffix == "parquet":
        parquet(path, rows)
    elif suffix == "json":
        text(path, json.dumps(rows))
    elif suffix == "jsonl":
        jsonl(path, rows)
    else:
        cells(path, rows, "," if suffix == "csv" else "\t")
    result = read(str(path), Sentence, {})
    assert [len(r.value.sentence) for r in result.records] == [999_999]
    assert result.faults[0].reason == "must be a whole number"
    assert csv.field_size_limit() == limit
    text(path.with_suffix(".jsonl"), json.dumps(rows[0])[:-1] + "\n" + good())
    broken = read(str(path.with_suffix(".jsonl")), Sentence, {}).faults[0]
    assert len(str(broken)) < len(broken.file) + 200


# --- faults of a row ------------------------------------------------------------------------------------


def test_broken_json_on_line_7(tmp_path: Path) -> None:
    lines = [good(str(number)) for number in range(9)]
    lines[6] = '{"sentence": "a" "formula": "b"}\n'
    result = read(text(tmp_path / "a.jsonl", "".join(lines)), Sentence, {})
    assert one_fault(result) == (7, None, "is broken JSON: Expecting ',' delimiter at column 18")
    assert len(result.records) == 8
    assert '{"sentence": "a" "formula"' in str(result.faults[0])
    assert "\n" not in str(result.faults[0])


@pytest.mark.parametrize(
    ("line", "field", "reason"),
    [
        ("[1, 2]", None, "is not a JSON object {...}"),
        ("{", None, "is broken JSON: Expecting property name enclosed in double quotes at column 2"),
        ("[" * 100_000, None, "is JSON beyond limits"),
        ('{"depth": ' + "9" * 5000 + "}", None, "is JSON beyond limits"),
        ('{"sentence": "a\0b"}', None, "byte 16 of the line is NUL"),
        ('{"sentence": "a\\u0000b"}', "sentence", "holds a NUL character"),
        ('{"sentence": "a\\ud83d"}', "sentence", "holds half of a character"),
        ('{"formula": "P"}', "sentence", "is missing"),
        ('{"sentence": ""}', "sentence", "is empty"),
        ('{"sentence": "  "}', "sentence", "is empty"),
        ('{"sentence": null}', "sentence", "is empty"),
        ('{"sentence": 3}', "sentence", "must be text"),
        ('{"sentence": "a", "depth": "deep"}', "depth", "must be a whole number"),
        ('{"sentence": "a", "depth": 1.5}', "depth", "must be a valid integer"),
    ],
)
def test_a_bad_line_is_one_fault_and_the_rest_is_read(
    tmp_path: Path, line: str, field: str | None, reason: str
) -> None:
    result = read(text(tmp_path / "a.jsonl", good() + "\n" + line + "\n" + good("z")), Sentence, {})
    where, name, why = one_fault(result)
    assert (where, name) == (3, field)
    assert why.startswith(reason)
    assert [r.line for r in result.records] == [1, 4]


@pytest.mark.parametrize(
    ("row", "key"),
    [
        ('{"sentence": "a", "formula": "P", "formula": "Q"}', "formula"),
        ('{"sentence": "a", "note": {"by": 1, "by": 2}}', "by"),
    ],
)
def test_a_key_that_comes_twice_costs_its_row(tmp_path: Path, row: str, key: str) -> None:
    for source in (
        text(tmp_path / "a.jsonl", f"{good()}{row}\n{good('z')}"),
        text(tmp_path / "a.json", f"[{good().strip()},\n{row},\n{good('z').strip()}]"),
    ):
        result = read(source, Sentence, {})
        assert one_fault(result) == (2, None, f"has the key '{key}' twice")
        assert [r.line for r in result.records] == [1, 3]


def test_two_bad_fields_are_two_faults(tmp_path: Path) -> None:
    result = read(text(tmp_path / "a.jsonl", good() + '{"sentence": "", "depth": "x"}\n'), Sentence, {})
    assert [(f.line, f.field) for f in result.faults] == [(2, "sentence"), (2, "depth")]


def test_faults_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    source = text(tmp_path / "a.jsonl", good() + '{"sentence": ""}\n' + "{\n" + '{"sentence": 3}\n')
    assert [fault.line for fault in read(source, Sentence, {}).faults] == [2, 3, 4]


def test_latin_1_costs_only_its_rows(tmp_path: Path) -> None:
    table = 'sentence\nplain\ncafé\n"two\nnaïve"\nlast\n'.encode("latin-1")
    result = read(text(tmp_path / "a.csv", table), Sentence, {})
    assert [r.value.sentence for r in result.records] == ["plain", "last"]
    assert [f.line for f in result.faults] == [3, 5]
    assert result.faults[0].reason.startswith("byte 4 of the line 0xe9 is not UTF-8")
    assert result.faults[1].reason.startswith("byte 3 of the line 0xef is not UTF-8")

    lines = (good("plain") + '{"sentence": "café"}\n' + good("last")).encode("latin-1")
    result = read(text(tmp_path / "a.jsonl", lines), Sentence, {})
    assert [r.line for r in result.records] == [1, 3]
    assert one_fault(result)[:2] == (2, None)

    array = '[{"sentence": "plain"},\n{"sentence": "café"},\n{"sentence": "last"}]'.encode("latin-1")
    result = read(text(tmp_path / "a.json", array), Sentence, {})
    assert [r.line for r in result.records] == [1, 3]
    assert one_fault(result)[:2] == (2, None)


def test_a_quote_that_never_closes_is_told_at_its_line(tmp_path: Path) -> None:
    result = read(text(tmp_path / "a.csv", 'sentence,formula\na,P\nb,"Q\nc,R\nd,S\n'), Sentence, {})
    assert [r.value.sentence for r in result.records] == ["a"]
    assert one_fault(result) == (3, None, "opens a quote that never closes (read to line 5)")


def test_text_after_a_closing_quote_is_a_fault(tmp_path: Path) -> None:
    result = read(text(tmp_path / "a.csv", 'sentence,formula\n"a"b,P\nc,Q\n'), Sentence, {})
    line, _, reason = one_fault(result)
    assert line == 2
    assert reason.startswith("is broken CSV")
    assert [r.line for r in result.records] == [3]


def test_needed_fields_must_be_filled_though_the_schema_has_a_default(tmp_path: Path) -> None:
    rows = [{"sentence": "a", "formula": "P"}, {"sentence": "b", "formula": " "}, {"sentence": "c"}]
    source = jsonl(tmp_path / "a.jsonl", rows)
    assert len(read(source, Sentence, {}).records) == 3
    result = read(source, Sentence, {}, needed=("sentence", "formula"))
    assert [(f.line, f.field, f.reason) for f in result.faults] == [
        (2, "formula", "is empty"),
        (3, "formula", "is missing"),
    ]


# --- columns --------------------------------------------------------------------------------------------


def test_a_mapping_of_an_unknown_field(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.columns\.sentense; did you mean 'sentence'"):
        read(jsonl(tmp_path / "a.jsonl", ROWS), Sentence, {"sentense": "NL"})


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_absent_columns_are_one_error_with_the_remedy(tmp_path: Path, suffix: str) -> None:
    rows = [{"id": number, "Sentences": "a", "FOL": "P"} for number in range(20)]
    write = {"jsonl": jsonl, "csv": cells, "parquet": parquet}[suffix]
    with pytest.raises(DataError) as caught:
        read(write(tmp_path / f"a.{suffix}", rows), Sentence, {"formula": "fol "}, needed=("formula",))
    message = str(caught.value)
    assert "'sentence' nor 'fol '" in message
    assert "'id', 'Sentences', 'FOL'" in message
    assert "data.columns.sentence=Sentences data.columns.formula=FOL" in message


def test_an_absent_optional_column_is_fine_unless_mapped(tmp_path: Path) -> None:
    source = cells(tmp_path / "a.csv", [{"sentence": "a"}])
    assert len(read(source, Sentence, {}).records) == 1
    with pytest.raises(DataError, match="'level'"):
        read(source, Sentence, {"depth": "level"})
    with pytest.raises(DataError, match=r"no column 'formula'.*data\.columns\.formula=<column>"):
        read(source, Sentence, {}, needed=("formula",))


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="two columns called 'sentence'"):
        read(text(tmp_path / "a.csv", "sentence,sentence\na,b\n"), Sentence, {})


def test_a_field_is_read_from_the_first_synonym_that_the_file_has(tmp_path: Path) -> None:
    synonyms = {"sentence": ("text", "question"), "formula": ("fol", "question")}
    source = jsonl(tmp_path / "rows.jsonl", [{"question": "Who?", "fol": "P", "formula": "Q"}])
    result = read(source, Sentence, {}, synonyms=synonyms)
    assert [(one.value.sentence, one.value.formula) for one in result.records] == [("Who?", "Q")]
    assert result.notes == (f"{source}: sentence is read from column 'question'",)
    mapped = read(source, Sentence, {"sentence": "fol"}, synonyms=synonyms)
    assert [one.value.sentence for one in mapped.records] == ["P"]
    assert mapped.notes == ()


def test_a_column_that_the_user_mapped_is_no_synonym_of_another_field(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "rows.jsonl", [{"fol": "P"}])
    result = read(source, Sentence, {"sentence": "fol"}, synonyms={"formula": ("fol",)})
    assert [(one.value.sentence, one.value.formula) for one in result.records] == [("P", "")]


# --- whole files ----------------------------------------------------------------------------------------


def test_whole_file_errors_name_the_remedy(tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", ROWS)
    cases = {
        "row.jsonl": "did you mean '.*rows.jsonl'",
        "x" * 300 + ".jsonl": "no file",
        ".": r"is a directory; name one file in it, such as /.*\.\w+$",
        text(tmp_path / "empty.jsonl", ""): "0 bytes",
        text(tmp_path / "blank.jsonl", "\n \n"): "holds no rows",
        text(tmp_path / "header.csv", "sentence\n"): "holds no rows",
        text(tmp_path / "a.xlsx", "x"): "suffix '.xlsx'; known: .jsonl",
        text(tmp_path / "wide.csv", "sentence\na\n".encode("utf-16")): "is UTF-16; convert it: iconv",
        text(tmp_path / "one.json", "{}"): "rename it to .jsonl",
        text(tmp_path / "cut.json", '[{"sentence": "a"},\n{"sentence": '): "broken JSON: .*line 2",
        text(tmp_path / "more.json", '[{"sentence": "a"}] []'): "goes on after its array",
        text(tmp_path / "bad.parquet", "PAR1 nonsense PAR1"): "not a sound Parquet file",
        text(tmp_path / "header2.csv", b"sent\xe9nce\na\n"): "no readable header",
    }
    for name, message in cases.items():
        with pytest.raises(DataError, match=message):
            read(str(tmp_path / name), Sentence, {})


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> None:  # chmod would not stop root, who runs the tests in a container
        raise PermissionError(13, "Permission denied")

    source = jsonl(tmp_path / "a.jsonl", ROWS)
    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(DataError, match="Permission denied; check the path and its permissions"):
        read(source, Sentence, {})


# --- hub ------------------------------------------------------------------------------------------------


def test_hub_rows_are_those_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked = []

    def load_dataset(name: str, split: str, revision: str | None) -> Any:
        asked.append((name, split, revision))
        return datasets.Dataset.from_list([{**row, "other": [1.0]} for row in ROWS])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    result = read("hub:org/name@v1.0:validation[:10]", Sentence, {})
    expected = read(jsonl(tmp_path / "a.jsonl", ROWS), Sentence, {})
    assert [r.digest for r in result.records] == [r.digest for r in expected.records]
    assert result.records[0].place == "hub:org/name@v1.0:validation[:10] row 1"
    read("hub:org/name", Sentence, {})
    assert asked == [("org/name", "validation[:10]", "v1.0"), ("org/name", "train", None)]


def test_hub_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"is not hub:org/name"):
        read("hub:", Sentence, {})

    fake = ModuleType("datasets")
    monkeypatch.setitem(sys.modules, "datasets", fake)
    for error, message in [
        (ConnectionError("Couldn't reach it"), "cannot reach the hub .* go online"),
        (ValueError("Unknown split 'x'"), "Unknown split 'x'; check name, revision and split"),
        (FileNotFoundError("no such data set"), "no such data set; check name"),
    ]:

        def load_dataset(*_: object, problem: Exception = error, **__: object) -> None:
            raise problem

        fake.load_dataset = load_dataset  # type: ignore[attr-defined]
        with pytest.raises(DataError, match=message):
            read("hub:org/name:x", Sentence, {})

    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"pip install 'appkit\[hub\]'"):
        read("hub:org/name", Sentence, {})


def test_reading_jsonl_imports_nothing_heavy(tmp_path: Path) -> None:
    import subprocess

    source = jsonl(tmp_path / "a.jsonl", ROWS)
    code = (
        "import sys; from pydantic import create_model; from appkit.data.splits import read\n"
        f"assert len(read({source!r}, create_model('R', sentence=(str, ...)), {{}}).records) == 3\n"
        "print([m for m in ('numpy', 'pyarrow', 'datasets', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_inputs_of_a_command_end_at_newlines_alone(tmp_path: Path) -> None:
    rows = [{"sentence": "One\u2028two\u2029three\u0085four."}, {"sentence": "Five."}]
    assert read_inputs(None, Path(jsonl(tmp_path / "rows.jsonl", rows))).values == rows
