"""Labels of the training rows, windows over long texts, and what is chosen on the dev rows."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appkit.config import build_run_config
from appkit.data.rows import Record
from appkit.errors import ConfigError, DataError
from appkit.heads.choose import head_of_bundle, head_of_rows
from appkit.heads.label.encode import _split_windows
from appkit.heads.label.head import LinearHead, _balance_weights
from appkit.heads.label.spec import head_spec
from appkit.heads.label.targets import discover
from appkit.plugins import load_task
from appkit.stats.calibration import calibration_error, settle
from appkit.task import HeadSpec

CLASSIFICATION, NER = load_task("classification"), load_task("ner")


HEAD: Any = CLASSIFICATION.head
TAGS: Any = NER.head


def records(*labels: Any, task: Any = CLASSIFICATION) -> list[Record]:
    rows = [task.row(text=f"text {number}", label=label) for number, label in enumerate(labels)]
    return [Record(row, "rows.jsonl", number, str(number)) for number, row in enumerate(rows, 1)]


def found(*labels: Any, **options: Any) -> Any:
    return discover(CLASSIFICATION, HEAD, CLASSIFICATION.config(**options), records(*labels))


def test_text_is_one_label_of_several() -> None:
    targets = found("b", "a", "b")
    assert (targets.problem, targets.labels, targets.counts) == ("single", ("a", "b"), (1, 2))
    assert targets.notes[0] == "2 labels (rows of each): b 2, a 1"


def test_lists_are_several_labels_and_an_empty_one_is_none_of_them() -> None:
    targets = found(["b", "a"], [], ["b"])
    assert (targets.problem, targets.labels, targets.counts) == ("multi", ("a", "b"), (1, 2))


def test_numbers_are_numbers() -> None:
    targets = found(1.5, 2.5, 2)
    assert (targets.problem, targets.labels) == ("regression", ())
    assert (targets.shift, targets.scale) == (pytest.approx(2.0), pytest.approx(0.40825, abs=1e-4))


def test_whole_numbers_name_classes() -> None:
    assert found(1, 2, 2).labels == ("1", "2")


def test_labels_of_several_kinds_are_refused_with_their_places() -> None:
    with pytest.raises(
        DataError, match=r"'label' holds a text \('a', rows\.jsonl:1\) and a list .*rows\.jsonl:2"
    ):
        found("a", ["b"])
    with pytest.raises(
        DataError, match=r"a text \('a', rows\.jsonl:1\) and a number \(2\.5, rows\.jsonl:2\)"
    ):
        found("a", 2.5)


@pytest.mark.parametrize(
    ("labels", "options"),
    [
        (([0, 1, 0], [1, 0, 0], [0, 0, 1]), {}),
        (([True, False], [False, True]), {"problem": "multi"}),
        ((["0", "1", "1"], [0.0, 0.0, 1.0]), {}),
        (("0|1|0", "1|0|0"), {"separator": "|"}),
    ],
)
def test_multi_hot_vectors_are_refused(labels: tuple[Any, ...], options: dict[str, str]) -> None:
    with pytest.raises(DataError, match=r"'label' holds \d of 0 and 1 in every row, .* write the names"):
        found(*labels, **options)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (([0, 1], [1], [0]), ("0", "1")),
        (([0, 1, 1], [1, 2, 0]), ("0", "1", "2")),
        ((["true", "false"], []), ("false", "true")),
        (([1], [0]), ("0", "1")),
    ],
)
def test_sets_of_0_and_1_are_names(labels: tuple[Any, ...], names: tuple[str, ...]) -> None:
    targets = found(*labels)
    assert (targets.problem, targets.labels) == ("multi", names)
    assert targets.counts[0] <= len(labels)


def test_fractions_that_are_written_as_text_are_refused() -> None:
    labels = ("0.25", "3", "1.5")
    with pytest.raises(DataError, match=r"written as text, such as '0\.25': set task\.problem=regression"):
        found(*labels)
    assert found(*labels, problem="regression").problem == "regression"
    assert found(*labels, problem="single").labels == ("0.25", "1.5", "3")
    assert found("0.25", 2.5).problem == "regression"
    assert found("0.25", "n/a").problem == found("1", "2").problem == found("1.0", "2.0").problem == "single"


@pytest.mark.parametrize("labels", [("a", "a"), ([], []), (2.5, 2.5)])
def test_nothing_to_learn(labels: tuple[Any, ...]) -> None:
    with pytest.raises(DataError, match="there is nothing to learn"):
        found(*labels)


def test_uneven_and_rare_labels_are_told() -> None:
    notes = found(*["a"] * 40, "b", "b").notes
    assert any(
        "'a' has 20 times the rows of 'b'" in note and "class_weights=balanced" in note for note in notes
    )
    assert any("1 of 2 labels have fewer than 8 training rows" in note for note in notes)


def test_two_hundred_labels_of_two_rows_each() -> None:
    targets = found(*[f"label {number:03}" for number in range(200) for _ in range(2)])
    assert len(targets.labels) == 200
    assert targets.notes[0].endswith("and 188 more")


def test_tags_of_words_have_both_sides_of_every_type() -> None:
    rows = [
        NER.row(tokens=["Ada", "sings"], tags=["B-person", "O"]),
        NER.row(tokens=["Oslo"], tags=["B-place"]),
    ]
    kept = [Record(row, "rows.jsonl", number, str(number)) for number, row in enumerate(rows, 1)]
    targets = discover(NER, TAGS, NER.config(), kept)
    assert targets.labels == ("O", "B-person", "I-person", "B-place", "I-place")
    assert targets.counts == (1, 1, 0, 1, 0)


def test_rows_without_any_entity_teach_nothing() -> None:
    row = NER.row(tokens=["nothing"], tags=["O"])
    with pytest.raises(DataError, match="no entities: there is nothing to learn"):
        discover(NER, TAGS, NER.config(), [Record(row, "rows.jsonl", 1, "1")])


# --- the head that the configuration asks for ----------------------------------------------------------------


def spec_of(
    *words: tuple[str, Any], task: str = "classification", labels: tuple[Any, ...] = ("a", "b")
) -> HeadSpec:
    values: dict[str, Any] = {"task": {"name": task}}
    for key, value in words:
        group, _, name = key.partition(".")
        values.setdefault(group, {})[name] = value
    config = build_run_config(values)
    return head_spec(
        CLASSIFICATION, HEAD, config, discover(CLASSIFICATION, HEAD, config.task, records(*labels))
    )


@pytest.mark.parametrize(
    ("attention", "pooling", "expected"),
    [("causal", "auto", "last"), ("unmasked", "auto", "mean"), ("unmasked", "max", "max")],
)
def test_pooling_is_that_of_the_paper(attention: str, pooling: str, expected: str) -> None:
    spec = spec_of(("head.attention", attention), ("head.pooling", pooling))
    assert (spec.attention, spec.pooling) == (attention, expected)


def test_oos_is_for_one_label() -> None:
    assert spec_of(("task.oos", "other")).threshold == 0.0
    with pytest.raises(ConfigError, match=r"out of scope, 'other', needs rows of one label each"):
        spec_of(("task.oos", "other"), labels=(["a"], ["b"]))


def test_balanced_weights_have_mean_one_over_the_rows() -> None:
    weights = _balance_weights(found("a", "b", "b", "b"), 4)
    assert weights == (2.0, pytest.approx(2 / 3))
    assert weights[0] + 3 * weights[1] == pytest.approx(4)
    assert _balance_weights(found(1.5, 2.5), 2) is None
    assert _balance_weights(found(["a"], [], ["a", "b"]), 3) == (0.5, 2.0)


# --- windows -------------------------------------------------------------------------------------------------


@dataclass
class Text:
    pieces: list[tuple[int, ...]]
    room: int
    overlap: int
    opening: tuple[int, ...]


@st.composite
def texts(draw: st.DrawFn) -> Text:
    lengths = draw(st.lists(st.integers(1, 5), min_size=1, max_size=60))
    room = draw(st.integers(6, 30))
    number = iter(range(10_000))
    pieces = [tuple(next(number) for _ in range(length)) for length in lengths]
    return Text(pieces, room, draw(st.integers(0, room // 2)), draw(st.sampled_from([(), (77_777,)])))


@given(texts())
@settings(max_examples=300, deadline=None)
def test_every_word_is_read_once_and_whole(text: Text) -> None:
    windows, owners = _split_windows(text.opening, text.pieces, text.room + len(text.opening), text.overlap)
    assert len(owners) == len(text.pieces)
    assert all(len(window.tokens) <= text.room + len(text.opening) for window in windows)
    assert all(window.tokens[: len(text.opening)] == text.opening for window in windows)
    for piece, (window, place) in zip(text.pieces, owners, strict=True):
        one = windows[window]
        start = one.places[place]
        assert one.tokens[start : start + len(piece)] == piece
    assert list(owners) == sorted(owners)


def test_a_word_belongs_to_the_window_with_most_of_its_surroundings() -> None:
    windows, owners = _split_windows((), [(number,) for number in range(20)], 10, 4)
    assert [window.tokens[0] for window in windows] == [0, 6, 12]
    # words 6 to 9 are in the first two windows: those nearer to the begin of the second than to the end of the first
    # stay in the first
    assert [window for window, _ in owners] == [0] * 8 + [1] * 6 + [2] * 6


def test_one_word_longer_than_a_window_keeps_its_beginning() -> None:
    windows, owners = _split_windows((9,), [tuple(range(100)), (7,)], 11, 3)
    assert windows[owners[0][0]].tokens[:11] == (9, *range(10))
    window, place = owners[1]
    assert windows[window].tokens[windows[window].places[place]] == 7


# --- on the dev rows -----------------------------------------------------------------------------------------


def test_the_temperature_of_overconfident_logits_is_found() -> None:
    """Labels drawn from softmax(z), logits given three times as large."""
    draw = np.random.default_rng(0)
    spec = HeadSpec(kind="sequence", labels=("a", "b", "c"))
    z = draw.normal(size=(4000, 3)) * 1.5
    p = spec.probabilities(z)
    targets = [spec.labels[draw.choice(3, p=row)] for row in p]
    settled = settle(spec, 3 * z, targets)
    assert settled.temperature == pytest.approx(3, rel=0.07)
    before, after = calibration_error(settled, 3 * z, targets)
    assert after < 0.03 < 0.1 < before


def test_few_dev_rows_and_unknown_labels_change_nothing() -> None:
    spec = HeadSpec(kind="sequence", labels=("a", "b"))
    assert settle(spec, np.zeros((5, 2)), ["a"] * 5) == spec
    assert settle(spec, np.zeros((50, 2)), ["new"] * 50) == spec


def test_the_threshold_of_several_labels_has_the_best_micro_f1() -> None:
    """A head that is too shy: what is a label has 0.3, what is none 0.1."""
    spec = HeadSpec(kind="sequence", problem="multi", labels=("a", "b"), threshold=0.5)
    truth = np.random.default_rng(1).random((200, 2)) < 0.5
    logits = np.where(truth, np.log(0.3 / 0.7), np.log(0.1 / 0.9))
    targets = [tuple(label for label, has in zip("ab", row, strict=True) if has) for row in truth]
    settled = settle(spec, logits, targets)
    said = settled.probabilities(logits) >= settled.threshold
    assert (said == truth).all()


def test_a_dev_row_of_one_plain_text_is_one_label() -> None:
    spec = HeadSpec(kind="sequence", problem="multi", labels=("art", "cart"), threshold=0.5)
    logits = np.random.default_rng(1).normal(size=(40, 2))
    assert settle(spec, logits, ["cart"] * 40) == settle(spec, logits, [("cart",)] * 40)


def test_the_threshold_of_oos_leaves_unlikely_rows_to_it() -> None:
    spec = HeadSpec(kind="sequence", labels=("a", "b"), oos="other", threshold=0.0)
    known = np.array([[4.0, 0.0], [0.0, 4.0]] * 30)
    logits = np.concatenate([known, np.full((40, 2), 0.1)])
    targets = ["a", "b"] * 30 + ["other"] * 40
    settled = settle(spec, logits, targets)
    assert 0.5 < settled.threshold < settled.probabilities(known).max(1).min()
    without = settle(spec, known, ["a", "b"] * 30)
    assert without.threshold == 0.0


@given(st.lists(st.floats(-800, 800), min_size=2, max_size=5))
@settings(deadline=None)
def test_probabilities_of_any_logits(logits: list[float]) -> None:
    labels = tuple("abcde"[: len(logits)])
    single = HeadSpec(kind="sequence", labels=labels).probabilities(np.array(logits))
    assert single.sum() == pytest.approx(1)
    multi = HeadSpec(kind="sequence", problem="multi", labels=labels).probabilities(np.array(logits))
    assert ((multi >= 0) & (multi <= 1)).all()
    number = HeadSpec(kind="sequence", problem="regression", shift=10, scale=2)
    assert number.probabilities(np.array([logits[0]])) == pytest.approx([10 + 2 * logits[0]])


def test_a_task_under_its_options_makes_the_head_of_rows_and_of_bundles() -> None:
    task = replace(CLASSIFICATION, adapt=lambda task, options: replace(task, summary=options.problem))
    config = build_run_config({"task": {"name": "classification", "problem": "multi"}})
    chat = cast(Any, None)
    of_rows, _ = head_of_rows(task, config, chat, records(["a"], ["b"], ["a", "b"]), {})
    spec = HeadSpec(kind="sequence", problem="multi", labels=("a", "b"))
    of_bundle = head_of_bundle({"head": spec.model_dump(mode="json")}, config, task, chat)
    assert (of_rows.task.summary, of_bundle.task.summary) == ("multi", "multi")


# --- labels in several spellings ------------------------------------------------------------------------


def label_head(*labels: str, **more: Any) -> LinearHead:
    spec = HeadSpec(kind="sequence", labels=labels, **more)
    config = build_run_config({"task": {"name": "classification", "problem": spec.problem}})
    return LinearHead.of_spec(CLASSIFICATION, config, cast(Any, None), spec)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("1", "1.0"),
        ("1.0", "1"),
        ("true", "True"),
        ("Spam", "spam"),
        ("late_delivery", "late delivery"),
        ("2.50", "2.5"),
        ("spam", "spam\u200b"),
        ("\N{FULLWIDTH LATIN SMALL LETTER S}pam", "spam"),
    ],
)
@pytest.mark.parametrize("problem", ["single", "multi"])
def test_a_label_in_another_spelling_than_the_training_rows_is_refused(
    train: str, test: str, problem: Any
) -> None:
    head = label_head("other", train, problem=problem)
    labels = ["other", test, test] if problem == "single" else [["other"], [test], ["other", test]]
    with pytest.raises(
        DataError,
        match=rf"^test: label is {re.escape(repr(test))} in 2 rows, and training rows write '{train}'",
    ):
        head.unknown(records(*labels), "test")


def test_an_unknown_label_that_is_no_spelling_is_noted() -> None:
    head = label_head("a", "b", oos="None of them")
    assert head.unknown(records("a", "c", "None of them"), "test") == [
        "test: 1 labels that no training row has, always answered wrong: 'c' (1 rows)"
    ]


def test_rows_without_any_known_label_are_refused() -> None:
    head = label_head("neg", "pos")
    with pytest.raises(
        DataError, match="none of the 10 rows has a label that training rows have: 0, 1 against neg, pos"
    ):
        head.unknown(records(*[0, 1] * 5), "test")
    assert head.unknown(records(*[0, 1] * 5, "pos"), "test")


@pytest.mark.parametrize(
    ("head", "label", "error"),
    [
        (
            label_head("1", "5"),
            4.5,
            r"label is 4\.5 \(rows\.jsonl:2\), and training rows have one label, as text",
        ),
        (
            label_head("a", "b"),
            ["a"],
            r"label is \['a'\] \(rows\.jsonl:2\), and training rows have one label",
        ),
        (label_head("a", "b", problem="multi"), 0.5, r"label is 0\.5 .* training rows have a list of labels"),
        (label_head(problem="regression"), "n/a", r"label is 'n/a' \(rows\.jsonl:2\), .* have a number"),
        (label_head(problem="regression"), [1], r"label is \['1'\] .* have a number"),
    ],
)
def test_a_target_of_another_kind_than_the_training_rows_is_refused(
    head: LinearHead, label: Any, error: str
) -> None:
    # as `auto` reads them, which is what a bundle's rows are read by
    auto = replace(head, options=CLASSIFICATION.config())
    known = "3" if head.spec.problem == "regression" else head.spec.labels[0]
    assert auto.unknown(records(known), "test") == []
    with pytest.raises(DataError, match=f"^test: {error}") as raised:
        auto.unknown(records(known, label), "test")
    assert "\n" not in str(raised.value)


def test_spellings_among_training_rows_are_noted() -> None:
    targets = found("True", "true", "1", "1.0", "b", "b")
    assert "'1' and '1.0' are learned as 2 labels, and may be one in several spellings" in targets.notes
    assert "'True' and 'true' are learned as 2 labels, and may be one in several spellings" in targets.notes
