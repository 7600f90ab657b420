"""Files that unpack to far more than they are: refused within the limits, and nothing large is read before."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from appkit.data import readers
from appkit.data.limits import DEPTH, CountedFile, Limits, is_deep, measure_texts
from appkit.data.lines import read_lines
from appkit.data.readers import read_table
from appkit.data.rows import read
from appkit.data.tables import Format, Table
from appkit.errors import DataError
from appkit.task import Row

COLUMNS = {"text", "label"}
TEXTS = {
    ".jsonl": '{"text": "a", "label": "x"}\n' * 5,
    ".json": "[\n" + ",\n".join(['{"text": "a", "label": "x"}'] * 5) + "\n]\n",
    ".csv": "text,label\n" + "a,x\n" * 5,
    ".tsv": "text\tlabel\n" + "a\tx\n" * 5,
    ".conll": "a B-X\nb O\n\n" * 5,
}
"""suffix -> a file with five rows"""


class Labelled(Row):
    text: str
    label: str


def table(path: Path, lines: int | None = None, size: int | None = None) -> Table:
    columns = {"tokens", "tags"} if ".conll" in path.name else COLUMNS
    return read_table(str(path), columns, Format(limits=Limits(lines, size)))


def parquet(path: Path, **columns: Any) -> Path:
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def refuse(path: Path, key: str, lines: int | None = None, size: int | None = None) -> None:
    """Reading is refused in one line that names the setting and the file."""
    with pytest.raises(DataError, match=rf"{key}\); send fewer") as told:
        table(path, lines, size)
    assert "\n" not in str(told.value)
    assert repr(str(path)) in str(told.value)


@pytest.mark.parametrize("suffix", [*TEXTS, *(f"{suffix}.gz" for suffix in TEXTS)])
def test_a_text_file_is_read_up_to_its_limits_and_not_beyond(tmp_path: Path, suffix: str) -> None:
    content = TEXTS[suffix.removesuffix(".gz")].encode()
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(gzip.compress(content) if suffix.endswith(".gz") else content)
    lines, size = len(content.splitlines()), len(content)
    unlimited = table(path)
    assert len(unlimited.rows) == 5
    assert table(path, lines, size) == unlimited
    refuse(path, "serve.max_rows", lines=lines - 1)
    refuse(path, "serve.max_unpacked", size=size - 1)


@pytest.mark.parametrize("suffix", TEXTS)
def test_a_packed_file_is_unpacked_no_further_than_its_limit(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[CountedFile] = []

    class Watched(CountedFile):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            opened.append(self)

    monkeypatch.setattr("appkit.data.lines.CountedFile", Watched)
    for content in (bytes(50_000_000), b"\n" * 50_000_000, b"[" * 50_000_000):
        path = tmp_path / f"rows{suffix}.gz"
        path.write_bytes(gzip.compress(content, 1))
        assert path.stat().st_size < 500_000
        refuse(path, "serve.max_unpacked", size=1_000_000)
        assert opened.pop()._read < 1_100_000


def test_blank_lines_count_too(tmp_path: Path) -> None:
    for suffix in TEXTS:
        path = tmp_path / f"rows{suffix}"
        path.write_text("\n" * 3000)
        refuse(path, "serve.max_rows", lines=1000)


def test_lines_are_counted_while_they_are_read(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a\n" * 1000)
    lines = read_lines(tmp_path / "rows.csv", Format(limits=Limits(lines=10)))
    assert [next(lines) for _ in range(10)] == ["a\n"] * 10
    with pytest.raises(DataError, match=r"serve\.max_rows"):
        next(lines)


# --- Parquet ----------------------------------------------------------------------------------------------


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever unpacks a batch fails."""

    def fail(*given: Any, **more: Any) -> None:
        raise AssertionError("it was unpacked")

    monkeypatch.setattr(pyarrow.parquet.ParquetFile, "iter_batches", fail)


def test_millions_of_rows_in_a_few_bytes_are_refused_by_the_footer(tmp_path: Path, unread: None) -> None:
    path = parquet(tmp_path / "a.parquet", text=["a"] * 3_000_000, label=["x"] * 3_000_000)
    assert path.stat().st_size < 20_000
    refuse(path, "serve.max_rows", lines=2_999_999)
    refuse(path, "serve.max_unpacked", size=3_000_000)


def test_millions_of_items_in_one_row_are_refused_by_the_footer(tmp_path: Path, unread: None) -> None:
    path = parquet(tmp_path / "a.parquet", text=[[""] * 3_000_000], label=["x"])
    assert path.stat().st_size < 20_000
    refuse(path, "serve.max_unpacked", lines=10, size=10_000_000)


LONG = {
    "plain": pyarrow.array(["a" * 10_000] * 2000),
    "codes": pyarrow.array(["a" * 10_000] * 2000).dictionary_encode(),
    "list": pyarrow.array([["a" * 100] * 100] * 2000),
    "bytes": pyarrow.array([b"a" * 10_000] * 2000),
    "object": pyarrow.array([{"of": "a" * 10_000}] * 2000),
}
"""20 MB as rows, a few KB as a file"""


@pytest.mark.parametrize("form", LONG)
def test_one_long_text_for_all_rows_is_refused_after_some_of_them(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the footer says nothing of it."""
    path = parquet(tmp_path / "a.parquet", text=LONG[form], label=["x"] * 2000)
    assert path.stat().st_size < 100_000
    monkeypatch.setattr(readers, "_check_footer", lambda *given: None)
    batches = []
    append = readers._append_arrow_rows

    def count(*given: Any) -> None:
        batches.append(1)
        append(*given)

    monkeypatch.setattr(readers, "_append_arrow_rows", count)
    refuse(path, "serve.max_unpacked", size=1_000_000)
    assert len(batches) <= 1
    refuse(path, "serve.max_rows", lines=1000)


def test_a_column_that_is_not_read_does_not_count(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", text=["a"] * 9, label=["x"] * 9, image=[b"0" * 100_000] * 9)
    assert len(table(path, 9, 1000).rows) == 9
    assert table(path, 9, 1000) == table(path)


def test_more_rows_than_are_unpacked_at_once_are_all_read(tmp_path: Path) -> None:
    texts = [f"text {number}" for number in range(1000)]
    rows = table(parquet(tmp_path / "a.parquet", text=texts, label=["x"] * 1000), 1000, 100_000).rows
    assert [(line, cells["text"]) for line, cells in rows] == list(enumerate(texts, 1))


def test_no_memory_is_not_taken_for_a_broken_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: Any, **more: Any) -> None:
        raise pyarrow.lib.ArrowMemoryError("malloc of size 9 failed")

    path = parquet(tmp_path / "a.parquet", text=["a"], label=["x"])
    monkeypatch.setattr(pyarrow.parquet.ParquetFile, "iter_batches", fail)
    with pytest.raises(MemoryError):
        table(path)


# --- nesting ----------------------------------------------------------------------------------------------


def nest(depth: int) -> Any:
    value: Any = "a"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("depth", [DEPTH, 300, 100_000])
@pytest.mark.parametrize("suffix", ["jsonl", "json"])
def test_a_row_that_is_nested_too_deeply_is_lost_alone_or_told(
    tmp_path: Path, depth: int, suffix: str
) -> None:
    """Python's own limit lies between these depths, and on other versions elsewhere."""
    good = '{"text": "a", "label": "x"}'
    for opened, closed in (("[", "]"), ('{"a": ', "}")):
        rows = [good, f'{{"text": {opened * depth}1{closed * depth}, "label": "x"}}', good]
        content = "\n".join(rows) if suffix == "jsonl" else f"[{','.join(rows)}]"
        (tmp_path / f"a.{suffix}").write_text(content)
        path = str(tmp_path / f"a.{suffix}")
        if suffix == "json" and depth == 100_000:  # the end of the element cannot be found
            with pytest.raises(DataError, match=r"^[^\n]* is broken JSON: [^\n]*$"):
                read(path, Labelled, {})
            continue
        found = read(path, Labelled, {})
        assert [record.value.text for record in found.records] == ["a", "a"]  # type: ignore[attr-defined]
        assert found.left_out == 1
        (fault,) = found.faults
        assert "is nested deeper than 32" in fault.reason or "is JSON beyond limits" in fault.reason
        assert len(str(fault)) < 400


def test_rows_of_parquet_that_are_nested_too_deeply_are_lost_alone(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", text=[nest(DEPTH + 5), None], label=["x", "y"])
    found = table(path)
    assert [cells["label"] for _, cells in found.rows] == ["y"]
    assert (found.lines, found.lost) == (2, 1)
    assert found.faults[0].reason == f"is nested deeper than {DEPTH}"


def test_class_names_that_are_nested_too_deeply_are_none(tmp_path: Path) -> None:
    feature = '{"feature": ' * 400 + '{"_type": "ClassLabel", "names": ["n"]}' + "}" * 400
    metadata = {b"huggingface": f'{{"info": {{"features": {{"label": {feature}}}}}}}'.encode()}
    assert json.loads(metadata[b"huggingface"])
    content = pyarrow.table({"text": ["a"], "label": [0]}).replace_schema_metadata(metadata)
    pyarrow.parquet.write_table(content, tmp_path / "a.parquet")
    assert table(tmp_path / "a.parquet").rows == [(1, {"text": "a", "label": 0})]


def test_depth_and_texts_are_counted() -> None:
    assert [is_deep(nest(depth)) for depth in (0, 1, DEPTH, DEPTH + 1, 50_000)] == [
        False,
        False,
        False,
        True,
        True,
    ]
    assert is_deep({"a": 1, "b": nest(DEPTH)})
    assert not is_deep({"a": [{}, []] * 1000})
    assert measure_texts([{"a": "xyz", "b": [b"12", {"c": ["x", 5, None]}]}, "xy"]) == 8


# --- memory -----------------------------------------------------------------------------------------------

HUNGRY = """
from appkit.cli.main import _report_errors
from appkit.runs.check import limited_memory
with _report_errors(), limited_memory(1):
    print(len(bytes(2**20)))
    bytes(2 * 2**30)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts a process's memory so")
def test_a_check_that_needs_more_memory_than_it_gets_is_one_line() -> None:
    done = subprocess.run([sys.executable, "-c", HUNGRY], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, f"{2**20}\n"), done.stderr
    assert done.stderr == (
        "error: the check needs more than 1 GiB of memory, the most that it gets here (serve.check_gib); "
        "send fewer or smaller rows\n"
    )
