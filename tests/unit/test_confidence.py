"""The calibration on rows whose truth is planted, and its measures against other implementations."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import mannwhitneyu
from tiny import byte_tokenizer

from appkit.config import build_run_config
from appkit.data.rows import Record
from appkit.evaluation import scores
from appkit.evaluation.plots import plot_confidence
from appkit.evaluation.report import _confidence
from appkit.evaluation.scores import read_evaluation
from appkit.heads.choose import head_of_bundle
from appkit.models.chat import Chat
from appkit.plugins import load_task
from appkit.stats.confidence import (
    Answered,
    Bin,
    Calibration,
    Uncalibrated,
    auroc,
    confidence,
    ece,
    fit,
    fit_metric,
    of_manifest,
    reliability,
)
from appkit.task import Metric, Parsed, Prediction

LOG_PROBABILITIES = st.lists(st.floats(-50, 0), min_size=1, max_size=60)


def planted(count: int, intercept: float, slope: float, seed: int = 0) -> list[Answered]:
    """Whole answers of 1 to 20 tokens, right with probability sigmoid(intercept + slope · sum)."""
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        tokens = -random.exponential(random.uniform(0.01, 0.6), random.integers(1, 21))
        chance = 1 / (1 + math.exp(-(intercept + slope * tokens.sum())))
        rows.append(Answered(tuple(tokens.tolist()), True, bool(random.random() < chance)))
    return rows


CALIBRATION = fit(planted(400, 2.0, 1.0), "strict")


# --- confidence -------------------------------------------------------------------------------------------


@given(LOG_PROBABILITIES, st.data())
def test_likelier_tokens_are_never_less_trusted(tokens: list[float], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(tokens) - 1))
    likelier = [*tokens[:place], tokens[place] / 2, *tokens[place + 1 :]]
    low, high = confidence(CALIBRATION, tokens, True), confidence(CALIBRATION, likelier, True)
    assert 0 <= low <= high <= 1


def test_the_extremes_are_numbers() -> None:
    assert confidence(CALIBRATION, [-1e9] * 100, True) < 1e-100
    assert 0.5 < confidence(CALIBRATION, [0.0], True) < 1
    with pytest.raises(ValueError, match="one log-probability a token, got none"):
        confidence(CALIBRATION, [], True)


def test_what_is_not_whole_has_its_own_rate() -> None:
    broken = [Answered((-0.1,), False, number < 10) for number in range(40)]
    found = fit(planted(200, 2.0, 1.0) + broken, "strict")
    assert confidence(found, [-0.01], False) == confidence(found, [], False) == 0.25
    assert (found.n, CALIBRATION.not_whole) == (240, 0.0)


# --- fit --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("intercept", "slope"), [(2.0, 1.0), (0.5, 0.4), (4.0, 2.5)])
def test_a_planted_relation_is_found(intercept: float, slope: float) -> None:
    found = fit(planted(20_000, intercept, slope), "strict")
    assert found.intercept == pytest.approx(intercept, abs=0.15)
    assert found.slope == pytest.approx(slope, rel=0.08)
    assert found.ece < 0.015
    assert abs(found.ece - found.ece_noise) < 0.01


def test_answers_that_are_right_when_unlikely_are_trusted_alike() -> None:
    upside_down = [Answered(row.log_probabilities, True, not row.right) for row in planted(500, 2.0, 1.0)]
    found = fit(upside_down, "strict")
    assert found.slope == 0
    assert confidence(found, [-1.0], True) == pytest.approx(found.right, abs=0.01)


def test_rows_that_a_threshold_separates_do_not_explode() -> None:
    rows = [Answered((-0.1 * number,), True, number < 15) for number in range(30)]
    found = fit(rows, "strict")
    assert found.auroc > 0.95
    assert found.slope < 20
    assert 0.5 < confidence(found, [0.0], True) < 0.999


def test_equal_answers_get_the_share_that_is_right() -> None:
    found = fit([Answered((-1.0,), True, number % 4 == 0) for number in range(80)], "strict")
    assert confidence(found, [-1.0], True) == pytest.approx(0.25, abs=0.02)
    assert confidence(found, [-3.0], True) == pytest.approx(0.25, abs=0.02)


def test_one_right_row_of_many_is_not_always_trusted() -> None:
    rows = [Answered((-0.1 * number,), True, number == 0) for number in range(60)]
    found = fit(rows, "strict")
    assert max(one.confidence for one in found.bins) < 0.9
    assert found.brier < 0.05


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([], "0 of 0 answers parse and were not cut off, 20 are needed"),
        (planted(19, 1.0, 1.0), "19 of 19 answers parse"),
        ([Answered((-1.0,), False, False)] * 50, "0 of 50 answers parse"),
        ([Answered((-1.0,), True, True)] * 30, "all 30 answers that parse are right"),
        ([Answered((-1.0,), True, False)] * 30, "all 30 answers that parse are wrong"),
        ([Answered((), True, number < 9) for number in range(30)], "kept without their log-probabilities"),
    ],
)
def test_what_cannot_be_calibrated_says_why(rows: list[Answered], reason: str) -> None:
    with pytest.raises(Uncalibrated, match=reason):
        fit(rows, "strict")


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(st.tuples(LOG_PROBABILITIES, st.booleans(), st.booleans()), min_size=20, max_size=60))
def test_any_rows_give_probabilities_or_nothing(rows: list[tuple[list[float], bool, bool]]) -> None:
    answered = [Answered(*row) for row in rows]
    try:
        found = fit(answered, "strict")
    except Uncalibrated:
        return
    for row in answered:
        assert 0 <= confidence(found, row.log_probabilities, row.whole) <= 1
    for share in (found.auroc, found.brier, found.ece, found.ece_noise):
        assert 0 <= share <= 1


def test_the_measures_are_of_rows_that_were_not_fitted() -> None:
    """Coin tosses: a fit of its own rows would seem to know something."""
    random = np.random.default_rng(3)
    found = [
        fit([Answered((-float(x),), True, bool(random.random() < 0.5)) for x in random.random(60)], "strict")
        for _ in range(40)
    ]
    assert np.mean([one.brier for one in found]) > 0.25
    assert np.mean([one.auroc for one in found]) < 0.5


# --- measures ---------------------------------------------------------------------------------------------


def test_auroc_is_the_statistic_of_mann_and_whitney() -> None:
    random = np.random.default_rng(0)
    for decimals in (1, 12):  # with and without ties
        judged, right = random.random(200).round(decimals), (random.random(200) < 0.4).astype(float)
        u = mannwhitneyu(judged[right == 1], judged[right == 0]).statistic
        pairs = right.sum() * (200 - right.sum())
        assert auroc(judged, right) == pytest.approx(u / pairs)


def test_ece_by_hand() -> None:
    judged = np.array([0.9, 0.1, 0.2, 0.8])
    right = np.array([1.0, 0.0, 1.0, 1.0])
    bins = reliability(judged, right)  # fewer rows than bins: one each
    assert [one.confidence for one in bins] == [0.1, 0.2, 0.8, 0.9]
    assert ece(bins) == pytest.approx((0.1 + 0.8 + 0.2 + 0.1) / 4)
    assert ece([Bin(confidence=0.5, right=0.25, n=3), Bin(confidence=0.5, right=1.0, n=1)]) == 0.3125
    assert [one.n for one in reliability(np.arange(25) / 25, np.ones(25))] == [3] * 5 + [2] * 5


def test_ece_tells_calibrated_from_shifted() -> None:
    random = np.random.default_rng(0)
    judged = random.random(20_000)
    right = (random.random(20_000) < judged).astype(float)
    assert ece(reliability(judged, right)) < 0.015
    assert ece(reliability(np.clip(judged + 0.3, 0, 1), right)) > 0.2
    assert ece(reliability(judged**3, right)) > 0.2


# --- bundles ----------------------------------------------------------------------------------------------


def test_a_manifest_gives_it_back() -> None:
    manifest = json.loads(json.dumps({"confidence": CALIBRATION.model_dump(mode="json")}))
    assert of_manifest(manifest) == CALIBRATION
    assert of_manifest({"confidence": None}) is of_manifest({}) is None
    with pytest.raises(ValidationError, match="slope"):
        Calibration.model_validate(manifest["confidence"] | {"slope": -1})


def test_a_report_shows_it_or_says_why_not(tmp_path: Path) -> None:
    shown = _confidence(CALIBRATION)
    assert f"| ECE | {CALIBRATION.ece:.3f} | {CALIBRATION.ece_noise:.3f} by chance alone" in shown
    assert "n = 400" in shown
    assert _confidence(Uncalibrated("all wrong")) == "Answers carry no confidence: all wrong."
    plot_confidence(CALIBRATION, tmp_path / "confidence.png")
    assert (tmp_path / "confidence.png").read_bytes().startswith(b"\x89PNG")


def metric(*, higher: bool = True) -> Metric:
    return Metric("m", "", lambda row, prediction: (), higher_is_better=higher)


def test_predictions_are_read_as_answered() -> None:
    rows = planted(60, 2.0, 1.0)
    predictions = [Prediction("x", Parsed("x"), 1, False, tuple(row.log_probabilities)) for row in rows]
    predictions += [
        Prediction("", Parsed(None, "empty"), 1, False, (-1.0,)),
        Prediction("", Parsed(""), 1, True, (-1.0,)),
    ]
    matrix = np.array([[float(row.right)] for row in rows] + [[0.0], [1.0]])
    broken = [Answered((-1.0,), False, False), Answered((-1.0,), False, True)]
    assert fit_metric(metric(), matrix, predictions) == fit(rows + broken, "m")


@pytest.mark.parametrize(
    ("judge", "matrix"),
    [
        (metric(), np.full((30, 1), 0.5)),
        (metric(), np.ones((30, 2))),
        (metric(higher=False), np.ones((30, 1))),
    ],
    ids=["a grade", "BLEU", "an error rate"],
)
def test_a_metric_that_judges_no_row_calibrates_nothing(judge: Metric, matrix: np.ndarray) -> None:
    with pytest.raises(Uncalibrated, match=r"m does not judge a row as right \(1\) or wrong \(0\)"):
        fit_metric(judge, matrix, [Prediction("x", Parsed("x"), 1, False, (-1.0,))] * 30)


def test_answers_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    """Whatever ends a line to str.splitlines is a character like any other."""
    task = load_task("nl2fol")
    record = Record(task.row(sentence="One\u2028two.", formula="P(a)"), "rows.jsonl", 1, "1")
    head = head_of_bundle(
        {"decoding": {"cap": 8}}, build_run_config({"task": "nl2fol"}), task, Chat(byte_tokenizer())
    )
    answer = Prediction("P(a)\u2028\u2029\u0085 Q(b)", Parsed("P(a)"), 4, False)
    scores.scored("adapter", task, [record], [answer], 1.0, 10).write(tmp_path / "predictions.jsonl", task)
    (found,) = read_evaluation(tmp_path / "predictions.jsonl", "adapter", head, [record], 10).predictions
    assert (found.text, found.tokens) == (answer.text, answer.tokens)
