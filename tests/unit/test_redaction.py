"""What callers of a gateway see names files, and no directory of its machine."""

from __future__ import annotations

import json
from typing import Literal

from pydantic import BaseModel

from appkit.serving.gateway.redaction import without_directories, without_paths
from appkit.serving.gateway.routes.tasks import _describe_options

HOME = "/home/her name/site-packages"


def test_a_report_of_a_check_names_files_without_their_directories() -> None:
    report = {
        "ok": False,
        "faults": [{"file": f"{HOME}/train.tsv", "line": 3, "reason": "is empty", "value": "/etc/motd"}],
        "duplicates": {"train": [[f"{HOME}/train.tsv:1", f"{HOME}/train.tsv:101"]]},
        "overlaps": [{"a": "train", "b": "test", "places": [f"{HOME}/a.parquet row 1", "/test.jsonl:2"]}],
        "conflicts": [
            {"input": "either/or", "targets": {f"{HOME}/train.tsv:1": "P", f"{HOME}/train.tsv:2": "Q"}}
        ],
        "long": {"train": [[f"{HOME}/train.tsv:9", 700]]},
        "notes": [
            f"train: {HOME}/train.tsv: in 3 rows a quote is read as text (the first: line 9)",
            "test: test.conll: tokens are read from column 2",
            f"{HOME}/a.parquet: the numbers of column 'y' are read as the names /m/01x, and /m/02y",
            "no library for near-duplicates",
        ],
        "max_length": None,
    }
    cut = without_directories(report)
    assert HOME not in json.dumps(cut)
    assert cut["faults"] == [{"file": "train.tsv", "line": 3, "reason": "is empty", "value": "/etc/motd"}]
    assert cut["duplicates"] == {"train": [["train.tsv:1", "train.tsv:101"]]}
    assert cut["overlaps"][0]["places"] == ["a.parquet row 1", "test.jsonl:2"]
    assert cut["conflicts"] == [{"input": "either/or", "targets": {"train.tsv:1": "P", "train.tsv:2": "Q"}}]
    assert cut["long"] == {"train": [["train.tsv:9", 700]]}
    assert cut["notes"] == [
        "train: train.tsv: in 3 rows a quote is read as text (the first: line 9)",
        "test: test.conll: tokens are read from column 2",
        "a.parquet: the numbers of column 'y' are read as the names /m/01x, and /m/02y",
        "no library for near-duplicates",
    ]
    assert cut["max_length"] is None


def test_lines_of_a_command_name_places_by_their_names() -> None:
    text = f"note: train: {HOME}/runs/x/.data/a.tsv: 3 rows\n\nerror: no file '/opt/data/b.csv' (seen from {HOME})\n"
    places = ((f"{HOME}/runs/x/.data/", ""), (HOME, "here"))
    assert list(without_paths(text, *places)) == [
        "note: train: a.tsv: 3 rows",
        "error: no file '…/b.csv' (seen from here)",
    ]


def test_a_bundles_options_are_shown_without_free_text() -> None:
    class Options(BaseModel):
        problem: Literal["a", "b"] = "b"
        detector: Literal["x"] | None = "x"
        glossary: str | None = "/home/ann/terms.csv"
        examples: int = 2
        share: float | None = None
        drop: tuple[str, ...] = ("protected",)

    assert _describe_options(Options()) == {"problem": "b", "detector": "x", "examples": 2}
