"""Scores equal those of sacreBLEU, nltk and rouge-score; the others are counted by hand."""

from __future__ import annotations

import importlib.metadata
import json
import math
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import sacrebleu
from appkit_tasks.codechange import metrics
from appkit_tasks.codechange.bnorm import sentence_b_norm, split_words
from appkit_tasks.codechange.crystal import code_tokens, crystal_bleu
from appkit_tasks.codechange.metrics import METRICS, PRIMARY, SUBJECT_METRICS
from appkit_tasks.codechange.remarks import NO_REMARK, Remark, parse_remarks
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate.gleu_score import corpus_gleu
from rouge_score.rouge_scorer import RougeScorer

from appkit.task import Metric, NotApplicable, Parsed, Prediction


@dataclass(frozen=True)
class Row:
    diff: str = ""
    answer: str = ""
    comment: str = ""
    file: str = ""
    line: int | None = None
    end_line: int | None = None
    severity: str | None = None


def answer(text: str) -> Prediction:
    return Prediction(text, Parsed(text), tokens=1, truncated=False)


def review(text: str) -> Prediction:
    return Prediction(text, Parsed(parse_remarks(text)), tokens=1, truncated=False)


def metric(problem: str, name: str) -> Metric:
    (found,) = [metric for metric in METRICS[problem] if metric.name == name]
    return found


def score(problem: str, name: str, rows: list[Row], answers: list[str]) -> float:
    scored = metric(problem, name)
    read = review if problem == "review" else answer
    matrix = [scored.statistics(row, read(text)) for row, text in zip(rows, answers, strict=True)]
    return scored.aggregate(np.array(matrix, dtype=float))


def rows_of(references: list[str]) -> list[Row]:
    return [Row(answer=reference) for reference in references]


PAIRS = [
    ("Fix null pointer exception in the parser", "Fix null pointer in parser"),
    ("Add tests.", "Add tests"),
    ("Update the README", "Update README.md"),
    ("Rename foo_bar to foobar in v1.2", "rename foo_bar to foo-bar (v1.2)"),
    ("Bump version to 3.0.1", "completely different"),
    ("Исправить ошибку парсера", "Исправить ошибку в парсере"),
    ('Fix "x" and y', "Fix &quot;x&quot; and y"),
    ("@return the sorted list, never null", "@return the sorted list, never null"),
    ("修复解析器中的错误", "修复解析器的错误"),
    ("Remove it", ""),
]
"""reference, answer"""

REFERENCES, ANSWERS = map(list, zip(*PAIRS, strict=True))


def test_bleu_and_chrf_equal_those_of_the_command_line(tmp_path: Path) -> None:
    for name, lines in (("ref", REFERENCES), ("hyp", ANSWERS)):
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "sacrebleu",
        "ref",
        "-i",
        "hyp",
        "-m",
        "bleu",
        "chrf",
        "-w",
        "9",
        "-f",
        "json",
    ]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    bleu, chrf = json.loads(run.stdout)
    rows = rows_of(REFERENCES)
    assert score("commit_message", "BLEU-4", rows, ANSWERS) == pytest.approx(bleu["score"], abs=1e-9)
    assert score("commit_message", "chrF", rows, ANSWERS) == pytest.approx(chrf["score"], abs=1e-9)
    version = importlib.metadata.version("sacrebleu")
    for scored in (bleu, chrf):
        signature = scored["signature"].removesuffix(f"|version:{version}")
        assert signature != scored["signature"]
        assert f"`{signature}`" in metrics.__doc__


SENTENCES = st.text(st.sampled_from("ab_.,;: é中\r\n"), max_size=30)


@settings(deadline=None)
@given(st.lists(st.tuples(SENTENCES, SENTENCES), min_size=1, max_size=5))
def test_scores_equal_the_libraries(pairs: list[tuple[str, str]]) -> None:
    references, answers = map(list, zip(*pairs, strict=True))
    tokens = [[code_tokens(text) for text in texts] for texts in (references, answers)]
    expected = {
        "BLEU-4": sacrebleu.corpus_bleu(answers, [references], force=True).score,
        "chrF": sacrebleu.corpus_chrf(answers, [references]).score,
        "GLEU": corpus_gleu([[words] for words in tokens[0]], tokens[1]),
    }
    for name, theirs in expected.items():
        assert score("comment_update", name, rows_of(references), answers) == pytest.approx(theirs, abs=1e-9)


@settings(deadline=None)
@given(*2 * (st.text(st.characters(max_codepoint=127), max_size=40) | st.text("abAB _,", max_size=40),))
def test_rouge_equals_rouge_score_on_ascii(reference: str, predicted: str) -> None:
    theirs = RougeScorer(["rougeL"]).score(reference, predicted)["rougeL"].fmeasure
    assert metrics.rouge_l(predicted, reference) == (pytest.approx(theirs, abs=1e-12),)


def test_rouge_sees_other_letters_too() -> None:
    assert RougeScorer(["rougeL"]).score("Исправить ошибку", "Исправить ошибку")["rougeL"].fmeasure == 0
    assert metrics.rouge_l("Исправить ошибку", "Исправить ошибку") == (1.0,)
    assert metrics.rouge_l("Исправить всё", "Исправить ошибку") == (0.5,)


@pytest.mark.parametrize(
    ("reference", "predicted", "expected"),
    [
        # fix null pointer in parser: 5 of 5 words; 2 of 4, 1 of 3, 0 of 2 longer n-grams, plus 1; 5 for 7
        (*PAIRS[0], (5 / 5 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25 * math.exp(1 - 8 / 6)),
        # add tests: 2 of 2, 1 of 1, 0 of 0, 0 of 0; 2 words for 3
        (*PAIRS[1], (2 / 2 * 2 / 2 * 1 / 1 * 1 / 1) ** 0.25 * math.exp(1 - 4 / 3)),
        # update readme . md: 2 of 4, 0 of 3, 0 of 2, 0 of 1; 4 words for 3, so no penalty
        (*PAIRS[2], (2 / 4 * 1 / 4 * 1 / 3 * 1 / 2) ** 0.25),
        # rename foo _ bar to foo - bar ( v1 . 2 ): 8 of 13, 6 of 12, 4 of 11, 2 of 10; 13 words for 10
        (*PAIRS[3], (8 / 13 * 7 / 13 * 5 / 12 * 3 / 11) ** 0.25),
        # no word of the reference: the 4th root of the smallest number of a computer
        (*PAIRS[4], 0.0),
        # nothing: no n-gram counts as 1, what is left is the penalty
        ("fix", "", math.exp(1 - 2 / 1)),
        ("", "fix it", 0.0),
        ("", "", 1.0),
        ("FIX IT\r\n", " fix\tit ", 1.0),
    ],
)
def test_b_norm_is_what_the_definition_gives_by_hand(reference: str, predicted: str, expected: float) -> None:
    assert sentence_b_norm(predicted, reference) == pytest.approx(expected, abs=1e-12)


def test_b_norm_of_recorded_cases() -> None:
    # B-Norm.py of the replication package of Tao et al., as the repository commit_message_generation keeps it
    recorded = [40.293517, 71.653131, 37.991784, 44.050887, 0, 45.180100, 18.257419, 100, 0, 13.533528]
    computed = [100 * sentence_b_norm(predicted, reference) for reference, predicted in PAIRS]
    assert computed == pytest.approx(recorded, abs=1e-6)
    mean = score("commit_message", "B-Norm", rows_of(REFERENCES), ANSWERS)
    assert mean == pytest.approx(sum(recorded) / len(recorded), abs=1e-6)


def test_messages_may_be_their_subject_alone() -> None:
    row = Row(answer="Fix the parser of dates\n\nIt took months for days.")
    assert [metric.name for metric in SUBJECT_METRICS] == [
        metric.name for metric in METRICS["commit_message"]
    ]
    for scored in SUBJECT_METRICS:
        subject, whole = (
            scored.aggregate(np.array([scored.statistics(row, answer(text))]))
            for text in ("Fix the parser of dates", row.answer)
        )
        assert subject == pytest.approx(scored.scale)
        assert whole < scored.scale * 0.9


def test_b_norm_splits_signs_and_underscores() -> None:
    assert split_words("Run foo_bar(3.5)\r\n&amp; <skipped>") == [
        *("run", "foo", "_", "bar", "(", "3", ".", "5", ")", "&", "amp", ";", "<", "skipped", ">")
    ]


@pytest.mark.parametrize(
    ("reference", "predicted", "expected"),
    [("a  b\r\n", "a b", 1), ("a b", "A b", 0), ("a b", "ab", 0), ("", " ", 1), ("修复", "修复", 1)],
)
def test_exact_ignores_space(reference: str, predicted: str, expected: int) -> None:
    assert metrics.exact(predicted, reference) == (expected,)


def test_edit_distances_are_counted_in_words() -> None:
    rows = [
        Row(comment="Returns the old name.", answer="Returns the new user name."),
        Row(comment="Sorts it.", answer="Sorts them."),
    ]
    # new for old and user inserted: 1 of 2 edits is left; nothing done; 6 and 3 words with signs
    answers = ["Returns the new name.", "Sorts it."]
    assert score("comment_update", "edit distance", rows, answers) == pytest.approx((1 + 1) / (6 + 3))
    assert score("comment_update", "relative edit distance", rows, answers) == pytest.approx((1 / 2 + 1) / 2)
    right = [row.answer for row in rows]
    assert score("comment_update", "edit distance", rows, right) == 0
    assert score("comment_update", "relative edit distance", rows, right) == 0


def test_edit_distances_do_not_apply_without_words_or_change() -> None:
    with pytest.raises(NotApplicable, match="no words"):
        metrics.edit_distance(Row(comment="Old.", answer=" \n"), answer("Old."))
    assert metrics.relative_edit_distance(Row(comment="Old.", answer=""), answer("Old")) == (0.5,)
    with pytest.raises(NotApplicable, match="does not change"):
        metrics.relative_edit_distance(Row(comment="Same.\r\n", answer="Same."), answer("x"))


DIFF = """\
diff --git a/src/http_client.py b/src/http_client.py
--- a/src/http_client.py
+++ b/src/http_client.py
@@ -1,4 +1,5 @@ def send
 def send(packet, name):
-    return socketFor(packet)
+    # the caller says whether MAX_SIZE matters
+    ok = log("wonderful weather")
+    return retry(packet, MAX_SIZE)
"""

PLACED = Row(
    DIFF,
    "src/http_client.py:3-5: warning: x",
    file="src/http_client.py",
    line=3,
    end_line=5,
    severity="warning",
)
HARMLESS = Row(DIFF, NO_REMARK)


@pytest.mark.parametrize(
    ("text", "exact", "near"),
    [
        ("3: x", 1, 1),
        ("5: x", 1, 1),
        ("1-9: x", 1, 1),
        ("src/http_client.py:4: x", 1, 1),
        ("2: x", 0, 1),
        ("6-7: x", 0, 1),
        ("8: x", 0, 1),
        ("9: x", 0, 0),
        ("other.py:4: x", 0, 0),
        ("20: x\n4: y", 1, 1),
        ("Line 4 is wrong", 0, 0),
        (NO_REMARK, 0, 0),
        ("", 0, 0),
    ],
)
def test_location_is_right_where_a_remark_overlaps(text: str, exact: int, near: int) -> None:
    assert score("review", "location", [PLACED], [text]) == exact
    assert score("review", "location within 3", [PLACED], [text]) == near


def test_location_of_a_row_with_one_line_and_no_file() -> None:
    row = Row(answer="7: x", line=7)
    answers = ["7: x", "a.py:7: x", "6: x", "5-8: x"]
    assert [score("review", "location", [row], [text]) for text in answers] == [1, 1, 0, 1]


def test_location_and_severity_are_of_the_first_remark_where_the_row_says_none() -> None:
    row = Row(answer="Hm.\na.py:7-8: x\na.py:20: y")
    answers = ["8: x", "a.py:8: x", "b.py:8: x", "20: x"]
    assert [score("review", "location", [row], [text]) for text in answers] == [1, 1, 0, 0]
    row = Row(answer="a.py:7: x", line=7)
    assert [score("review", "location", [row], [text]) for text in ("7: x", "b.py:7: x")] == [1, 0]
    row = Row(answer="7: note: x\n8: error: y")
    assert [score("review", "severity", [row], [text]) for text in ("1: note: x", "1: error: x")] == [1, 0]


def test_false_alarms_are_of_harmless_rows_and_misses_of_the_others() -> None:
    texts = [NO_REMARK, "3: x", "", "Looks odd."]
    assert [score("review", "false alarms", [HARMLESS], [text]) for text in texts] == [0, 1, 0, 1]
    assert [score("review", "missed", [PLACED], [text]) for text in texts] == [1, 0, 1, 0]


def test_severity_is_that_of_the_first_remark() -> None:
    texts = ["9: Warning: x", "9: error: x\n9: warning: x", "9: x", "warning: x", NO_REMARK]
    assert [score("review", "severity", [PLACED], [text]) for text in texts] == [1, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("text", "concrete"),
    [
        ("Please improve this.", False),
        ("This name is bad, return something else.", False),  # both are in the diff: ordinary words
        ("The caller and the weather are wonderful.", False),  # in a comment, in a string
        ("The http_client and the client are fine.", False),  # in the header
        ("def it is.", False),
        ("That is ok.", False),  # too short to be told from a word
        ("Use `x` here.", True),
        ("Use ` ` here, or `` there.", False),
        ("Use\n```python\nx = 1\n```", True),
        ("Why does retry take it?", True),
        ("Why is MAX_SIZE here?", True),
        ("What of socketFor?", True),
        ("Retry takes it.", False),
        ("4: bad", True),
    ],
)
def test_a_remark_is_vague_that_names_nothing_of_the_diff(text: str, concrete: bool) -> None:
    assert metrics.vague(PLACED, review(text)) == (float(not concrete), 1.0)


def test_vague_is_a_share_of_remarks() -> None:
    answers = ["4: bad\n: Hm.", "Hm.\n: Hm.\n: Use `x`."]
    assert score("review", "vague", [PLACED, HARMLESS], answers) == (1 + 2) / (2 + 3)


@pytest.mark.parametrize(
    ("name", "row", "text"),
    [
        ("location", HARMLESS, "3: x"),
        ("location", Row(answer="x"), "3: x"),
        ("missed", HARMLESS, "3: x"),
        ("severity", HARMLESS, "3: x"),
        ("severity", Row(answer="3: x", line=3), "3: x"),
        ("false alarms", PLACED, "3: x"),
        ("vague", PLACED, NO_REMARK),
        ("BLEU-4", HARMLESS, NO_REMARK),
        ("ROUGE-L", HARMLESS, "3: x"),
        ("chrF", HARMLESS, "3: x"),
    ],
)
def test_metrics_of_reviews_that_do_not_apply(name: str, row: Row, text: str) -> None:
    with pytest.raises(NotApplicable):
        metric("review", name).statistics(row, review(text))


@pytest.mark.parametrize("name", ["BLEU-4", "ROUGE-L", "chrF"])
def test_texts_of_reviews_are_compared_without_places_and_severities(name: str) -> None:
    row = Row(answer="a.py:3-5: warning: The index is off by one here.\n9: note: Use a slice.")
    same = "The index is off by one here.\n: Use a slice."
    perfect = metric("review", name).scale
    assert score("review", name, [row], [same]) == pytest.approx(perfect)
    assert score("review", name, [row], [NO_REMARK]) == 0
    assert score("review", name, [row], ["12: error: unrelated"]) < perfect / 4


def test_a_review_that_was_not_parsed_is_read() -> None:
    row = Row(answer="3: x", line=3)
    unparsed = Prediction("3: x", Parsed(None, error="cut"), tokens=1, truncated=True)
    assert metric("review", "location").statistics(row, unparsed) == (1.0,)


@pytest.mark.parametrize("problem", list(METRICS))
def test_each_problem_has_its_metrics_and_a_primary_one(problem: str) -> None:
    names = [metric.name for metric in METRICS[problem]]
    assert len(set(names)) == len(names)
    assert names[0] == PRIMARY[problem]


TEXTS_OF_A_KIND = [
    "Fix the index of the parser.",
    "修复解析器中的错误 并 添加 测试 用例",
    "a\r\nb\r\nc\r\nd\r\n",
    "x " * 50,
]


@pytest.mark.parametrize("text", TEXTS_OF_A_KIND)
@pytest.mark.parametrize("problem", list(METRICS))
def test_an_answer_equal_to_the_reference_is_perfect(problem: str, text: str) -> None:
    row = Row(
        answer=f"3: note: {text}" if problem == "review" else text, comment="old", line=3, severity="note"
    )
    for scored in METRICS[problem]:
        if scored.name == "false alarms":
            continue
        value = score(problem, scored.name, 2 * [row], 2 * [row.answer])
        assert value == pytest.approx(scored.scale if scored.higher_is_better else 0), scored.name


@pytest.mark.parametrize("problem", list(METRICS))
def test_an_empty_answer_scores_nothing(problem: str) -> None:
    row = Row(answer="3: Fix the index of this long loop, please", comment="Fix it", line=3, severity="note")
    for scored in METRICS[problem]:
        if scored.name in ("false alarms", "vague"):
            continue
        value = score(problem, scored.name, [row], [""])
        if scored.higher_is_better:
            assert value == pytest.approx(0, abs=0.1), scored.name
        else:
            assert value >= 1, scored.name


LONG: dict[str, Callable[[int], str]] = {
    "words": lambda size: " ".join(random.Random(0).choices(["ab", "cd", "ef", "gh"], k=size // 3)),
    "signs": lambda size: "." * size,
    "one word": lambda size: "a" * size,
    "Chinese": lambda size: "中" * size,
    "remarks": lambda size: "12: x\n" * (size // 6),
    "quotes": lambda size: '"\\' * (size // 2),
    "apostrophes": lambda size: "'" * size,
    "backticks": lambda size: "`" * size,
    "a backtick": lambda size: "`" + "a" * size,
    "comments": lambda size: "/*" * (size // 2),
    "spaces": lambda size: " " * size,
    "lines": lambda size: "\n" * size,
}


@pytest.mark.parametrize("kind", list(LONG))
def test_long_texts_take_little_time(kind: str) -> None:
    text = LONG[kind](20_000)
    for problem, scores in METRICS.items():
        for scored in (*scores, crystal_bleu(lambda: [text])):
            row = Row(text, f"12: {text}", f"old {text}", line=12, severity="note")
            prediction = review(text) if problem == "review" else answer(text)
            start = time.process_time()
            try:
                values = scored.statistics(row, prediction)
            except NotApplicable:
                values = (0.0,)
            assert time.process_time() - start < 0.9, (problem, scored.name)
            assert all(map(math.isfinite, values))


def test_a_remark_object_is_enough_for_the_names_of_a_diff() -> None:
    assert metrics.is_concrete(Remark("uses packet"), frozenset({"packet"}))
    assert not metrics.is_concrete(Remark("uses packets"), frozenset({"packet"}))
