"""Kinds of error by hand-made cases, and what the report makes of them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from appkit_tasks.ner.appendix import appendix
from appkit_tasks.ner.errors import KINDS, compare, total
from appkit_tasks.ner.load import NerRow
from appkit_tasks.ner.metrics import predicted
from appkit_tasks.ner.tags import Entity
from appkit_tasks.ner.tests.answers import answer, gold_tags, noisy_tags, random_tags


def spans(text: str) -> list[Entity]:
    """ "0-3a 5-9b" -> entities."""
    parts = [(part[:-1].split("-"), part[-1]) for part in text.split()]
    return [Entity(int(start), int(end), kind) for (start, end), kind in parts]


@pytest.mark.parametrize(
    ("gold", "found", "kinds"),
    [
        ("", "", {}),
        ("0-3a", "0-3a", {"right": 1}),
        ("0-3a", "", {"missed": 1}),
        ("", "0-3a", {"spurious": 1}),
        ("0-3a", "4-7a", {"missed": 1, "spurious": 1}),
        ("0-3a", "0-3b", {"type": 1}),
        ("0-3a", "0-7a", {"boundary": 1}),
        ("0-7a", "4-9a", {"boundary": 1}),
        ("0-3a", "0-7b", {"boundary and type": 1}),
        # spans that only touch do not overlap
        ("0-3a", "3-5a", {"missed": 1, "spurious": 1}),
        # an entity cut in two is one with the wrong border, and one made up
        ("0-9a", "0-3a 4-9a", {"boundary": 1, "spurious": 1}),
        # two that became one
        ("0-3a 4-9a", "0-9a", {"boundary": 1, "missed": 1}),
        # the same span goes before a larger overlap of the same type
        ("0-9a 10-12b", "0-9b 10-12b", {"type": 1, "right": 1}),
        # the same type goes before a larger overlap
        ("0-9a", "0-7b 8-12a", {"boundary": 1, "spurious": 1}),
        # of one type the larger overlap goes first: 2-9 takes 3-12, so 0-3 is left for nothing
        ("0-3a 4-9a", "2-12a", {"boundary": 1, "missed": 1}),
        ("0-5a 6-9b", "4-7a", {"boundary": 1, "missed": 1}),
        ("0-5a 6-9b", "3-8c", {"boundary and type": 1, "missed": 1}),
    ],
)  # fmt: skip
def test_kinds(gold: str, found: str, kinds: dict[str, int]) -> None:
    assert +compare(spans(gold), spans(found)).kinds == kinds


def test_the_larger_overlap_is_paired_first() -> None:
    errors = compare(spans("0-5a 6-20b"), spans("4-15c"))
    assert errors.confused == {("b", "c"): 1}


def test_of_equal_overlaps_the_earlier() -> None:
    errors = compare(spans("0-4a 6-10b"), spans("2-8c"))
    assert errors.confused == {("a", "c"): 1}


@pytest.mark.parametrize("seed", range(50))
def test_each_entity_is_counted_once(seed: int) -> None:
    rng = random.Random(seed)
    row = NerRow(tokens=["w"] * 30, tags=random_tags(30, "ab", rng))
    found = predicted(answer(row, noisy_tags(gold_tags(row), "ab", rng)))
    kinds = compare(row.entities, found).kinds
    paired = sum(kinds[kind] for kind in ("right", "boundary", "type", "boundary and type"))
    assert paired + kinds["missed"] == len(row.entities)
    assert paired + kinds["spurious"] == len(found)
    assert kinds["right"] == len(set(row.entities) & set(found))


def test_the_sum_over_rows() -> None:
    errors = total([compare(spans("0-3a"), spans("0-3b")), compare(spans("0-3a"), spans("0-3b 4-5a"))])
    assert (+errors.kinds, errors.confused) == ({"type": 2, "spurious": 1}, {("a", "b"): 2})


ROWS = [
    NerRow(tokens=["Zanzibarquux", "Bo", "ran"], tags=["B-person", "I-person", "O"]),
    NerRow(tokens=["Paris", "won"], tags=["B-place|team", "O"]),
    NerRow(tokens=["Leeds", "won"], tags=["B-team", "O"]),
]
TAGS = [["B-person", "O", "O"], ["B-team", "O"], ["B-team", "O"]]
PREDICTIONS = [answer(row, tags) for row, tags in zip(ROWS, TAGS, strict=True)]


def test_the_appendix_in_full() -> None:
    assert (
        appendix(ROWS, PREDICTIONS, None)
        == """### By type

| type | precision | recall | F1 | in the rows |
| --- | --- | --- | --- | --- |
| person | 0.000 | 0.000 | 0.000 | 1 |
| place\\|team | 0.000 | 0.000 | 0.000 | 1 |
| team | 0.500 | 1.000 | 0.667 | 1 |

### Kinds of error

| kind | entities |  |
| --- | --- | --- |
| right | 1 | same span, same type |
| boundary | 1 | same type, spans overlap |
| type | 1 | same span, other type |
| boundary and type | 0 | spans overlap, other type |
| missed | 0 | overlaps nothing that is left in the answer |
| spurious | 0 | overlaps nothing that is left in the row |

### Types taken for others

| in the row | in the answer | entities |
| --- | --- | --- |
| place\\|team | team | 1 |
"""
    )


def test_pictures_are_linked_where_they_are(tmp_path: Path) -> None:
    text = appendix(ROWS, PREDICTIONS, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["error_kinds.png", "f1_by_type.png"]
    for path in tmp_path.iterdir():
        assert f"]({path.name})" in text
        assert path.read_bytes().startswith(b"\x89PNG")


def test_no_text_of_a_row_is_shown() -> None:
    text = appendix(ROWS, PREDICTIONS, None)
    assert not [token for row in ROWS for token in row.tokens or () if token in text]


def test_rows_and_answers_without_entities() -> None:
    row = NerRow(tokens=["a"], tags=["O"])
    assert "Neither the rows nor the answers have an entity." in appendix([row], [answer(row, ["O"])], None)


@pytest.mark.parametrize("types", [["x-", "x"], ["micro avg", "accuracy", "-"], ["right", "type"]])
def test_types_may_have_names_that_seqeval_uses_itself(types: list[str], tmp_path: Path) -> None:
    row = NerRow(tokens=["a"] * len(types), tags=[f"B-{name}" for name in types])
    text = appendix([row], [answer(row, gold_tags(row))], tmp_path)
    assert all(f"| {name} | 1.000 | 1.000 | 1.000 | 1 |" in text for name in types)
    assert next(iter(KINDS)) in text
