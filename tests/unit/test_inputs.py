"""What a specialist is asked: one text or row, many of them, or one line that says why it is neither."""

import sqlite3
from collections import OrderedDict, namedtuple
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pandas
import pytest

from appkit.bundles.specialist import Specialist, input_rows
from appkit.errors import DataError
from appkit.plugins import load_task

TASK = load_task("classification")
ROW = TASK.input_row("Terrible")


class Echo:
    """A head that answers each row with its text."""

    def answering(self, **options: Any) -> "Echo":
        return self

    def answer(self, model: Any, rows: list[Any], **options: Any) -> list[str]:
        return [row.text for row in rows]


def predict(inputs: Any) -> Any:
    specialist: Any = SimpleNamespace(head=Echo(), calibration=None, task=TASK, model=None)
    return Specialist.predict(specialist, inputs)


@pytest.mark.parametrize(
    "one", ["Terrible", {"text": "Terrible"}, ROW, np.str_("Terrible"), OrderedDict(text="Terrible")]
)
def test_one_input_is_one_answer(one: Any) -> None:
    assert predict(one) == ["Terrible"]


MANY: list[Any] = [
    ["Terrible", "Fine"],
    ("Terrible", {"text": "Fine"}),
    (text for text in ("Terrible", "Fine")),
    iter(["Terrible", "Fine"]),
    {"a": "Terrible", "b": "Fine"}.values(),
    np.array(["Terrible", "Fine"]),
    np.array(["Terrible", "Fine"], dtype=object),
    pandas.Series(["Terrible", "Fine"], index=[5, 3]),
    pandas.DataFrame({"text": ["Terrible", "Fine"], "other": [1, 2]}).to_dict("records"),
    datasets.Dataset.from_dict({"text": ["Terrible", "Fine"], "label": ["a", "b"], "id": [1, 2]}),
    [ROW, "Fine"],
    pandas.Series(["Terrible", "Fine"], index=pandas.MultiIndex.from_tuples([("a", 1), ("a", 2)])),
]


@pytest.mark.parametrize("many", MANY, ids=lambda many: type(many).__name__)
def test_many_inputs_are_as_many_answers_in_order(many: Any) -> None:
    assert predict(many) == ["Terrible", "Fine"]


def test_none_are_no_answers() -> None:
    assert predict([]) == []
    assert predict(np.array([], dtype=str)) == []
    assert predict(pandas.Series([], dtype=str)) == []


Row = namedtuple("Row", "text label")


def sqlite_row() -> sqlite3.Row:
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    row: sqlite3.Row = connection.execute("select 'Terrible' as text, 'neg' as label").fetchone()
    return row


ONE_ROW: list[Any] = [
    pandas.DataFrame({"text": ["Terrible"], "label": ["neg"]}).iloc[0],
    pandas.Series(["Terrible", "Fine"], index=["row1", "row2"]),
    Row("Terrible", "neg"),
    sqlite_row(),
    np.array([("Terrible", "neg")], dtype=[("text", "U8"), ("label", "U3")])[0],
]


@pytest.mark.parametrize("row", ONE_ROW, ids=lambda row: type(row).__name__)
def test_a_row_of_named_cells_is_no_list_of_inputs(row: Any) -> None:
    with pytest.raises(
        DataError, match=rf"^its cells have names.*, got {type(row).__name__}; give a dict of"
    ):
        predict(row)


def test_the_remedies_of_named_cells_work() -> None:
    assert predict(dict(sqlite_row())) == ["Terrible"]
    assert predict(Row("Terrible", "neg")._asdict()) == ["Terrible"]
    assert predict(dict(ONE_ROW[0])) == ["Terrible"]
    assert predict(ONE_ROW[1].tolist()) == ["Terrible", "Fine"]


FRAME = pandas.DataFrame({"text": ["Terrible", "Fine"]})
REFUSED: list[tuple[Any, str]] = [
    (None, "inputs are a text, a dict, or a list of them, got NoneType"),
    (3, "inputs are a text, a dict, or a list of them, got int"),
    (2.5, "inputs are a text, a dict, or a list of them, got float"),
    (True, "inputs are a text, a dict, or a list of them, got bool"),
    (b"Terrible", "an input is a text, got bytes; decode it: text.decode()"),
    (bytearray(b"x"), "an input is a text, got bytearray; decode it"),
    (FRAME, "a table is no list of inputs, got DataFrame; give its rows: frame.to_dict('records')"),
    (
        {"Terrible", "Fine"},
        "inputs are a text, a dict, or a list of them; a set has no order for the answers",
    ),
    (np.array("Terrible"), "inputs are a text, a dict, or a list of them, got ndarray"),
    (Path("rows.jsonl"), "inputs are a text, a dict, or a list of them, got "),
    (
        load_task("ner").input_row("Ada"),
        "inputs are a text, a dict, or a list of them; it is no row of this task",
    ),
    ({"txt": "Terrible"}, "text: Field required"),
    ({"text": None}, "text: Input should be a valid string, got None"),
    ({"text": ["Terrible", "Fine"]}, "text: Input should be a valid string, got ['Terrible', 'Fine']"),
    ({"text": "half \ud83d"}, "text: "),
    ("half \ud83d", "text: "),
    ("", "text: String should have at least 1 character, got ''"),
    (datasets.DatasetDict(), "text: Field required"),
    (["Terrible", None], "input 2: an input is a text, or a dict with 'text', got NoneType None"),
    (["Terrible", float("nan")], "input 2: an input is a text, or a dict with 'text', got float nan"),
    (
        [b"Terrible"],
        "an input is a text, or a dict with 'text', got bytes b'Terrible'; decode it: text.decode()",
    ),
    ([["Terrible", "Fine"]], "an input is a text, or a dict with 'text', got list"),
    ([("text", "Terrible")], "an input is a text, or a dict with 'text', got tuple"),
    (np.array([["Terrible"], ["Fine"]]), "input 1: an input is a text, or a dict with 'text', got ndarray"),
    (np.array([1, 2]), "input 1: an input is a text, or a dict with 'text', got int64"),
    (["Fine", {"pair": "x"}], "input 2: text: Field required"),
]


@pytest.mark.parametrize(("inputs", "line"), REFUSED, ids=lambda value: type(value).__name__)
def test_anything_else_is_one_line(inputs: Any, line: str) -> None:
    with pytest.raises(DataError) as caught:
        input_rows(TASK, inputs)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)
