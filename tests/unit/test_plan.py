"""The batch plan beyond what packing tests: parts of epochs, long rows, sorting, seeds."""

import random

import pytest

from appkit.models.batch import by_length
from appkit.training.plan import Step, plan, steps_per_epoch

LENGTHS = [random.Random(3).randint(5, 60) for _ in range(41)]


def rows(steps: list[Step]) -> list[int]:
    return [row for step in steps for batch in step.batches for row in batch]


@pytest.mark.parametrize(("epochs", "expected"), [(0.01, 1), (0.5, 3), (1, 6), (1.5, 9), (2.34, 14)])
def test_a_part_of_an_epoch_is_its_beginning(epochs: float, expected: int) -> None:
    steps = plan(LENGTHS, batch_rows=8, batch_tokens=100, epochs=epochs, seed=1)
    assert steps_per_epoch(41, 8) == 6
    assert len(steps) == expected
    assert steps == plan(LENGTHS, batch_rows=8, batch_tokens=100, epochs=3, seed=1)[:expected]


def test_epochs_have_orders_of_their_own() -> None:
    steps = plan(LENGTHS, batch_rows=8, batch_tokens=100, epochs=2, seed=1)
    first, second = rows(steps[:6]), rows(steps[6:])
    assert sorted(first) == sorted(second) == list(range(41))
    assert first != second


def test_steps_have_their_rows_whatever_the_micro_batches_hold() -> None:
    """batch_tokens bounds memory; it must not change what a step learns from."""
    small, large = (plan(LENGTHS, 8, size, 2, seed=1) for size in (60, 10_000))
    assert [sorted(rows([step])) for step in small] == [sorted(rows([step])) for step in large]
    assert [len(step.batches) for step in large] == [1] * 12
    assert all(len(step.batches) > 1 for step in small if len(rows([step])) == 8)
    assert [len(rows([step])) for step in small] == [8, 8, 8, 8, 8, 1] * 2


def test_rows_of_like_length_are_side_by_side() -> None:
    for step in plan(LENGTHS, batch_rows=8, batch_tokens=100, epochs=1, seed=1):
        lengths = [LENGTHS[row] for row in rows([step])]
        assert lengths == sorted(lengths)


def test_a_row_longer_than_a_micro_batch_is_one_of_its_own() -> None:
    (step,) = plan([10, 500, 20, 700], batch_rows=4, batch_tokens=100, epochs=1, seed=0)
    assert step.batches == ((0, 2), (1,), (3,))


def test_groups_hold_texts_of_like_length() -> None:
    assert by_length([2, 9, 3, 6, 4, 100], 12) == [[5], [1], [3, 4], [2, 0]]
