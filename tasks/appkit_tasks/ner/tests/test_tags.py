"""Tags to entities and back."""

from __future__ import annotations

import pytest
from appkit_tasks.ner.tags import Entity, entities_of, tags_of, type_fault
from hypothesis import given
from hypothesis import strategies as st

WORDS = [(0, 3), (4, 12), (13, 15), (15, 16), (17, 22)]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("O O O O O", []),
        ("B-a I-a O O B-b", [(0, 12, "a"), (17, 22, "b")]),
        ("B-a B-a I-a O O", [(0, 3, "a"), (4, 15, "a")]),
        ("B-a B-b O O O", [(0, 3, "a"), (4, 12, "b")]),
        ("O O O B-a I-a", [(15, 22, "a")]),
        ("B-creative-work I-creative-work O O O", [(0, 12, "creative-work")]),
        ("B-a I-a E-a S-b O", [(0, 15, "a"), (15, 16, "b")]),  # BIOES
        ("B-a L-a U-b U-a O", [(0, 12, "a"), (13, 15, "b"), (15, 16, "a")]),  # BILOU
        ("O O O O S-a", [(17, 22, "a")]),
    ],
)
def test_tags_to_entities(tags: str, expected: list[tuple[int, int, str]]) -> None:
    assert entities_of(tags.split(), WORDS) == expected


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ("I-a O O O O", r"begin an entity with 'I-a' at token 1; .* B-: of IOB1, turn each I-"),
        ("B-a I-b O O O", r"begin an entity with 'I-b' at token 2"),
        ("B-a O I-a O O", r"begin an entity with 'I-a' at token 3"),
        ("E-a O O O O", r"begin an entity with 'E-a' at token 1"),
        ("S-a I-a O O O", r"begin an entity with 'I-a' at token 2"),
        ("B-a O S-a O O", r"leave the 'a' before token 2 open; .* E- or L-"),
        ("S-a O O O B-a", r"leave the 'a' before token 6 open"),
        ("person O O O O", r"hold 'person' at token 1; a tag is O, or B- or I- and a type"),
        ("o O O O O", r"hold 'o' at token 1"),
        ("B O O O O", r"hold 'B' at token 1"),
        ("B- O O O O", r"hold 'B-' at token 1, which has a type without name"),
        ("X-a O O O O", r"hold 'X-a' at token 1"),
        ("B-I-a O O O O", r"hold 'B-I-a' at token 1, which has the tag 'I-a' for a type; write 'a'"),
        ("O O", r"are 2 for 5 tokens"),
    ],
)
def test_tags_that_are_not_legal_say_why(tags: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        entities_of(tags.split(), WORDS)


@pytest.mark.parametrize("name", ["person", "creative-work", "BIO", "b-x", "O", "日付", "x y"])
def test_names_of_types(name: str) -> None:
    assert type_fault(name) is None


@pytest.mark.parametrize("name", ["", " ", "B-person", "I-person", "S-x", "L-x"])
def test_names_that_are_none(name: str) -> None:
    assert type_fault(name)


@st.composite
def tagged(draw: st.DrawFn) -> list[str]:
    tags: list[str] = []
    for prefix in draw(st.lists(st.sampled_from("OBI"), min_size=1, max_size=12)):
        if prefix == "I" and tags and tags[-1] != "O":
            tags.append(f"I-{tags[-1][2:]}")
        else:
            tags.append("O" if prefix == "O" else f"B-{draw(st.sampled_from(['a', 'b-c']))}")
    return tags


@given(tagged())
def test_there_and_back(tags: list[str]) -> None:
    words = [(3 * place, 3 * place + 2) for place in range(len(tags))]
    assert tags_of(entities_of(tags, words), words) == tags


@given(tagged())
def test_bioes_says_the_same(tags: list[str]) -> None:
    words = [(place, place + 1) for place in range(len(tags))]
    closed = []
    for tag, after in zip(tags, [*tags[1:], "O"], strict=True):
        ends = tag != "O" and not after.startswith("I-")
        closed.append({"B": "S", "I": "E"}[tag[0]] + tag[1:] if ends else tag)
    assert entities_of(closed, words) == entities_of(tags, words)


def test_an_entity_is_tagged_over_words_that_touch() -> None:
    assert tags_of([Entity(13, 22, "a")], WORDS) == ["O", "O", "B-a", "I-a", "I-a"]
