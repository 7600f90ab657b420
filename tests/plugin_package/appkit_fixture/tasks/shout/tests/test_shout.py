"""Of the pack's functions alone: no model, no trainer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from appkit_fixture.tasks.shout import TASK
from appkit_fixture.tasks.shout.load import ShoutRow
from pydantic import ValidationError

from appkit.task import Parsed, Prediction, TextHead

assert isinstance(TASK.head, TextHead)
HEAD = TASK.head

ROW = ShoutRow(sentence="mind the gap", shout="MIND THE GAP")


@pytest.mark.parametrize(
    ("text", "score"), [("MIND THE GAP", 1.0), ("MIND THE CAT", 0.0), ("mind the gap", 0.0)]
)
def test_exact_match(text: str, score: float) -> None:
    prediction = Prediction(text, HEAD.parse(text), tokens=4, truncated=False)
    assert TASK.metric("exact").statistics(ROW, prediction) == (score,)


def test_a_whisper_is_no_answer() -> None:
    assert HEAD.parse("MIND the GAP") == Parsed(None, "has small letters")


def test_a_row_in_small_letters_is_refused() -> None:
    with pytest.raises(ValidationError, match="must be in capitals"):
        ShoutRow(sentence="mind the gap", shout="Mind the gap")


@pytest.mark.parametrize(("split", "count"), [("train", 32), ("test", 8)])
def test_shipped_rows_fit_the_schema(split: str, count: int) -> None:
    shipped = TASK.load(TASK.config())
    assert shipped is not None
    text = (Path(__file__).parents[1] / shipped.files[split]).read_text(encoding="utf-8")
    rows = [ShoutRow.model_validate(json.loads(line)) for line in text.splitlines()]
    assert len({row.sentence for row in rows}) == count
    assert all(row.shout == row.sentence.upper() for row in rows)
