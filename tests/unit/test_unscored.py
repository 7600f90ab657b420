"""A metric that cannot score a row counts it and says so; it ends nothing, and every answer is kept."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from appkit_tasks.classification.metrics import metrics_for

from appkit.cli.training import _write_evaluations
from appkit.data.rows import Record, fingerprint
from appkit.evaluation.plots import plot_scores
from appkit.evaluation.report import comparisons, model_card, report, strongest, table, verdict
from appkit.evaluation.scores import Evaluation, scored
from appkit.plugins import load_task
from appkit.serving.certify import metric
from appkit.serving.export import _write_card
from appkit.stats.confidence import Uncalibrated
from appkit.task import HeadSpec, Metric, Parsed, Prediction, Task

NL2FOL = load_task("nl2fol")
GOLDEN = Path(__file__).parents[1] / "golden" / "version_0_1"
LONG = " ∧ ".join(f"P{number}(a)" for number in range(20))
"""more atoms than a truth table holds"""


def row(formula: str, line: int = 1) -> Record:
    return Record(NL2FOL.row(sentence="It is so.", formula=formula), "rows.jsonl", line, str(line))  # type: ignore[call-arg]


def answer(text: str) -> Prediction:
    return Prediction(text, NL2FOL.head.parse(text), 4, False)  # type: ignore[union-attr]


def evaluated(
    task: Task, formulas: Sequence[str], answers: Sequence[str], who: str = "adapter"
) -> Evaluation:
    records = [row(formula, line) for line, formula in enumerate(formulas, 1)]
    return scored(who, task, records, list(map(answer, answers)), 1.0, 50)


def with_metric(
    statistics: Callable[[Any, Prediction], Sequence[float]], name: str = "LE", **more: Any
) -> Task:
    metrics = [Metric(name, "m", statistics, **more) if m.name == name else m for m in NL2FOL.metrics]
    return replace(NL2FOL, metrics=tuple(metrics))


def test_a_reference_over_the_limit_of_a_truth_table_is_counted_and_the_other_metrics_score_it() -> None:
    found = evaluated(NL2FOL, ["P(a)", LONG, "Q(b)"], ["P(a)", LONG, "¬Q(b)"])
    le = found.scores["LE"]
    assert (le.interval.value, le.interval.n, le.scored.tolist()) == (0.5, 2, [True, False, True])
    assert found.scores["strict"].interval.n == 3
    assert found.scores["strict"].interval.value == pytest.approx(2 / 3)
    (remark,) = found.remarks
    assert remark.text == "LE could not score 1 of 3 rows, its value is over the other 2"
    assert remark.why == "rows.jsonl:2: ValueError: the reference has 20 distinct atoms, the limit is 14"
    assert found.strata["complexity"]["simpler"].n == 2


def fail(row: Any, prediction: Prediction) -> tuple[float]:
    if prediction.text == "Q(b)":
        raise KeyError("half\nof it")
    return (1.0,)


FAULTY = {
    "raises": (fail, "KeyError: 'half\\nof it'"),
    "gives nan": (lambda _, p: (math.nan if p.text == "Q(b)" else 1.0,), "ValueError: it gave [nan]"),
    "gives nothing": (lambda _, p: () if p.text == "Q(b)" else (1.0,), "ValueError: it gave []"),
    "gives None": (lambda _, p: None if p.text == "Q(b)" else (1.0,), "TypeError: 'NoneType'"),
    "gives another width": (
        lambda _, p: (0.0, 0.0) if p.text == "Q(b)" else (1.0,),
        "it gave 2 figures, 1 for other rows",
    ),
}


@pytest.mark.parametrize(("statistics", "why"), FAULTY.values(), ids=FAULTY)
def test_a_third_partys_metric_may_fail_on_a_row_in_any_way(statistics: Any, why: str) -> None:
    found = evaluated(with_metric(statistics), ["P(a)", "Q(b)", "P(b)"], ["P(a)", "Q(b)", "P(c)"])
    assert found.scores["LE"].interval.value == 1
    assert found.scores["LE"].interval.n == 2
    assert why in found.remarks[0].why.replace("\\\\n", "\\n")
    assert found.scores["exact"].interval.n == 3


def test_a_metric_without_any_value_leaves_a_report_without_it(tmp_path: Path) -> None:
    def never(row: Any, prediction: Prediction) -> tuple[float]:
        raise ModuleNotFoundError("No module named 'bleurt'")

    def broken(matrix: np.ndarray) -> float:
        raise ZeroDivisionError

    tasks = [
        with_metric(never, "strict"),
        with_metric(lambda _, p: (1.0,), "strict", aggregate=broken),
        with_metric(lambda _, p: (1.0,), "strict", aggregate=lambda matrix: math.nan),
    ]
    for task in tasks:
        a, b = (evaluated(task, ["P(a)", "Q(b)"], ["P(a)", "P(b)"], who) for who in ("base", "adapter"))
        assert b.scores["strict"].interval.n == 0
        assert "strict" not in b.summary()["metrics"]
        json.dumps(b.summary(), allow_nan=False)
        compared = comparisons(a, b, 50)
        assert set(compared) == {m.name for m in task.metrics} - {"strict"}
        sentence = verdict(task, compared.get("strict"), a.who, b.who)
        assert sentence == "adapter and base could not be compared: strict has no value on the same rows."
        assert strongest([a, b], task) is a
        assert table([a, b])[1][0] == ["strict", "no value", "no value"]
        no = Uncalibrated("nothing")
        text = report(task, [a, b], compared, sentence, no, {}, [], rows_shown=True)
        assert "- adapter: strict " in text.split("## Rows without a score")[1]
        plot_scores([a, b], tmp_path / "scores.png")
        assert (tmp_path / "scores.png").stat().st_size > 1000


def test_what_could_not_be_scored_is_in_the_report_and_its_reason_only_where_rows_may_be_shown() -> None:
    found = evaluated(with_metric(fail), ["P(a)", "Q(b)"], ["P(a)", "Q(b)"])
    no = Uncalibrated("nothing")
    own, public = (report(NL2FOL, [found], {}, "x", no, {}, [], rows_shown=shown) for shown in (True, False))
    line = "- adapter: LE could not score 1 of 2 rows, its value is over the other 1"
    assert f"{line} (rows.jsonl:2: KeyError" in own
    assert f"{line}\n" in public
    assert "KeyError" not in public
    assert "n = 1 |" in table([found])[1][2][1] + " |"


def test_answers_are_compared_on_the_rows_that_both_have_scored() -> None:
    formulas = ["P(a)", "Q(b)", "Q(c)", "P(d)"]
    a = evaluated(with_metric(fail, "strict"), formulas, ["P(a)", "Q(b)", "Q(c)", "P(d)"])
    b = evaluated(with_metric(fail, "strict"), formulas, ["P(a)", "P(b)", "Q(c)", "Q(b)"])
    assert comparisons(a, b, 50)["strict"].n == 2
    assert comparisons(a, b, 50)["exact"].n == 4


def test_a_group_that_cannot_be_named_is_counted() -> None:
    def depth(row: Any) -> str:
        if row.formula == "Q(b)":
            raise RecursionError("too deep")
        return "flat"

    task = replace(NL2FOL, strata={"depth": depth})
    found = evaluated(task, ["P(a)", "Q(b)"], ["P(a)", "P(b)"])
    assert {name: group.n for name, group in found.strata["depth"].items()} == {"flat": 1, "not grouped": 1}
    assert str(found.remarks[-1]).startswith("1 of 2 rows could not be grouped by depth (rows.jsonl:2: ")


def test_every_answer_is_written_scored_or_not(tmp_path: Path) -> None:
    """Also one that the pack read into an object of its own, which JSON has no form for."""
    task = with_metric(fail)
    odd = Prediction("P(a)", Parsed({1: Path("x"), "y": frozenset({1})}), 1, False)
    records = [row("P(a)"), row("Q(b)", 2)]
    scored("adapter", task, records, [odd, answer("Q(b)")], 1.0, 10).write(tmp_path / "answers.jsonl", task)
    entries = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [entry["text"] for entry in entries] == ["P(a)", "Q(b)"]
    assert [entry["statistics"]["LE"] for entry in entries] == [[1.0], None]


def test_a_pack_that_fails_to_read_an_answer_gives_an_answer_that_could_not_be_read() -> None:
    from tiny import byte_tokenizer

    from appkit.heads.lm.answer import read_tokens
    from appkit.models.chat import Chat
    from appkit.task import TextHead

    def fails(text: str) -> Parsed:
        raise RecursionError("too deep")

    chat = Chat(byte_tokenizer())
    found = read_tokens(TextHead(parse=fails), chat, chat.ids("P(a)"), ended=True)
    assert found.text == "P(a)"
    assert found.parsed == Parsed(None, "the pack failed to read it: RecursionError: too deep")


CLASSIFICATION = load_task("classification")


def label_evaluated(problem: str, labels: Sequence[Any], values: Sequence[Any], who: str) -> Evaluation:
    """Answers of a classification head, with the metrics of its problem."""
    names = () if problem == "regression" else ("bad", "good")
    head = HeadSpec(kind="sequence", problem=problem, labels=names)  # type: ignore[arg-type]
    metrics, primary = metrics_for(head)
    task = replace(CLASSIFICATION, metrics=metrics, primary=primary)
    records = [
        Record(task.row(text=f"t{n}", label=label), "rows.jsonl", n, str(n))  # type: ignore[call-arg]
        for n, label in enumerate(labels, 1)
    ]
    answers = [Prediction(str(value), Parsed({"label": value, "value": value}), 1, False) for value in values]
    return scored(who, task, records, answers, 1.0, 50)


def test_pictures_and_tables_show_the_metrics_that_a_head_has(tmp_path: Path) -> None:
    """`appkit eval BUNDLE --to` knew the metrics of single labels only, and ended with a KeyError after the work."""
    numbers = label_evaluated("regression", [0.5, 1.5, 2.5, 4.0], [0.6, 1.4, 2.0, 4.0], "numbers")
    assert "Spearman" in numbers.scores
    assert "accuracy" not in numbers.scores
    result = SimpleNamespace(evaluations=[numbers])
    _write_evaluations(tmp_path, result, CLASSIFICATION)
    assert {file.name for file in tmp_path.iterdir()} == {"predictions.0.jsonl", "scores.json", "scores.png"}
    (summary,) = json.loads((tmp_path / "scores.json").read_text())
    assert set(summary["metrics"]) <= set(numbers.scores)
    other = evaluated(NL2FOL, ["P(a)"], ["P(a)"], "other")  # two columns without a metric in common
    plot_scores([other, numbers], tmp_path / "both.png")
    assert (tmp_path / "both.png").stat().st_size > 1000
    assert {row[1] for row in table([other, numbers])[1]} == {""}
    assert comparisons(other, numbers, 50) == {}


RECORDED = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 2, "level": 0.95}


def measured_again(
    monkeypatch: pytest.MonkeyPatch, task: Task, recorded: dict[str, Any], rows: int | None = None
) -> Any:
    """What certifying says of the metric, with an engine that answers the first of two rows right."""
    records = [row("P(a)"), row("Q(b)", 2)]

    class Head:
        def question(self, value: Any, wishes: Any) -> Any:
            return value

        async def ask(self, engine: Any, adapter: str, value: Any) -> Any:
            return SimpleNamespace(prediction=answer("P(a)"))

    manifest = {"metrics": recorded, "data": {"documents": None, "test": fingerprint(records)}}
    config = SimpleNamespace(eval=SimpleNamespace(rows=None))
    deployment: Any = SimpleNamespace(manifest=manifest, task=task, config=config, head=Head())
    monkeypatch.setattr(metric, "load_rows", lambda *_: (SimpleNamespace(test=records), None))
    return asyncio.run(metric.check_metric(deployment, None, "x", rows))  # type: ignore[arg-type]


def test_a_certificate_says_where_the_metric_has_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(row: Any, prediction: Prediction) -> tuple[float]:
        raise ModuleNotFoundError("No module named 'bleurt'")

    whole = {"adapter": {"metrics": {"strict": RECORDED}}}
    check = measured_again(monkeypatch, NL2FOL, whole)
    assert check.passed
    assert check.figure.startswith("0.500 [")
    assert check.figure.endswith("on 2 rows, recorded 0.500")
    for recorded in ({"adapter": {"metrics": {"parse": RECORDED}}}, {"adapter": {"metrics": {}}}, {}):
        check = measured_again(monkeypatch, NL2FOL, recorded)
        assert check.passed is None
        assert check.figure.endswith("on 2 rows, no value was recorded")
        check = measured_again(monkeypatch, with_metric(never, "strict"), recorded)
        assert (check.passed, check.figure) == (None, "no value on 2 rows, no value was recorded")
    check = measured_again(monkeypatch, with_metric(never, "strict"), whole)
    assert (check.passed, check.figure) == (False, "no value on 2 rows, recorded 0.500")
    check = measured_again(monkeypatch, with_metric(never, "strict"), whole, rows=1)
    assert (check.passed, check.figure) == (None, "no value on 1 rows, recorded 0.500")


def test_the_card_of_an_export_shows_what_each_contender_has() -> None:
    manifest = json.loads((GOLDEN / "nl2fol" / "appkit.json").read_text(encoding="utf-8"))
    base, *_ = manifest["metrics"]
    del manifest["metrics"][base]["metrics"]["strict"]
    del manifest["metrics"]["adapter"]["metrics"]["parse"]
    card = _write_card(manifest, False, None)
    assert f"| metric | {' | '.join(manifest['metrics'])} |" in card
    (strict,) = (line for line in card.splitlines() if line.startswith("| strict |"))
    (parse,) = (line for line in card.splitlines() if line.startswith("| parse |"))
    assert strict.startswith("| strict | no value | 0.556 [")
    assert parse.startswith("| parse | 0.000 [0.000, 0.000] |")
    assert parse.endswith("| no value |")
    for metrics in ({}, {"adapter": {"metrics": {}}}):
        assert "| metric |" not in _write_card({**manifest, "metrics": metrics}, False, None)


def test_the_card_of_a_bundle_needs_no_value() -> None:
    manifest = json.loads((GOLDEN / "nl2fol" / "appkit.json").read_text(encoding="utf-8"))
    assert "**no verdict**" in model_card(NL2FOL, {**manifest, "metrics": {}}, "no verdict")


@pytest.mark.parametrize("name", ["rag_answers", "classification"])
def test_the_tables_of_benchmarks_have_gaps(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(__file__).parents[2] / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", folder / f"{name}.py")
    assert spec
    assert spec.loader
    program = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, program)
    spec.loader.exec_module(program)
    if name == "rag_answers":
        cells = program.cells({"F1": RECORDED})
        assert cells[0] == "0.500 [0.400, 0.600]"
        assert set(cells[1:]) == {"no value"}
        return
    run = program.Run("trec6", "LS causal", 0, {"accuracy": 0.5}, 1.0, "test", "")
    rival = replace(run, contender="majority", metrics={"macro F1": 0.25})
    text = program.markdown([run, rival])
    assert "no value" in text
    assert "0.250" in text
