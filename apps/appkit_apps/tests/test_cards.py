"""What the cards and the sections of the evidence page are written from, without a gateway or a browser."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from appkit_apps import bars, parts
from appkit_apps.app import App
from appkit_apps.cards import describe_licences, describe_size, fill_fields, find_rivals, write_home
from appkit_apps.evidence.sections import split_report, write_certificate
from appkit_apps.markup import show

HIGHER = bars.Measure("share right", True, 1.0)
LOWER = bars.Measure("mean error", False, None)


def score(value: float, low: float, high: float, who: str = "adapter", n: int = 20) -> bars.Score:
    return bars.Score(who, value, low, high, n)


def styles(written: str) -> list[tuple[float, float]]:
    """(left, width) of each bar and interval, in percent."""
    return [(float(a), float(b)) for a, b in re.findall(r"left:([\d.]+)%;width:([\d.]+)%", written)]


# --- bars -------------------------------------------------------------------------------------------------


def test_all_bars_begin_at_zero_and_end_at_the_same_perfect_score() -> None:
    pair = [score(0.25, 0.2, 0.3, "base, 4-shot"), score(0.5, 0.4, 0.6)]
    assert bars.fit_scale(pair, HIGHER) == bars.Scale(0.0, 1.0)
    assert styles(bars.draw(pair, HIGHER)) == [(0, 25), (20, 10), (0, 50), (40, 20)]
    hundredths = bars.Measure("BLEU", True, 100.0)
    assert styles(bars.draw([score(50, 40, 60)], hundredths)) == [(0, 50), (40, 20)]


def test_an_error_is_drawn_up_to_the_largest_and_said_to_be_better_lower() -> None:
    pair = [score(4.0, 3.0, 5.0, "majority"), score(1.0, 0.5, 1.5)]
    written = bars.draw(pair, LOWER)
    assert styles(written) == [(0, 80), (60, 40), (0, 20), (10, 20)]
    assert "Bars from 0 to 5; lower is better." in written
    assert [one.who for one in bars.order(pair, LOWER)] == ["adapter", "majority"]


def test_a_correlation_below_zero_goes_to_the_left_of_zero() -> None:
    written = bars.draw([score(-0.5, -1.0, 0.0)], HIGHER)
    assert styles(written) == [(25, 25), (0, 50)]
    assert "Bars from -1 to 1, which is perfect." in written


def test_a_scale_without_length_is_none_of_zero() -> None:
    nothing = [score(0.0, 0.0, 0.0)]
    assert styles(bars.draw(nothing, LOWER)) == [(0, 0), (0, 0)]
    assert "lower is better" in bars.draw(nothing, LOWER)


def test_no_bar_is_drawn_on_a_scale_that_nobody_knows() -> None:
    written = bars.draw([score(0.5, 0.4, 0.6)], None)
    assert styles(written) == []
    assert "0.500 (0.400 to 0.600, n = 20)" in written
    assert "does not say which score would be perfect" in written


WHOLE = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 20}


@pytest.mark.parametrize(
    "columns",
    [
        None,
        [],
        {"adapter": None},
        {"adapter": {"metrics": None}},
        {"adapter": {"metrics": {"F1": None}}},
        {"adapter": {"metrics": {"F1": 0.5}}},
        {"adapter": {"metrics": {"other": WHOLE}}},
        *({"adapter": {"metrics": {"F1": WHOLE | {name: None}}}} for name in WHOLE),
        *(
            {"adapter": {"metrics": {"F1": WHOLE | {"value": bad}}}}
            for bad in ("0.5", True, math.nan, math.inf)
        ),
    ],
)
def test_a_score_that_is_not_whole_is_none_and_never_zero(columns: Any) -> None:
    assert bars.read_scores(columns, "F1") == []
    about = {
        "primary": "F1",
        "metrics": columns,
        "measures": {"F1": {"higher_is_better": True, "perfect": 1}},
    }
    card = write_home({"a": about}, lambda task: None)
    assert "No score of F1 was recorded." in card
    assert "0.000" not in card
    assert 'class="bar"' not in card


def test_a_whole_score_is_read() -> None:
    columns = {
        "base, 4-shot": {"metrics": {"F1": WHOLE | {"value": 0}}},
        "adapter": {"metrics": {"F1": WHOLE}},
    }
    assert bars.read_scores(columns, "F1") == [
        score(0.0, 0.4, 0.6, "base, 4-shot"),
        score(0.5, 0.4, 0.6),
    ]


@pytest.mark.parametrize("values", [None, {}, {"perfect": 1.0}, {"higher_is_better": "yes"}, "F1"])
def test_a_measure_without_a_better_side_is_unknown(values: Any) -> None:
    assert bars.read_measure({"F1": values}, "F1") is None
    assert bars.read_measure(None, "F1") is None


def test_beside_the_adapter_stands_the_base_and_whoever_beats_it() -> None:
    base, weak, strong = (
        score(v, v, v, who) for v, who in ((0.4, "base, 4-shot"), (0.3, "weak"), (0.6, "strong"))
    )
    ours, bare = score(0.5, 0.5, 0.5), score(0.9, 0.9, 0.9, "adapter, without passages")
    assert find_rivals([base, weak, bare, ours], HIGHER) == [base]
    assert find_rivals([base, weak, strong, ours], HIGHER) == [base, strong]
    assert find_rivals([weak, strong, bare, ours], HIGHER) == [strong]
    assert find_rivals([weak, strong, ours], LOWER) == [weak]
    assert find_rivals([bare, ours], HIGHER) == []
    assert find_rivals([ours], None) == []


# --- facts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ({"adapter_bytes": 9_773_000}, "9.77 MB"),
        ({"adapter_bytes": 4096}, "4.1 KB"),
        ({"adapter_bytes": 2_500_000_000}, "2.5 GB"),
        *((size, "unknown") for size in (None, {}, 7, {"adapter_bytes": 0}, {"adapter_bytes": "9"})),
    ],
)
def test_a_size_is_said_or_unknown(size: Any, words: str) -> None:
    assert describe_size(size) == words


def test_a_licence_is_said_or_unknown() -> None:
    assert (
        describe_licences({"base": "Apache-2.0", "train rows": None})
        == "base: Apache-2.0; train rows: unknown"
    )
    assert describe_licences(None) == describe_licences({}) == "unknown"


def test_an_example_fills_the_boxes_of_its_page() -> None:
    assert fill_fields("Why?", "question") == {"question": "Why?"}
    asked = {"question": "Who?", "passages": ["One.", "Two."], "style": None, "strict": True}
    assert fill_fields(asked, "question") == {
        "question": "Who?",
        "passages": "One.\n\nTwo.",
        "strict": "True",
    }
    assert fill_fields("", "question") == {}


def test_the_example_is_the_first_that_fits_into_a_link() -> None:
    def link(examples: Any) -> str:
        return write_home({"a": {"input": "text", "examples": examples}}, lambda task: None)

    long = "x" * (parts.LINK + 1)
    assert 'href="a?text=Short+one"' in link([long, "Short one", "another"])
    both = {"text": "a", "copy": "b"}  # &copy alone would be a sign
    assert 'href="a?text=a&amp;copy=b"' in link([both])
    for none in ([long], [], None, [""]):
        assert "It brings no example that fits into a link." in link(none)


def test_the_sentence_is_the_apps_or_the_packs_summary() -> None:
    about = {"task": "t", "summary": "text -> label"}
    assert "Text → label." in write_home({"a": about}, lambda task: None)
    assert "Sorts mail." in write_home({"a": about}, lambda task: App("t", lambda page: None, "Sorts mail."))
    assert "does not say what it does" in write_home({"a": {}}, lambda task: None)


def test_labels_are_named_without_the_tags_of_words() -> None:
    tags = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG"]
    card = write_home({"a": {"kind": "token", "labels": tags}}, lambda task: None)
    assert "It knows 2 labels: PER, ORG." in card
    many = [f"L{number}" for number in range(9)]
    assert "9 labels: L0, L1, L2, L3, L4, L5, and 3 more." in write_home(
        {"a": {"kind": "sequence", "labels": many}}, lambda task: None
    )


def test_a_certificate_is_told_with_the_checks_that_passed() -> None:
    checks = [{"name": str(n), "passed": passed, "figure": ""} for n, passed in enumerate((True, True, None))]
    certificate = {
        "engine": "vllm",
        "version": "0.9",
        "dtype": "float32",
        "made_at": "today",
        "checks": checks,
    }
    assert "Of 3 checks: 2 passed, 1 could not be made." in write_certificate(certificate)
    checks[0]["passed"] = False
    assert "1 passed, 1 failed, 1 could not be made" in write_certificate(certificate)
    assert "appkit certify" in write_certificate(None)


# --- texts ------------------------------------------------------------------------------------------------


def test_a_text_is_neither_markup_nor_template() -> None:
    assert show('<b>"{{value}}" ${x} `y` & \'</b>') == (
        "&lt;b&gt;&quot;&#123;&#123;value&#125;&#125;&quot; &#36;&#123;x&#125; &#96;y&#96; &amp; &#x27;&lt;/b&gt;"
    )
    assert show("half \ud83d a pair").encode() == b"half ? a pair"
    assert show("word " * 100, 12) == "word word wo…"


def test_a_report_is_split_and_its_headings_stand_below_the_pages() -> None:
    report = "# t: x\n\nfirst\n\n## In detail\n\n### By label\n\nrows\n\n## Facts\n\nlast\n"
    detail, rest = split_report(report)
    assert detail == "##### By label\n\nrows"
    assert rest == "### t: x\n\nfirst\n\n#### Facts\n\nlast\n"
    assert split_report("# t\n\nonly\n") == ("", "### t\n\nonly\n")
    assert split_report(None) == ("", "")
