"""An index is a stranger's: whatever its files hold, it opens and answers, or is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from letters import Letters

from appkit.errors import DataError
from appkit.rag import Index, build

Change = Callable[[Path], None]


@pytest.fixture
def index(tmp_path: Path, letters: Letters) -> Path:
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "a.md").write_text("The Furka pass is closed in winter.\n")
    (notes / "b.md").write_text("Wombats dig at night.\n")
    build([notes], tmp_path / "index")
    return tmp_path / "index"


def about(**changes: Any) -> Change:
    """Change keys of index.json; a dotted key is inside an object, None as a function removes it."""

    def change(version: Path) -> None:
        values = json.loads((version / "index.json").read_text())
        for path, value in changes.items():
            *parents, leaf = path.split("__")
            node = values
            for parent in parents:
                node = node[parent]
            node[leaf] = value
        (version / "index.json").write_text(json.dumps(values))

    return change


def first_passage(**changes: Any) -> Change:
    def change(version: Path) -> None:
        lines = (version / "passages.jsonl").read_text().splitlines()
        lines[0] = json.dumps(json.loads(lines[0]) | changes)
        (version / "passages.jsonl").write_text("\n".join(lines) + "\n")

    return change


def vectors(make: Callable[[np.ndarray], np.ndarray]) -> Change:
    def change(version: Path) -> None:
        np.save(version / "vectors.npy", make(np.load(version / "vectors.npy")))

    return change


def huge(version: Path) -> None:
    """A header that declares a terabyte."""
    with (version / "vectors.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f4", "fortran_order": False, "shape": (2, 2**37)}
        )


def other_faiss(rows: int, width: int) -> Change:
    def change(version: Path) -> None:
        import faiss

        dense = faiss.IndexFlatIP(width)
        dense.add(np.ones((rows, width), dtype=np.float32))
        faiss.write_index(dense, str(version / "dense.faiss"))

    return change


def empty_words(version: Path) -> None:
    for file in (version / "words").glob("*.json"):
        file.write_text("{}")


def write(name: str, text: str) -> Change:
    return lambda version: (version / name).write_text(text) and None


CHANGES: dict[str, Change] = {
    "options a list": about(options=[]),
    "options a text": about(options="x"),
    "store a number": about(options__store=5),
    "store null": about(options__store=None),
    "store unknown": about(options__store="annoy"),
    "a server, no collections": about(options__store="qdrant=http://127.0.0.1:1"),
    "size a text": about(options__size="1000"),
    "files a list": about(files=[]),
    "no files": about(files={}),
    "files a number": about(files=5),
    "a hash that is none": about(files={"a.md": "no"}),
    "passages a fraction": about(passages=2.0),
    "more passages": about(passages=3),
    "an unknown key": about(more=1),
    "schema a text": about(schema="2"),
    "no object": write("index.json", "[]"),
    "a key twice": write("index.json", '{"schema": 2, "schema": 2}'),
    "deeply nested": write("index.json", "[" * 100_000),
    "text a number": first_passage(text=5),
    "text null": first_passage(text=None),
    "text empty": first_passage(text=""),
    "half a surrogate": first_passage(text="a\ud800"),
    "a file that is not listed": first_passage(file="/etc/passwd"),
    "start negative": first_passage(start=-1),
    "passage with more": first_passage(more="x"),
    "vectors of another width": vectors(lambda old: old[:, :3].copy()),
    "vectors of fewer rows": vectors(lambda old: old[:1].copy()),
    "vectors flat": vectors(lambda old: old.ravel()),
    "vectors that are not finite": vectors(lambda old: old * np.nan),
    "vectors of integers": vectors(lambda old: old.astype(np.int64)),
    "vectors that are not there": huge,
    "dense of more rows": other_faiss(5, 26),
    "dense of another width": other_faiss(2, 7),
    "dense of fewer rows": other_faiss(1, 26),
    "dense is text": write("dense.faiss", "x"),
    "words empty": empty_words,
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_damaged_index_is_refused_in_one_line(name: str, index: Path, tmp_path: Path) -> None:
    assert Index.open(index).search("winter", 1)[0].passage.text.startswith("The Furka")
    version = index / (index / "current").read_text()
    CHANGES[name](version)
    with pytest.raises(Exception) as refused:  # noqa: PT011
        Index.open(index)
    assert isinstance(refused.value, DataError) or "--store" in str(refused.value), refused.value
    message = str(refused.value)
    assert "\n" not in message
    assert len(message) < 600
    if isinstance(refused.value, DataError):
        assert "is damaged (" in message
        assert message.endswith("); delete it and index again")


def test_another_schema_is_no_damage(index: Path) -> None:
    about(schema=1)(index / (index / "current").read_text())
    with pytest.raises(DataError, match="has schema 1, this appkit reads 2; index again"):
        Index.open(index)
