"""Intervals against scipy's bootstrap, p-values against all sign flips, power against simulation."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats as scipy_stats

from appkit.evaluation.report import verdict
from appkit.stats.intervals import Comparison, bootstrap, compare
from appkit.task import row_mean


def mean(matrix: np.ndarray) -> float:
    return float(matrix[:, 0].mean())


def ratio(matrix: np.ndarray) -> float:
    """As BLEU or micro F1: sums over rows first."""
    return float(matrix[:, 0].sum() / matrix[:, 1].sum())


def column(values: list[float] | np.ndarray) -> np.ndarray:
    return np.asarray(values, dtype=np.float64)[:, None]


def test_the_interval_of_a_mean_is_that_of_scipy() -> None:
    draw = np.random.default_rng(1)
    for values in (draw.random(80), (draw.random(40) < 0.8).astype(float), draw.exponential(3, 25)):
        got = bootstrap(column(values), mean, resamples=20_000)
        theirs = scipy_stats.bootstrap(
            (values,), np.mean, n_resamples=20_000, method="percentile", random_state=3
        ).confidence_interval
        # Monte Carlo error of a 2.5 % quantile at 20,000 resamples: some 2 % of the standard error
        close = 0.06 * values.std() / np.sqrt(len(values)) + 0.5 / len(values) * (set(values) <= {0.0, 1.0})
        assert got.value == pytest.approx(values.mean())
        assert (got.low, got.high) == pytest.approx((theirs.low, theirs.high), abs=close)
        assert (got.n, got.level) == (len(values), 0.95)


def test_the_interval_of_an_aggregate_over_columns_is_that_of_scipy() -> None:
    draw = np.random.default_rng(2)
    length = draw.integers(3, 30, 60).astype(float)
    hits = np.minimum(length, draw.poisson(length * 0.6))
    matrix = np.stack([hits, length], 1)
    got = bootstrap(matrix, ratio, resamples=10_000)
    theirs = scipy_stats.bootstrap(
        (hits, length), lambda a, b, axis: a.sum(axis) / b.sum(axis),
        paired=True, vectorized=True, n_resamples=10_000, method="percentile", random_state=4,
    )  # fmt: skip
    assert got.value == hits.sum() / length.sum() != pytest.approx(np.mean(hits / length), abs=1e-3)
    expected = theirs.confidence_interval
    assert (got.low, got.high) == pytest.approx(
        (expected.low, expected.high), abs=0.08 * theirs.standard_error
    )


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    draw, truth, covered = np.random.default_rng(5), 0.7, 0
    for _ in range(400):
        interval = bootstrap(column(draw.random(80) < truth), mean, resamples=400)
        covered += interval.low <= truth <= interval.high
    assert 0.91 <= covered / 400 <= 0.98


def test_an_aggregate_that_equals_the_mean_by_chance_is_still_itself() -> None:
    def median(matrix: np.ndarray) -> float:
        return float(np.median(matrix[:, 0]))

    values = np.concatenate([np.linspace(-10, -9, 20), [0.0], np.linspace(9, 10, 20)])
    assert median(column(values)) == pytest.approx(values.mean(), abs=0)
    interval = bootstrap(column(values), median, resamples=2000)
    # the median of a resample is at one of the two ends, hardly ever between
    assert interval.low < -8 < 8 < interval.high


def exact_p(a: np.ndarray, b: np.ndarray, aggregate) -> float:  # type: ignore[no-untyped-def]
    """Share of all 2^n ways to swap the systems row by row that differ at least as much."""
    observed = abs(aggregate(b) - aggregate(a))
    flips = [np.array(flip)[:, None] for flip in itertools.product([False, True], repeat=len(a))]
    differences = [abs(aggregate(np.where(f, a, b)) - aggregate(np.where(f, b, a))) for f in flips]
    return float(np.mean(np.array(differences) >= observed - 1e-12))


@pytest.mark.parametrize(
    "pairs",
    [
        ([0, 0, 0, 1, 0, 1, 0, 0], [1, 1, 1, 1, 1, 1, 0, 1]),
        ([0.1, 0.5, 0.3, 0.9, 0.2], [0.4, 0.4, 0.6, 0.8, 0.9]),
        ([1, 0, 1, 0], [0, 1, 0, 1]),
    ],
)
def test_p_is_that_of_all_sign_flips(pairs: tuple[list[float], list[float]]) -> None:
    a, b = column(pairs[0]), column(pairs[1])
    p = exact_p(a, b, mean)
    # three standard errors of a share of 20,000
    assert compare(a, b, mean, resamples=20_000).p == pytest.approx(
        p, abs=3 * np.sqrt(p * (1 - p) / 20_000) + 1e-4
    )


def test_p_of_an_aggregate_over_columns_is_that_of_all_swaps() -> None:
    draw = np.random.default_rng(6)
    a = np.stack([draw.integers(0, 5, 9), draw.integers(5, 9, 9)], 1).astype(float)
    b = np.stack([draw.integers(2, 5, 9), draw.integers(5, 9, 9)], 1).astype(float)
    p = exact_p(a, b, ratio)
    assert 0.005 < p < 0.5
    assert compare(a, b, ratio, resamples=5000).p == pytest.approx(
        p, abs=3 * np.sqrt(p * (1 - p) / 5000) + 1e-4
    )


def test_the_difference_and_its_interval_are_paired() -> None:
    """Rows differ much, the systems differ little and always alike: only a paired comparison sees it."""
    draw = np.random.default_rng(7)
    a = column(draw.normal(0, 10, 50))
    b = a + 0.1 + column(draw.normal(0, 0.01, 50))
    got = compare(a, b, mean)
    assert got.difference == pytest.approx(0.1, abs=0.01)
    assert 0.09 < got.low < got.high < 0.11
    assert got.p == pytest.approx(1 / 2001)
    back = compare(b, a, mean)
    assert (back.difference, back.low, back.high) == pytest.approx((-got.difference, -got.high, -got.low))
    assert back.p == got.p


def test_equal_systems_differ_by_nothing() -> None:
    a = column([0, 1, 1, 0])
    assert compare(a, a, mean) == Comparison(0.0, 0.0, 0.0, 1.0, pytest.approx(1 - 0.2**0.25), 4)


def test_a_false_alarm_is_as_rare_as_p_says() -> None:
    draw, alarms = np.random.default_rng(8), 0
    for _ in range(300):
        a, b = (column(draw.random(30) < 0.5) for _ in range(2))
        alarms += compare(a, b, mean, resamples=400).p < 0.05
    assert alarms / 300 < 0.08


def test_a_detectable_difference_is_found_four_times_in_five() -> None:
    draw, found = np.random.default_rng(9), 0
    spread = 0.4
    detectable = compare(
        column(np.zeros(100)), column(draw.normal(0.0, spread, 100)), mean, resamples=2000
    ).detectable
    assert detectable == pytest.approx(2.8016 * spread / 10, rel=0.2)
    true = 2.8016 * spread / 10
    for _ in range(300):
        found += (
            compare(column(np.zeros(100)), column(draw.normal(true, spread, 100)), mean, resamples=400).p
            < 0.05
        )
    assert 0.72 <= found / 300 <= 0.88


def test_different_rows_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match=r"same rows, got \(3, 1\) and \(2, 1\)"):
        compare(column([1, 2, 3]), column([1, 2]), mean)


def test_results_do_not_depend_on_anybody_elses_random_numbers() -> None:
    a, b = column([0.1, 0.5, 0.3, 0.9]), column([0.4, 0.4, 0.6, 0.8])
    first = bootstrap(a, mean), compare(a, b, mean)
    np.random.seed(3)
    np.random.random(5)
    assert (bootstrap(a, mean), compare(a, b, mean)) == first
    many = column(np.random.default_rng(0).random(50))
    assert bootstrap(many, mean, seed=1) != bootstrap(many, mean)


def clustered(
    draw: np.random.Generator, documents: int, rows: int, shared: float
) -> tuple[np.ndarray, np.ndarray]:
    """Values (N, 1) of rows that have some of their spread in common with their document, and their documents (N,)."""
    of_document = draw.normal(0, shared, documents)
    clusters = np.repeat(np.arange(documents), rows)
    return column(0.5 + of_document[clusters] + draw.normal(0, 1, documents * rows)), clusters


def test_intervals_over_documents_cover_the_truth_where_those_over_rows_do_not() -> None:
    draw, rows_alone, documents = np.random.default_rng(8), 0, 0
    for _ in range(200):
        values, clusters = clustered(draw, 40, 10, 1.0)
        alone, whole = bootstrap(values, mean, 300), bootstrap(values, mean, 300, clusters=clusters)
        assert alone.value == whole.value
        rows_alone += alone.low <= 0.5 <= alone.high
        documents += whole.low <= 0.5 <= whole.high
    assert documents / 200 == pytest.approx(0.95, abs=0.04)
    assert rows_alone / 200 < 0.7


@pytest.mark.parametrize("aggregate", [row_mean, mean], ids=["all at once", "one by one"])
def test_documents_of_one_row_each_are_rows(aggregate: object) -> None:
    values = column(np.random.default_rng(3).random(50))
    assert bootstrap(values, aggregate, 200) == bootstrap(values, aggregate, 200, clusters=np.arange(50))  # type: ignore[arg-type]


def test_both_ways_to_draw_documents_agree() -> None:
    values, clusters = clustered(np.random.default_rng(4), 12, 5, 0.5)
    shuffled = np.random.default_rng(5).permutation(len(values))
    values, clusters = values[shuffled], clusters[shuffled]
    fast, slow = (bootstrap(values, one, 500, clusters=clusters) for one in (row_mean, mean))
    assert (fast.low, fast.high) == pytest.approx((slow.low, slow.high))
    other = values + np.random.default_rng(6).normal(0.2, 0.5, values.shape)
    fast_pair, slow_pair = (compare(values, other, one, 500, clusters=clusters) for one in (row_mean, mean))
    assert fast_pair.p == slow_pair.p
    assert (fast_pair.low, fast_pair.high) == pytest.approx((slow_pair.low, slow_pair.high))


def test_a_difference_within_few_documents_is_no_proof() -> None:
    """Six documents, each wholly better or worse: over rows it looks certain, over documents it is a coin."""
    clusters = np.repeat(np.arange(6), 50)
    a, b = column(np.zeros(300)), column(np.where(clusters < 4, 1.0, -1.0))
    assert compare(a, b, mean, 500).p < 0.01
    assert compare(a, b, mean, 2000, clusters=clusters).p == pytest.approx(
        44 / 64, abs=0.04
    )  # at least 4 of 6 alike


def test_rows_of_a_single_document_are_drawn_by_row() -> None:
    values = column(np.random.default_rng(9).random(30))
    assert bootstrap(values, mean, 200, clusters=np.zeros(30)) == bootstrap(values, mean, 200)


@pytest.mark.parametrize(
    ("low", "high", "p", "said"),
    [
        (0.1, 0.3, 0.01, "b is better than a"),
        (-0.3, -0.1, 0.01, "b is WORSE than a"),
        (-0.01, 0.3, 0.0005, "A difference between b and a is not shown"),
        (0.1, 0.3, 0.06, "A difference between b and a is not shown"),
    ],
)
def test_a_difference_is_shown_where_interval_and_p_agree(
    low: float, high: float, p: float, said: str
) -> None:
    compared = Comparison((low + high) / 2, low, high, p, 0.1, 50)
    task = SimpleNamespace(primary="BLEU", metric=lambda name: SimpleNamespace(higher_is_better=True))
    assert verdict(task, compared, "a", "b").startswith(said)  # type: ignore[arg-type]
