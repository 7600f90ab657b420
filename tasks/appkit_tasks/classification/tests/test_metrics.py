"""The metrics against scikit-learn and SciPy, on random answers and at the edges."""

import time
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from appkit_tasks.classification import TASK
from appkit_tasks.classification.config import ClassificationConfig
from appkit_tasks.classification.load import ClassificationRow
from appkit_tasks.classification.metrics import METRICS, PRIMARY, metrics_for, reliability
from scipy.stats import spearmanr
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    matthews_corrcoef,
    mean_absolute_error,
    r2_score,
)

from appkit.stats import confidence
from appkit.task import HeadSpec, Parsed, Prediction

UNSEEN = "never seen in training"
EXACT = {"rel": 1e-12, "abs": 1e-12}


def rows(labels: Sequence[object]) -> list[ClassificationRow]:
    return [ClassificationRow.model_validate({"text": "t", "label": label}) for label in labels]


def answers(values: Sequence[object]) -> list[Prediction]:
    return [Prediction("", Parsed(value), 1, False) for value in values]


def scores(
    head: HeadSpec, gold: Sequence[object], values: Sequence[object], **options: object
) -> dict[str, float]:
    metrics, _ = metrics_for(head, ClassificationConfig.model_validate(options))
    return {
        metric.name: metric.aggregate(
            np.array(
                [metric.statistics(r, p) for r, p in zip(rows(gold), answers(values), strict=True)],
                dtype=np.float64,
            )
        )
        for metric in metrics
    }


def single(labels: Sequence[str], **more: object) -> HeadSpec:
    return HeadSpec.model_validate({"kind": "sequence", "labels": tuple(labels), **more})


def one_label(labels: Sequence[str], shares: np.ndarray) -> list[dict[str, object]]:
    found = []
    for row in shares:
        order = np.argsort(-row, kind="stable")
        ordered = {labels[n]: float(row[n]) for n in order}
        best, share = next(iter(ordered.items()))
        found.append({"label": best, "probability": share, "probabilities": ordered})
    return found


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("count", "size"), [(2, 40), (5, 300), (60, 100), (200, 500), (3, 1)])
def test_one_label_as_scikit_learn_has_it(count: int, size: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = [f"label {n}" for n in range(count)]
    shares = generator.dirichlet(np.full(count, 0.3), size)
    drawn = generator.integers(0, count, size)
    shares[np.arange(size), drawn] += generator.random(size)  # better than chance
    shares /= shares.sum(1, keepdims=True)
    gold = [labels[n] for n in drawn]
    for place in range(0, size, 7):  # two labels that the head does not know
        gold[place] = f"new {place % 2}"
    values = one_label(labels, shares)
    got = scores(single(labels), gold, values)

    mapped = [label if label in labels else UNSEEN for label in gold]
    given = [value["label"] for value in values]
    right = np.array([float(a == b) for a, b in zip(mapped, given, strict=True)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert got == pytest.approx(
            {
                "macro F1": f1_score(mapped, given, average="macro"),
                "accuracy": accuracy_score(mapped, given),
                "weighted F1": f1_score(mapped, given, average="weighted"),
                "MCC": matthews_corrcoef(mapped, given),
                "ECE": confidence.ece(confidence.reliability(shares.max(1), right)),
            },
            **EXACT,
        )


@pytest.mark.parametrize(
    ("gold", "given"),
    [
        (["a", "a"], ["a", "a"]),
        (["a", "a"], ["b", "b"]),
        (["a", "b"], ["a", "a"]),
        (["x", "y"], ["a", "b"]),
        (["a"], ["a"]),
    ],
)
def test_labels_that_do_not_occur_are_left_out(gold: list[str], given: list[str]) -> None:
    values = [{"label": label, "probability": 1.0, "probabilities": {label: 1.0}} for label in given]
    got = scores(single("abc"), gold, values)
    mapped = [label if label in "abc" else UNSEEN for label in gold]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert got["macro F1"] == pytest.approx(f1_score(mapped, given, average="macro"), **EXACT)
        assert got["weighted F1"] == pytest.approx(f1_score(mapped, given, average="weighted"), **EXACT)
        assert got["MCC"] == pytest.approx(matthews_corrcoef(mapped, given), **EXACT)


def test_out_of_scope_is_a_label_like_the_others() -> None:
    def value(label: str) -> dict[str, object]:
        return {"label": label, "probability": 0.4, "probabilities": {"a": 0.4, "b": 0.3, "c": 0.3}}

    got = scores(
        single("abc", oos="other", threshold=0.5),
        ["other", "a", "b"],
        list(map(value, ["other", "a", "other"])),
    )
    assert got["accuracy"] == pytest.approx(2 / 3)
    assert got["macro F1"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert got["ECE"] == pytest.approx((0.4 + 0.6 + 0.4) / 3)  # of the likeliest label, whatever was answered


def test_whole_numbers_are_labels() -> None:
    value = {"label": "3", "probability": 1.0, "probabilities": {"3": 1.0}}
    assert scores(single(["3"]), [3, 3.0, "3"], [value] * 3)["accuracy"] == 1


def test_an_answer_of_another_head_is_refused() -> None:
    value = {"label": "z", "probability": 1.0, "probabilities": {"z": 1.0}}
    with pytest.raises(ValueError, match=r"the head's labels are \['a', 'b'\], got the answer 'z'"):
        scores(single("ab"), ["a"], [value])
    with pytest.raises(ValueError, match="got the answer 'z'"):
        scores(single("ab", problem="multi"), [["a"]], [{"labels": ["z"], "probabilities": {"z": 1.0}}])


# --- any number of labels --------------------------------------------------------------------------------


def several(sets: Sequence[Sequence[str]]) -> list[dict[str, object]]:
    return [{"labels": list(one), "probabilities": {}} for one in sets]


def drawn_sets(
    generator: np.random.Generator, labels: Sequence[str], size: int, share: float
) -> list[list[str]]:
    inside = generator.random((size, len(labels))) < share
    return [[label for label, one in zip(labels, row, strict=True) if one] for row in inside]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    ("count", "size", "share"), [(1, 5, 0.5), (4, 300, 0.3), (80, 60, 0.02), (30, 500, 0.9)]
)
def test_any_number_of_labels_as_scikit_learn_has_it(count: int, size: int, share: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = [f"label {n}" for n in range(count)]
    gold, given = (drawn_sets(generator, labels, size, share) for _ in range(2))
    gold[0] = [*gold[0], "new", "newer"]
    given[1] = gold[1]
    got = scores(single(labels, problem="multi"), gold, several(given))

    names = [*labels, UNSEEN]
    a, b = (
        np.array(
            [[name in one for name in labels] + [any(label not in labels for label in one)] for one in side]
        )
        for side in (gold, given)
    )
    assert a.shape == (size, len(names))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert got == pytest.approx(
            {
                "micro F1": f1_score(a, b, average="micro", zero_division=1),
                "macro F1": f1_score(a, b, average="macro", zero_division=np.nan),
                "subset accuracy": accuracy_score(a, b),
            },
            **EXACT,
        )


def test_nothing_to_find_and_nothing_claimed_is_right() -> None:
    got = scores(single("ab", problem="multi"), [[], []], several([[], []]))
    assert got == {"micro F1": 1, "macro F1": 1, "subset accuracy": 1}


def test_counts_beyond_a_packed_float() -> None:
    """150,000 rows: more than one float's field can count."""
    metric = {one.name: one for one in metrics_for(single("ab", problem="multi"))[0]}["macro F1"]
    one = [
        metric.statistics(rows([label])[0], answers(several([given]))[0])
        for label, given in ([["a"], ["a"]], [["a", "b"], ["a"]], [["b"], ["b"]])
    ]
    matrix = np.array(one, dtype=np.float64).repeat(50_000, 0)
    assert metric.aggregate(matrix) == pytest.approx((1 + 2 / 3) / 2, **EXACT)


def test_a_separator_splits_the_references_too() -> None:
    head, given = single("ab", problem="multi"), several([["b", "a"], ["b"]])
    assert scores(head, ["a|b", "b"], given, separator="|")["subset accuracy"] == 1
    micro, *_ = metrics_for(head)[0]  # nobody said what separates
    assert micro.statistics(rows(["b"])[0], answers(given)[1])[0] == 1
    with pytest.raises(
        ValueError, match=r"the row has the text 'a\|b', none of the head's: pass the options"
    ):
        micro.statistics(rows(["a|b"])[0], answers(given)[0])


# --- numbers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("decimals", [0, 1, 6])
def test_numbers_as_scikit_learn_and_scipy_have_them(decimals: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    gold = np.round(generator.normal(3, 1, 200), decimals)  # few decimals: many equal ranks
    given = np.round(gold + generator.normal(0, 0.7, 200), decimals)
    got = scores(
        HeadSpec(kind="sequence", problem="regression"), gold.tolist(), [{"value": v} for v in given.tolist()]
    )
    assert got == pytest.approx(
        {
            "Spearman": spearmanr(gold, given).statistic,
            "R2": r2_score(gold, given),
            "MAE": mean_absolute_error(gold, given),
        },
        **EXACT,
    )


@pytest.mark.parametrize(
    ("gold", "given", "found"),
    [
        ([2.5, 2.5], [2.5, 2.5], {"Spearman": 0, "R2": 1, "MAE": 0}),
        ([2.5, 2.5], [1.0, 2.0], {"Spearman": 0, "R2": 0, "MAE": 1}),
        ([1.0, 2.0], [3.0, 3.0], {"Spearman": 0, "R2": r2_score([1, 2], [3, 3]), "MAE": 1.5}),
        (["1.5", "2"], [1.5, 2.0], {"Spearman": 1, "R2": 1, "MAE": 0}),
    ],
)
def test_numbers_at_the_edges(gold: list, given: list[float], found: dict[str, float]) -> None:
    got = scores(HeadSpec(kind="sequence", problem="regression"), gold, [{"value": v} for v in given])
    assert got == pytest.approx(found, **EXACT)


# --- together --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("problem", sorted(PRIMARY))
def test_each_problem_has_its_metrics(problem: str) -> None:
    labels = () if problem == "regression" else ("a", "b")
    metrics, primary = metrics_for(
        HeadSpec.model_validate({"kind": "sequence", "problem": problem, "labels": labels})
    )
    names = [metric.name for metric in metrics]
    assert names == [metric.name for metric in METRICS[problem]]
    assert primary == PRIMARY[problem] == names[0]


def test_the_first_column_orders_rows_by_how_right_they_are() -> None:
    def first(head: HeadSpec, gold: object, value: object) -> float:
        metrics, primary = metrics_for(head)
        metric = {one.name: one for one in metrics}[primary]
        return metric.statistics(rows([gold])[0], answers([value])[0])[0]

    multi, number = single("ab", problem="multi"), HeadSpec(kind="sequence", problem="regression")
    good = {"label": "a", "probability": 1.0, "probabilities": {"a": 1.0}}
    assert first(single("ab"), "a", good) > first(single("ab"), "b", good)
    partly, wrong = ({"labels": labels, "probabilities": {}} for labels in (["a"], ["b"]))
    assert first(multi, ["a"], partly) > first(multi, ["a", "b"], partly) > first(multi, ["a"], wrong)
    assert first(number, 2.0, {"value": 2.1}) > first(number, 2.0, {"value": 1.0})


def test_the_record_of_the_pack_takes_the_metrics_of_one_label() -> None:
    assert (TASK.metrics, TASK.primary) == (METRICS["single"], "macro F1")


def test_reliability_has_the_bins_of_the_core() -> None:
    generator = np.random.default_rng(0)
    for size in (1, 9, 10, 137):
        judged, right = generator.random(size), generator.integers(0, 2, size).astype(float)
        expected = [(one.right, one.confidence, one.n) for one in confidence.reliability(judged, right)]
        np.testing.assert_allclose(reliability(np.column_stack([right, judged])), expected, rtol=1e-12)


def _seconds(aggregate: Callable[[np.ndarray], float], matrix: np.ndarray) -> float:
    def once() -> float:
        began = time.perf_counter()
        aggregate(matrix)
        return time.perf_counter() - began

    return min(once() for _ in range(30))


def test_aggregates_are_quick() -> None:
    """3000 rows, 200 labels; a bootstrap calls each 2000 times. The bound is loose: machines differ."""
    generator = np.random.default_rng(0)
    pair = np.column_stack([np.zeros(3000), *generator.integers(0, 200, (2, 3000))]).astype(float)
    for metric in metrics_for(single([str(n) for n in range(200)]))[0]:
        matrix = generator.random((3000, 2)) if metric.name == "ECE" else pair
        assert _seconds(metric.aggregate, matrix) < 2e-3, metric.name
