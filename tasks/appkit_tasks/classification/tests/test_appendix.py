"""The report's appendix: what it tells of labels and numbers, and that it tells nothing of the rows' texts."""

from pathlib import Path

import numpy as np
import pytest
from appkit_tasks.classification.appendix import appendix
from appkit_tasks.classification.config import ClassificationConfig
from appkit_tasks.classification.load import ClassificationRow
from appkit_tasks.classification.prompt import read

from appkit.task import HeadSpec, Parsed, Prediction

SECRET = "zanzibar-7"


def asked(labels: list) -> list[ClassificationRow]:
    return [
        ClassificationRow.model_validate({"text": SECRET, "pair": SECRET, "label": label}) for label in labels
    ]


def answered(head: HeadSpec, probabilities: np.ndarray) -> list[Prediction]:
    found = []
    for one in probabilities:
        text, value, confidence = read(asked(["x"])[0], one, head)
        found.append(Prediction(text, Parsed(value), 3, False, confidence=confidence))
    return found


def case(count: int, size: int = 400) -> tuple[list[ClassificationRow], list[Prediction]]:
    """Rows of `count` labels, three quarters of them answered rightly."""
    generator = np.random.default_rng(count)
    labels = tuple(f"label_{n:03}" for n in range(count))
    drawn = generator.integers(0, count, size)
    aimed = np.where(generator.random(size) < 0.75, drawn, (drawn + 1) % count)
    shares = generator.dirichlet(np.full(count, 0.2), size)
    shares[np.arange(size), aimed] += 1 + generator.random(size)
    head = HeadSpec(kind="sequence", labels=labels)
    return asked([labels[n] for n in drawn]), answered(head, shares / shares.sum(1, keepdims=True))


@pytest.mark.parametrize(("count", "lines"), [(2, 2), (12, 12), (30, 30), (31, 15), (80, 15)])
def test_a_table_of_labels_and_pictures_that_can_be_read(tmp_path: Path, count: int, lines: int) -> None:
    rows, predictions = case(count)
    text = appendix(rows, predictions, tmp_path)
    table = text.split("## By label")[1].split("## Confusions")[0]
    assert table.count("\n| `label_") == lines
    assert (f"The 15 with the lowest F1 of {count}" in table) == (count > 30)
    assert 1 <= text.split("## Confusions")[1].split("## Calibration")[0].count("\n| `label_") <= 10
    assert SECRET not in text
    for name in ("confusion.png", "reliability.png"):
        assert f"({name})" in text
        assert (tmp_path / name).read_bytes()[:4] == b"\x89PNG"


def test_without_a_folder_there_is_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = appendix(*case(3), None)
    assert "![" not in text
    assert not list(tmp_path.iterdir())


def test_the_figures_of_a_label() -> None:
    head = HeadSpec(kind="sequence", labels=("a", "b", "c"))
    shares = np.array([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.9, 0.1, 0.0]])
    text = appendix(asked(["a", "b", "b", "new"]), answered(head, shares), None)
    assert "| `a` | 0.333 | 1.000 | 0.500 | 1 |" in text
    assert "| `b` | 1.000 | 0.500 | 0.667 | 2 |" in text
    assert "| `new` | never answered | 0.000 | 0.000 | 1 |" in text
    assert "| `b` | `a` | 1 | 50% |" in text
    assert "Never seen in training, so always missed: `new` (1)" in text
    assert "| `c` |" not in text  # neither among the references nor among the answers
    assert "0.750 on average and is right in 50.0% of the rows" in text


def test_a_label_that_would_break_the_table_and_the_picture(tmp_path: Path) -> None:
    names = ("a|b", "two\nlines", "$x^$", "`tick`", "l" * 200)
    head = HeadSpec(kind="sequence", labels=names)
    rows = asked(list(names))
    text = appendix(rows, answered(head, np.eye(5)[[0, 1, 2, 3, 0]]), tmp_path)
    table = text.split("## By label")[1].split("##")[0]
    assert [line.replace("\\|", "").count("|") for line in table.splitlines() if line.startswith("|")] == [
        6
    ] * 7
    assert "`a\\|b`" in table
    assert "`two lines`" in table


def test_all_right_and_one_label(tmp_path: Path) -> None:
    head = HeadSpec(kind="sequence", labels=("a", "b"))
    text = appendix(asked(["a"] * 3), answered(head, np.array([[0.9, 0.1]] * 3)), tmp_path)
    assert "## Confusions" not in text
    assert "| `a` | 1.000 | 1.000 | 1.000 | 3 |" in text


def test_any_number_of_labels(tmp_path: Path) -> None:
    head = HeadSpec(kind="sequence", problem="multi", labels=("a", "b"))
    shares = np.array([[0.9, 0.9], [0.1, 0.2], [0.9, 0.1]])
    options = ClassificationConfig(separator="|")
    text = appendix(asked(["a|b", "b", []]), answered(head, shares), tmp_path, options)
    assert "| `a` | 0.500 | 1.000 | 0.667 | 1 |" in text
    assert "| `b` | 1.000 | 0.500 | 0.667 | 2 |" in text
    assert "Labels a row: 1.00 in the references, 1.00 in the answers." in text
    assert SECRET not in text
    assert not list(tmp_path.iterdir())


def test_numbers(tmp_path: Path) -> None:
    head = HeadSpec(kind="sequence", problem="regression")
    text = appendix(asked([1.0, 2.0, 4.0]), answered(head, np.array([[1.5], [2.5], [4.5]])), tmp_path)
    assert "| mean error (answer less reference) | +0.5 |" in text
    assert "| Spearman | 1.000 |" in text
    assert (tmp_path / "regression.png").read_bytes()[:4] == b"\x89PNG"
    assert SECRET not in text
    assert "![" not in appendix(asked([1.0, 2.0]), answered(head, np.array([[1.0], [1.0]])), None)


def test_no_rows() -> None:
    assert appendix([], [], None) == ""
