"""Rows, targets and answers: what comes in from files, what is learned, what a person and a program get back."""

import json
from pathlib import Path

import numpy as np
import pytest
from appkit_tasks.classification import TASK
from appkit_tasks.classification.config import ClassificationConfig
from appkit_tasks.classification.load import ClassificationRow
from appkit_tasks.classification.prompt import prompt, read, target
from pydantic import ValidationError

from appkit.config import load_run_config
from appkit.data.rows import read as read_rows
from appkit.errors import ConfigError, DataError
from appkit.task import HeadSpec

PLAIN = ClassificationConfig()


def row(label: object, **more: object) -> ClassificationRow:
    return ClassificationRow.model_validate({"text": "a text", "label": label, **more})


def write(path: Path, *rows: object) -> str:
    path.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    return str(path)


def faults(path: Path, *labels: object) -> list[str]:
    source = write(path, *({"text": f"text {n}", "label": label} for n, label in enumerate(labels)))
    return [f"{fault.field} {fault.reason}" for fault in read_rows(source, TASK.row, {}, TASK.needed).faults]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("  refund ", "refund"),
        ("3", "3"),
        (3, 3.0),
        (2.5, 2.5),
        (True, "true"),
        (False, "false"),
        ("e\u0301", "é"),
        (["b", " a", "b"], ("a", "b")),
        ([], ()),
        ([3, 2.5, True, 1.0], ("1", "2.5", "3", "true")),
    ],
)
def test_a_label_has_one_form(given: object, kept: object) -> None:
    label = row(given).label
    assert (label, type(label)) == (kept, type(kept))


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        (float("nan"), "must be a finite number"),
        (float("inf"), "must be a finite number"),
        (2**53 + 1, "is beyond 2**53, where whole numbers run together; write it as text"),
        (["a", " "], "holds an empty label"),
        (["a", None], "must be text, a number or a list of texts"),
        ({"name": "a"}, "must be text, a number or a list of texts"),
        ("x" * 2001, "has 2001 characters, the limit is 2000; is it the right column?"),
        (" ", "is empty"),
        (None, "is empty"),
        ("a\0b", "holds a NUL character"),
    ],
)
def test_a_label_that_cannot_be_learned_is_a_fault(tmp_path: Path, label: object, reason: str) -> None:
    assert faults(tmp_path / "rows.jsonl", "fine", label) == [f"label {reason}"]


def test_a_row_needs_a_text_and_a_label(tmp_path: Path) -> None:
    source = write(
        tmp_path / "rows.jsonl", {"text": " ", "label": "a"}, {"text": "b"}, {"text": "c", "label": []}
    )
    read = read_rows(source, TASK.row, {}, TASK.needed)
    assert [record.value.label for record in read.records] == [()]  # none of the labels is an answer
    assert [f"{fault.line} {fault.field} {fault.reason}" for fault in read.faults] == [
        "1 text is empty",
        "2 label is missing",
    ]


def test_csv_and_jsonl_of_one_set_are_the_same_rows(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,pair,label\na,b,refund\nc,,delay\n", encoding="utf-8")
    lines = write(
        tmp_path / "rows.jsonl",
        {"text": "a", "pair": "b", "label": "refund"},
        {"text": "c", "pair": "", "label": " delay"},
    )
    both = [read_rows(source, TASK.row, {}).records for source in (str(tmp_path / "rows.csv"), lines)]
    assert [one.digest for one in both[0]] == [one.digest for one in both[1]]
    assert both[0][1].value.pair is None


def test_what_is_read_is_the_text_and_the_pair_below_it() -> None:
    assert [message.text for message in prompt(row("x"), PLAIN)] == ["a text"]
    (message,) = prompt(row("x", pair=" another "), PLAIN)
    assert (message.role, message.text) == ("user", "a text\nanother")


def test_predicting_needs_no_label() -> None:
    assert TASK.input_row("is it late?").text == "is it late?"
    assert TASK.input_row({"text": "a", "pair": "b", "label": "ignored"}).pair == "b"
    with pytest.raises(ValidationError):
        TASK.input_row({"pair": "b"})


@pytest.mark.parametrize(
    ("options", "label", "values"),
    [
        ({}, "3", "3"),
        ({}, 3, "3"),
        ({}, 3.0, "3"),
        ({}, -0.0, "0"),
        ({}, 2.5, 2.5),
        ({}, ["b", "a"], ("a", "b")),
        ({}, [], ()),
        ({"problem": "single"}, 2.5, "2.5"),
        ({"problem": "single"}, ["a"], "a"),
        ({"problem": "multi"}, "a", ("a",)),
        ({"problem": "multi"}, 3, ("3",)),
        ({"problem": "regression"}, "2.5", 2.5),
        ({"problem": "regression"}, "-1e3", -1000.0),
        ({"problem": "regression"}, 4, 4.0),
        ({"separator": "|"}, "b| a|b", ("a", "b")),
        ({"separator": "|"}, "a", ("a",)),
        ({"separator": "|"}, "|", ()),
        ({"separator": "|"}, ["x|y"], ("x|y",)),
        ({"separator": "|", "problem": "multi"}, 3, ("3",)),
    ],
)
def test_target(options: dict, label: object, values: object) -> None:
    got = target(row(label), ClassificationConfig(**options)).values
    assert (got, type(got)) == (values, type(values))


@pytest.mark.parametrize(
    ("options", "label", "error"),
    [
        (
            {"problem": "single"},
            ["a", "b"],
            r"needs one label a row, got \['a', 'b'\]; use task.problem=multi",
        ),
        ({"problem": "single"}, [], r"needs one label a row, got \[\]"),
        ({"problem": "regression"}, "cheap", r"needs a number such as 2\.5, got 'cheap'"),
        ({"problem": "regression"}, "nan", r"needs a number such as 2\.5, got 'nan'"),
        ({"problem": "regression"}, ["1"], r"needs a number such as 2\.5, got \('1',\)"),
        ({}, "y" * 201, r"at most 200 characters, got 201: 'yyy.*data\.columns\.label="),
        ({"problem": "single"}, ["y" * 201], r"at most 200 characters"),
    ],
)
def test_a_label_that_is_not_what_the_options_say(options: dict, label: object, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        target(row(label), ClassificationConfig(**options))


def test_a_cell_of_many_labels_may_be_long() -> None:
    labels = tuple(f"{n}{'x' * 150}" for n in range(4))
    assert target(row("|".join(labels)), ClassificationConfig(separator="|")).values == labels


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (
            ["separator="],
            "task.separator: is empty; name a sign, in quotes for the shell: 'task.separator=|', got ''",
        ),
        (
            ['separator="|"', "problem=single"],
            "task.separator: makes several labels of a cell, which task.problem=single does not have; leave one of the "
            "two out, got '|'",
        ),
        (['separator="|"', "problem=regression"], "task.separator: makes several labels of a cell"),
        (
            ["oos=other", "problem=multi"],
            "task.oos: is answered instead of one label, and here are several labels",
        ),
        (["oos=other", "problem=regression"], "task.oos: is answered instead of one label"),
        (["oos=other", 'separator=";"'], "task.oos: is answered instead of one label"),
        ([f"oos={'x' * 201}"], "task.oos: "),
        (["oos= "], "task.oos: is blank; name a label, or leave it out, got ' '"),
        (["threshold=0.5"], "unknown key 'task.threshold'"),
        (["problem=multiple"], "task.problem: "),
    ],
)
def test_options_that_do_not_fit_are_one_line(words: list[str], error: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_run_config(["task=classification", *(f"task.{word}" for word in words)])
    assert error in str(raised.value)
    assert "\n" not in str(raised.value)


def test_options_from_the_command_line() -> None:
    config = load_run_config(["task=classification", 'task.separator="|"', "task.problem=multi"])
    assert (config.task.separator, config.task.problem, config.task.oos) == ("|", "multi", None)
    for label in ("99", "no", "~", "#", "None", "[other]", "1.0"):
        assert load_run_config(["task=classification", f"task.oos={label}"]).task.oos == label
    for sign in ("|", "#", " ", ";", "-", "~", ", ", "#x", ":", ">"):
        assert load_run_config(["task=classification", f"task.separator={sign}"]).task.separator == sign
    assert load_run_config(["task=classification", "task.oos=null"]).task.oos is None


# --- answers ---------------------------------------------------------------------------------------------


def head(problem: str = "single", **more: object) -> HeadSpec:
    labels = () if problem == "regression" else ("a", "b", "c")
    return HeadSpec.model_validate({"kind": "sequence", "problem": problem, "labels": labels, **more})


def test_the_likeliest_label_comes_first() -> None:
    text, value, confidence = read(row("a"), np.array([0.2, 0.7, 0.1]), head())
    assert (text, confidence) == ("b", 0.7)
    assert value == {"label": "b", "probability": 0.7, "probabilities": {"a": 0.2, "b": 0.7, "c": 0.1}}
    assert list(value["probabilities"]) == ["b", "a", "c"]
    assert json.loads(json.dumps(value)) == value


def test_of_equal_labels_the_heads_first_one_is_answered() -> None:
    assert read(row("a"), np.array([0.2, 0.4, 0.4]), head())[0] == "b"


@pytest.mark.parametrize(
    ("threshold", "label", "confidence"), [(0.8, "other", None), (0.7, "b", 0.7), (None, "b", 0.7)]
)
def test_out_of_scope(threshold: float | None, label: str, confidence: float | None) -> None:
    spec = head(oos="other", threshold=threshold)
    text, value, sure = read(row("a"), np.array([0.2, 0.7, 0.1]), spec)
    assert (text, value["label"], sure) == (label, label, confidence)
    assert value["probability"] == 0.7
    assert next(iter(value["probabilities"])) == "b"


def test_a_threshold_alone_changes_no_label() -> None:
    assert read(row("a"), np.array([0.2, 0.7, 0.1]), head(threshold=0.9))[0] == "b"


def test_any_number_of_labels() -> None:
    text, value, confidence = read(row([]), np.array([0.5, 0.9, 0.1]), head("multi"))
    assert (text, value["labels"], confidence) == ("b, a", ["b", "a"], None)
    assert value["probabilities"] == {"a": 0.5, "b": 0.9, "c": 0.1}
    assert read(row([]), np.array([0.5, 0.9, 0.1]), head("multi", threshold=0.95))[:2] == (
        "(none)",
        {"labels": [], "probabilities": {"b": 0.9, "a": 0.5, "c": 0.1}},
    )


def test_a_number() -> None:
    assert read(row(1), np.array([12345.678]), head("regression")) == (
        "1.235e+04",
        {"value": 12345.678},
        None,
    )


# --- lists that are written out in a cell ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "label"),
    [
        ("['damaged', 'late']", ("damaged", "late")),
        ('["damaged", "late"]', ("damaged", "late")),
        ("['late']", ("late",)),
        ("[]", ()),
        ("[ ]", ()),
        ("[2, 1]", ("1", "2")),
        ("('a', 'b')", ("a", "b")),
        ("{'a', 'b'}", ("a", "b")),
        ('["it\'s", "caf\\u00e9, or tea"]', ("café, or tea", "it's")),
        ("['a', \"b's\",]", ("a", "b's")),
        ("[spam]", "[spam]"),
        ("(none)", "(none)"),
        ("a, b", "a, b"),
        ("(a), (b)", "(a), (b)"),
        ("[", "["),
        ("{late}", "{late}"),
        ("<unk>", "<unk>"),
        ("(1)", "(1)"),
        ("(refund, full)", "(refund, full)"),
        ("refund (EU)", "refund (EU)"),
        ("refund ([EU])", "refund ([EU])"),
        ("f(x)", "f(x)"),
        ("help()", "help()"),
        ("sum([1, 2])", "sum([1, 2])"),
        ("[not relevant]", "[not relevant]"),
    ],
)
def test_a_list_that_is_written_out_is_a_list(tmp_path: Path, cell: str, label: object) -> None:
    assert row(cell).label == label
    path = tmp_path / "a.csv"
    path.write_text("text,label\na," + '"' + cell.replace('"', '""') + '"\n', encoding="utf-8")
    assert [record.value.label for record in read_rows(str(path), TASK.row, {}).records] == [label]


@pytest.mark.parametrize(
    "cell",
    [
        *("['a' 'b']", "[a, b]", "['a', None]", "['a', ['b']]", "['a]"),
        *("[1 2]", "[0. 1.]", "[0 0\n 1]", "[0 ... 1]", "[None]", "[nan]", "[1e5]", "[True, False]"),
        *("(1, 2)", "(1,)", "('a', None)", "{a,b}", "{'a': 1}", '{"name": "a"}', "{}", "<a><b>"),
        *("array(['a', 'b'], dtype=object)", "frozenset({'a'})", "set()", "Index(['a'])"),
    ],
)
def test_what_looks_like_a_list_and_is_none_is_a_fault(cell: str) -> None:
    with pytest.raises(ValidationError, match="looks like a list and cannot be read as one"):
        row(cell)


def test_names_that_are_stored_beside_class_numbers_are_the_labels(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    names = {"names": ["neg", "pos"], "_type": "ClassLabel"}
    features = {
        "text": {"dtype": "string", "_type": "Value"},
        "label": names,
        "labels": {"feature": names, "_type": "Sequence"},
        "listed": [names],
    }
    rows = {
        "text": ["a", "b", "c"],
        "label": [1, 0, -1],
        "labels": [[1], [0, 1], []],
        "listed": [[0], [1], []],
    }
    table = pyarrow.table(rows).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )
    path = str(tmp_path / "a.parquet")
    pyarrow.parquet.write_table(table, path)
    result = read_rows(path, TASK.row, {})
    assert [record.value.label for record in result.records] == ["pos", "neg"]
    assert [(fault.line, fault.reason) for fault in result.faults] == [(3, "is empty")]
    assert (
        "the numbers of column 'label' are read as the names that are stored beside them" in result.notes[0]
    )
    for column, labels in (("labels", [("pos",), ("neg", "pos"), ()]), ("listed", [("neg",), ("pos",), ()])):
        found = read_rows(path, TASK.row, {"label": column}).records
        assert [record.value.label for record in found] == labels
    for stored in ([1.0, 0.0, None], ["1", "0", "-1"], ["1.0", "neg", ""], [1.0, 0.0, float("nan")]):
        pyarrow.parquet.write_table(table.set_column(1, "label", pyarrow.array(stored)), path)
        result = read_rows(path, TASK.row, {})
        assert [record.value.label for record in result.records] == ["pos", "neg"]
        assert "are read as the names" in result.notes[0]
    pyarrow.parquet.write_table(table.set_column(1, "label", pyarrow.array(["pos", "0.5", "neg"])), path)
    result = read_rows(path, TASK.row, {})
    assert [record.value.label for record in result.records] == ["pos", "0.5", "neg"]
    assert not any("are read as the names" in note for note in result.notes)
    broken = table.set_column(1, "label", pyarrow.array([0, 1, 2]))
    pyarrow.parquet.write_table(broken, path)
    with pytest.raises(DataError, match="holds 2 in 'label', and names for 0 to 1 only"):
        read_rows(path, TASK.row, {})


def test_names_that_the_hub_stores_are_the_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["neg", "pos"]),
            "more": datasets.Sequence(datasets.ClassLabel(names=["x", "y"])),
        }
    )
    rows = datasets.Dataset.from_dict(
        {"text": ["a", "b"], "label": [1, 0], "more": [[1], []]}, features=features
    )
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: rows)
    assert [r.value.label for r in read_rows("hub:org/name", TASK.row, {}).records] == ["pos", "neg"]
    found = read_rows("hub:org/name", TASK.row, {"label": "more"}).records
    assert [r.value.label for r in found] == [("y",), ()]
