"""The forecast of training's time is corrected by the speed of its first steps, once, and said."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from appkit.runs.events import Events, Forecast, History, read_events
from appkit.training import callbacks
from appkit.training.callbacks import ForecastCorrection
from appkit.training.forecast import Pace, correct


def test_the_time_is_that_of_the_first_steps_without_the_one_that_warms_up() -> None:
    """1000 tokens a step at 500 tokens/s: 2 s each; the first took 9 s."""
    pace = correct([9.0, 2.0, 2.0], [1000] * 30)
    assert pace == Pace(2, 500.0, 9 + 29 * 2.0, 27 * 2.0)
    assert str(pace) == "training about 67 s at the 500 tokens/s of its first steps, 54 s of it left"


def test_longer_steps_ahead_take_longer() -> None:
    pace = correct([4.0, 4.0, 4.0], [100, 100, 100, 300, 500])
    assert pace is not None
    assert (pace.left_s, pace.total_s) == (32.0, 44.0)


@pytest.mark.parametrize(
    ("seconds", "tokens"),
    [
        ([], [10] * 9),
        ([20.0, 20.0], [10] * 9),  # too few steps
        ([1.0, 1.0, 1.0], [10] * 90),  # too short a time, and not a tenth
        ([5.0, 5.0, 5.0], [10] * 3),  # none is left
        ([5.0, 0.0, 0.0], [10] * 9),  # a clock that stood still
    ],
)
def test_too_little_says_nothing(seconds: list[float], tokens: list[int]) -> None:
    assert correct(seconds, tokens) is None


def test_a_tenth_of_the_steps_is_enough_where_they_are_fast() -> None:
    assert correct([0.1] * 8, [10] * 90) is None
    assert correct([0.1] * 9, [10] * 90) is not None


def test_it_is_recorded_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    now = [0.0]
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(monotonic=lambda: now[0]))
    events, found = Events(tmp_path), []
    events.write(Forecast(text="training about 47 s"))
    correction = ForecastCorrection([573] * 80, found.append)
    for _ in range(40):
        correction.on_step_begin(None, None, None)
        now[0] += 1.0
        correction.on_step_end(None, None, None)
    (pace,) = found
    assert (pace.steps, pace.tokens_per_s, pace.total_s) == (7, 573.0, 80.0)
    events.forecast(str(pace))
    history = History()
    history.add(read_events(tmp_path)[0])
    assert history.forecast == "training about 80 s at the 573 tokens/s of its first steps, 72 s of it left"
