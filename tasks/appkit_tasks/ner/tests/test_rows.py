"""The schema: every way to write a row gives the same one; what cannot be learned from is a fault that says why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from appkit_tasks.ner import TASK
from appkit_tasks.ner.config import NerConfig
from appkit_tasks.ner.load import NerRow, word_spans
from appkit_tasks.ner.prompt import prompt, target
from appkit_tasks.ner.tests.answers import rows_of
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from appkit.data.rows import Read, digest, read
from appkit.task import Message


def shown(row: NerRow) -> list[tuple[str, str]]:
    return [(row.text[start:end], kind) for start, end, kind in row.entities]


def tags(row: NerRow) -> list[str]:
    return list(target(row, NerConfig()).values)


def words(row: NerRow) -> list[str]:
    return [row.text[start:end] for start, end in word_spans(row)]


def file(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def faults(folder: Path, row: dict[str, Any], columns: dict[str, str] | None = None) -> list[str]:
    """What `read` says of a row that stands beside a sound one, without its place."""
    sound = {"tokens": ["a"], "tags": ["O"], "text": "a", "entities": []}
    result = read(file(folder / "a.jsonl", sound, row), NerRow, columns or {}, TASK.needed or ())
    assert [record.line for record in result.records] in ([1], [1, 2])
    assert {fault.line for fault in result.faults} <= {2}
    return [f"{fault.field or 'row'} {fault.reason}" for fault in result.faults]


# --- what a row may be ----------------------------------------------------------------------------------

TOKENS = ["Ada", "Lovelace", "in", "St.", "Ives"]
TAGS = ["B-person", "I-person", "O", "B-place", "I-place"]


def test_tokens_with_tags() -> None:
    row = NerRow(tokens=TOKENS, tags=TAGS)
    assert row.text == "Ada Lovelace in St. Ives"
    assert shown(row) == [("Ada Lovelace", "person"), ("St. Ives", "place")]
    assert (words(row), tags(row)) == (TOKENS, TAGS)
    assert prompt(row, NerConfig()) == [Message.of("user", row.text)]


def test_text_with_spans() -> None:
    spans = [{"start": 16, "end": 24, "type": "place"}, {"start": 0, "end": 12, "type": "person"}]
    row = NerRow(text="Ada Lovelace in St. Ives", entities=spans)
    assert row.entities == ((0, 12, "person"), (16, 24, "place"))
    assert words(row) == ["Ada", "Lovelace", "in", "St", ".", "Ives"]
    assert tags(row) == ["B-person", "I-person", "O", "B-place", "I-place", "I-place"]


def test_text_with_tokens_keeps_both() -> None:
    row = NerRow(text="Ada's\n kettle ", tokens=["Ada", "'s", "kettle"], tags=["B-person", "O", "O"])
    assert row.text == "Ada's\n kettle "
    assert (words(row), shown(row)) == (["Ada", "'s", "kettle"], [("Ada", "person")])


def test_every_spelling_of_a_span() -> None:
    spans: list[Any] = [
        {"start": 0, "end": 3, "type": "person"},
        {"start": 0, "end": 3, "label": " person ", "id": 7},
        {"start": 0, "end": 3, "type": "person", "text": "Ada", "confidence": 0.5},
        [0, 3, "person"],
        {"start": 0, "end": 4, "type": "person"},  # the space at its end is cut off
    ]
    rows = [NerRow(text="Ada sleeps", entities=[span]) for span in spans]
    assert {row.entities for row in rows} == {((0, 3, "person"),)}
    assert len({digest(row) for row in rows}) == 1


def test_a_row_read_again_is_the_same() -> None:
    for row in (NerRow(tokens=TOKENS, tags=TAGS), NerRow(text="  Ada ", entities=[[2, 5, "person"]])):
        again = NerRow.model_validate(row.model_dump(mode="json"))
        assert (again.text, again.tokens, again.entities) == (row.text, row.tokens, row.entities)
        assert digest(again) == digest(row)


def test_an_empty_list_is_a_row_without_entity() -> None:
    assert NerRow(text="nobody", entities=[]).entities == ()
    assert NerRow(tokens=["nobody"], tags=["O"]).entities == ()


def test_entities_and_tags_that_agree() -> None:
    row = NerRow(tokens=["Ada"], tags=["B-person"], entities=[[0, 3, "person"]])
    assert shown(row) == [("Ada", "person")]


# --- offsets --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "name"),
    [
        ("😂 ", "Ada"),
        ("👩🏽\u200d🚀🇬🇧", "Ada"),
        ("   \n", "Ada Lovelace"),
        ("פגשתי את ", "עדה"),
        ("\u200fקראתי ל\u200f ", "עדה"),
        ("التقيت ", "مُحَمَّد"),
        ("e\u0301te\u0301 ", "Ame\u0301lie"),
        ("𝔘𝔫𝔦 ", "𝔄𝔡𝔞"),
        ("我在", "東京"),
        ("$", "5"),
        ("@", "ada_l"),
    ],
)
def test_offsets_count_characters(before: str, name: str) -> None:
    text = f"{before}{name}’s kettle 😂"
    start = len(before)
    row = NerRow(text=text, entities=[{"start": start, "end": start + len(name), "type": "x", "text": name}])
    assert row.text == text
    assert shown(row) == [(name, "x")]
    tagged = [word for word, tag in zip(words(row), tags(row), strict=True) if tag != "O"]
    assert "".join(tagged) == name.replace(" ", "")


@given(st.text(alphabet="ab1 .’é\u0301😂\u200dש東\n", min_size=1), st.data())
def test_any_run_of_words_can_be_an_entity(text: str, data: st.DataObject) -> None:
    if not text.strip():
        return
    spans = word_spans(TASK.input_row(text))
    first = data.draw(st.integers(0, len(spans) - 1))
    last = data.draw(st.integers(first, len(spans) - 1))
    row = NerRow(text=text, entities=[[spans[first][0], spans[last][1], "x"]])
    expected = ["O"] * first + ["B-x"] + ["I-x"] * (last - first) + ["O"] * (len(spans) - last - 1)
    assert tags(row) == expected
    assert words(row) == words(
        TASK.input_row(text)
    )  # entities change nothing of what is read when predicting


# --- rows to be answered --------------------------------------------------------------------------------


def test_rows_to_be_answered() -> None:
    assert TASK.input_row("  some text").text == "  some text"
    row = TASK.input_row({"tokens": ["some", "text."]})
    assert (row.text, words(row), row.entities) == ("some text.", ["some", "text."], ())


def test_what_is_known_of_a_row_to_be_answered_does_not_matter() -> None:
    for given_ in ({"entities": "?"}, {"tags": ["I-nonsense"]}, {"tags": None, "entities": None}):
        assert TASK.input_row({"tokens": ["a"], **given_}).entities == ()


@pytest.mark.parametrize("value", ["", "  \n", {}, {"tokens": []}, {"text": None}, {"tokens": [1]}])
def test_nothing_to_answer_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError):
        TASK.input_row(value)


# --- faults ---------------------------------------------------------------------------------------------

ADA = "Ada and Bo"


@pytest.mark.parametrize(
    ("entities", "reason"),
    [
        ([[0, 3, "x"], [0, 7, "y"]], "overlap: x 0 to 3 and y 0 to 7; keep one of them"),
        ([[4, 10, "x"], [8, 10, "x"]], "overlap: x 4 to 10 and x 8 to 10; keep one of them"),
        ([[8, 11, "x"]], "reach out of the text: number 1 is 8 to 11, the text has 10 characters (offsets count"),
        ([[-1, 3, "x"]], "reach out of the text: number 1 is -1 to 3"),
        ([[3, 3, "x"]], "cannot be empty: number 1 starts at 3 and ends at 3; the end is exclusive"),
        ([[0, 3, "x"], [7, 3, "x"]], "cannot be empty: number 2 starts at 7 and ends at 3"),
        ([[3, 4, "x"]], "cannot be space alone: number 1 is 3 to 4"),
        ([[0, 3, " "]], "cannot be read: number 1 has a type without name"),
        ([[0, 3, "B-x"]], "cannot be read: number 1 has the tag 'B-x' for a type; write 'x'"),
        ([[0, 3, 1]], "need a text for the type, number 1 is [0, 3, 1]"),
        ([["0", 3, "x"]], "need whole numbers for start and end, number 1 is ['0', 3, 'x']"),
        ([[True, 3, "x"]], "need whole numbers for start and end"),
        ([{"start": 0, "type": "x"}], "need whole numbers for start and end, number 1 is {"),
        ([[0, 3]], "must each have start, end and type, number 1 is [0, 3]"),
        (["Ada"], "must each have start, end and type, number 1 is 'Ada'"),
        ("Ada", "must be a list (a CSV cell cannot hold one; use JSONL or Parquet)"),
        ([[0, 2, "x"]], "cut a word: x 0 to 2 has its border inside 'Ada'; mark the whole word, or give the row"),
        ([[5, 7, "x"]], "cut a word: x 5 to 7 has its border inside 'and'"),
        (
            [{"start": 4, "end": 7, "type": "x", "text": "Ada"}],
            "do not fit the text: number 1 is said to be 'Ada', but 4 to 7 is 'and' (offsets count characters",
        ),
    ],
)  # fmt: skip
def test_faults_of_spans(tmp_path: Path, entities: Any, reason: str) -> None:
    (fault,) = faults(tmp_path, {"text": ADA, "entities": entities})
    assert fault.startswith(f"entities {reason}")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"tokens": ["a", "b"], "tags": ["O"]}, "tags are 1 for 2 tokens; each token needs one"),
        ({"tokens": ["a"], "tags": ["I-x"]}, "tags begin an entity with 'I-x' at token 1; in IOB2"),
        ({"tokens": ["a"], "tags": ["x"]}, "tags hold 'x' at token 1; a tag is O, or B- or I- and a type"),
        ({"tokens": ["a"], "tags": [3]}, "tags must be texts, number 1 is 3; write the names that numbers"),
        ({"tokens": ["a", 1], "tags": ["O", "O"]}, "tokens must be texts, number 2 is 1"),
        ({"tokens": ["a", " "], "tags": ["O", "O"]}, "tokens must not be empty, number 2 is; leave it out"),
        ({"tokens": "a b", "tags": ["O"]}, "tokens must be a list (a CSV cell cannot hold one"),
        ({"tokens": ["a"], "tags": "O"}, "tags must be a list (a CSV cell cannot hold one"),
        ({"text": "a", "tags": ["O"]}, "tags need tokens to belong to; name their column"),
        ({"tokens": [], "tags": []}, "text is empty"),
        ({"text": " \n", "entities": []}, "text is empty"),
        ({"text": "b", "tokens": ["a"], "tags": ["O"]}, "text has 'b' at character 0, where token 1 is 'a'"),
        ({"entities": []}, "row has neither text nor tokens; name their column: data.columns.text= or"),
        ({"text": "a"}, "row has neither entities nor tags; name their column (data.columns.entities= or"),
        ({"text": "a", "entities": None}, "row has neither entities nor tags"),
        (
            {"tokens": ["a"], "tags": ["O"], "entities": [[0, 1, "x"]]},
            "entities say something else than the tags; leave one of them out",
        ),
    ],
)
def test_faults_of_rows(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    (fault,) = faults(tmp_path, row)
    assert fault.startswith(reason)


def test_a_row_with_many_faults_has_one_reason_a_field(tmp_path: Path) -> None:
    assert len(faults(tmp_path, {"tokens": ["a"] * 50, "tags": [1] * 50})) == 1


# --- files ----------------------------------------------------------------------------------------------


def tagged(result: Read) -> list[tuple[str, list[str]]]:
    return [(row.text, tags(row)) for row in rows_of(result)]


def test_files_of_every_kind_give_the_same_rows(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    both = [(TOKENS, TAGS), (["😂", "Bo"], ["O", "B-person"])]
    conll = "\n".join("".join(f"{a}\t{b}\n" for a, b in zip(*one, strict=True)) for one in both)
    (tmp_path / "a.conll").write_text(conll, encoding="utf-8")
    named = [{"tokens": tokens, "ner_tags": tags} for tokens, tags in both]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(named), tmp_path / "a.parquet")
    reads = [
        read(str(tmp_path / "a.conll"), NerRow, {}),
        read(file(tmp_path / "a.jsonl", *named), NerRow, {"tags": "ner_tags"}),
        read(str(tmp_path / "a.parquet"), NerRow, {"tags": "ner_tags"}),
    ]
    assert all(tagged(one) == [(" ".join(tokens), tags) for tokens, tags in both] for one in reads)
    assert len({tuple(record.digest for record in one.records) for one in reads}) == 1


def test_spans_in_parquet(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [{"text": "Ada", "spans": [{"start": 0, "end": 3, "label": "x"}]}, {"text": "a", "spans": []}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    result = read(str(tmp_path / "a.parquet"), NerRow, {"entities": "spans"})
    assert tagged(result) == [("Ada", ["B-x"]), ("a", ["O"])]


def test_a_fault_in_conll_has_the_line_of_its_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text("a O\n\nb O\nc I-x\n", encoding="utf-8")
    result = read(str(tmp_path / "a.conll"), NerRow, {})
    assert [record.line for record in result.records] == [1]
    assert str(result.faults[0]).startswith(
        f"{tmp_path / 'a.conll'}:3: tags begin an entity with 'I-x' at token 2"
    )
