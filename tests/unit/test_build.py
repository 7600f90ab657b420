"""Packs build data: rows and their card are written whole, or nothing is."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from packages import BROKEN, Packs, making_packs, run_appkit

from appkit.cli import main

BUILD = """
class Material(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int = Field(ge=0, description="how many")
    fail: Literal["no", "late", "value", "other"] = Field("no", description="how it ends")


def make(options):
    if options.fail == "value":
        raise ValueError("the material\\n cannot be read")
    if options.fail == "other":
        raise RuntimeError("a fault of the pack")
    rows = [{"sentence": f"Grün {n}", "formula": "P(a)"} for n in range(options.rows)]
    if options.fail == "late":
        rows.append({"sentence": {1, 2}})
    counts = {"sentences read": options.rows + 1, "left out: too short": 1}
    return Built({"train": rows, "dev": rows[:1], "test": []}, counts, {"licence": "CC0-1.0"}, ["all is well"])
"""


@pytest.fixture
def packs(tmp_path: Path) -> Iterator[Packs]:
    with making_packs(tmp_path / "site") as made:
        yield made


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    return lambda *words: run_appkit(capfd, *words)


@pytest.fixture
def building(packs: Packs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    packs.add("building", BUILD, build="Build(Material, make)")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


def files_of(folder: Path) -> Mapping[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_builds_rows_with_their_card(building: Path, call: Any) -> None:
    code, out, _ = call("data", "build", "building", "rows=2", "--out", "made/it")
    assert code == 0
    assert out.splitlines() == [
        "        3  sentences read",
        "        1  left out: too short",
        "written: made/it/train.jsonl, 2 rows",
        "written: made/it/dev.jsonl, 1 rows",
        "written: made/it/test.jsonl, 0 rows",
        "note: all is well",
        "note: test.jsonl: no row; leave data.test= out of a training, or build from more",
    ]
    made = files_of(building / "made" / "it")
    assert made.keys() == {"train.jsonl", "dev.jsonl", "test.jsonl", "card.yaml"}
    assert [json.loads(line) for line in made["train.jsonl"].splitlines()] == [
        {"sentence": "Grün 0", "formula": "P(a)"},
        {"sentence": "Grün 1", "formula": "P(a)"},
    ]
    card = yaml.safe_load(made["card.yaml"])
    assert (card["name"], card["licence"]) == ("it", "CC0-1.0")
    assert card["counts"] == {"sentences read": 3, "left out: too short": 1}
    assert {name: about["rows"] for name, about in card["files"].items()} == {
        "train.jsonl": 2,
        "dev.jsonl": 1,
        "test.jsonl": 0,
    }
    assert files_of(building).keys() == {f"made/it/{name}" for name in made}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["rows=0"], "error: no row is left: 1 sentences read; 1 left out: too short"),
        (["rows=2", "fail=value"], "error: the material cannot be read"),
        (["rows=-1"], "error: rows=: input should be greater than or equal to 0, got '-1'"),
        (["rows=x"], "error: rows=: input should be a valid integer"),
        ([], "error: rows=: field required"),
        (["rows=1", "row=2"], "error: unknown key 'row'; did you mean 'rows'?"),
        (["rows=1", "rows=2"], "error: rows= is given twice; leave one out"),
        (["rows"], "error: 'rows' is no key=value; write for instance repo=PATH"),
        (["rows=1", "fail=yes"], "error: fail=: input should be 'no', 'late', 'value' or 'other', got 'yes'"),
    ],
)
def test_nothing_is_written_where_it_fails(building: Path, call: Any, words: list[str], line: str) -> None:
    code, out, err = call("data", "build", "building", *words, "-o", "a/b")
    assert (code, out) == (2, "")
    assert err.startswith(line)
    assert err.count("\n") == 1
    assert list(building.iterdir()) == []


@pytest.mark.parametrize(("fail", "error"), [("late", TypeError), ("other", RuntimeError)])
def test_nothing_is_left_of_a_fault_of_the_pack(
    building: Path, monkeypatch: pytest.MonkeyPatch, fail: str, error: type[Exception]
) -> None:
    monkeypatch.setattr(
        sys, "argv", ["appkit", "data", "build", "building", "rows=2", f"fail={fail}", "-o", "a"]
    )
    with pytest.raises(error):
        main.main()
    assert list(building.iterdir()) == []


def test_a_place_that_holds_something_is_refused(building: Path, call: Any) -> None:
    (building / "full").mkdir()
    (building / "full" / "x").write_text("mine")
    (building / "file").write_text("mine")
    for name in ("full", "file"):
        code, _, err = call("data", "build", "building", "rows=1", "-o", name)
        assert (code, err) == (2, f"error: {name} is there already; choose another --out, or remove it\n")
    assert files_of(building) == {"full/x": b"mine", "file": b"mine"}
    (building / "empty").mkdir()
    assert call("data", "build", "building", "rows=1", "-o", "empty")[0] == 0
    assert (building / "empty" / "card.yaml").is_file()


def test_the_working_directory_is_not_replaced(building: Path, call: Any) -> None:
    code, _, err = call("data", "build", "building", "rows=1", "-o", ".")
    assert (code, err) == (2, "error: . is the working directory; name one in it: --out data\n")
    assert list(building.iterdir()) == []
    (building / "mine").touch()  # nobody is told to remove the folder they are in
    assert call("data", "build", "building", "rows=1", "-o", ".")[2] == err


def test_a_pack_that_builds_nothing_names_those_that_do(building: Path, packs: Packs, call: Any) -> None:
    packs.break_one("package", BROKEN["package"])
    code, _, err = call("data", "build", "nl2fol", "rows=1")
    assert code == 2
    assert err == (
        "error: task 'nl2fol' builds no rows: give it a file, data.train=FILE; these build some: building, codechange\n"
    )
    code, _, err = call("data", "build", "buildin", "rows=1")
    assert (code, err) == (2, "error: no task named 'buildin'; did you mean 'building'?\n")
    assert list(building.iterdir()) == []


@pytest.mark.usefixtures("building")
def test_tasks_show_tells_what_is_read(call: Any) -> None:
    code, out, _ = call("tasks", "show", "building")
    assert code == 0
    assert "build rows (appkit data build building <key>=<value> ...)\n  rows = needed  how many\n" in out
