"""Whose turn it is."""

from __future__ import annotations

from typing import Any

from appkit_fixture.methods.turns import METHOD
from appkit_fixture.methods.turns.config import TurnsOptions
from tiny import tiny

from appkit.method import Training

OPTIONS = TurnsOptions(rank=2, period=3)


def learning(model: Any, step: int, seed: int = 0) -> set[int]:
    """The layers that learn in a step."""
    METHOD.before_forward(model, Training(OPTIONS, seed, 60, lambda *_: None, lambda: iter(()), step=step))
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    return {int(name.split(".layers.")[1].split(".")[0]) for name in names}


def test_one_layer_learns_until_the_next_is_drawn() -> None:
    model = METHOD.build(tiny(), OPTIONS)
    drawn = [learning(model, step) for step in range(60)]
    assert {len(layers) for layers in drawn} == {1}
    assert set.union(*drawn) == {0, 1, 2}
    assert all(drawn[step] == drawn[step - step % 3] for step in range(60))
    assert drawn != [learning(model, step, seed=1) for step in range(60)]


def test_a_turn_depends_on_no_other() -> None:
    """As a resumed run needs it."""
    once, again = METHOD.build(tiny(), OPTIONS), METHOD.build(tiny(), OPTIONS)
    drawn = [learning(once, step) for step in range(60)]
    assert [learning(again, step) for step in reversed(range(60))] == drawn[::-1]
