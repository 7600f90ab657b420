"""CoNLL files: a sentence is a row, a broken line a fault with its own number."""

from __future__ import annotations

from pathlib import Path

import pytest

from appkit.data.readers import Table, read_table
from appkit.errors import DataError

SUFFIXES = ["conll", "bio", "iob", "iob2"]


def table(folder: Path, content: str | bytes, suffix: str = "conll") -> Table:
    path = folder / f"rows.{suffix}"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(str(path), {"tokens", "tags"})


def rows(found: Table) -> list[tuple[int, list[str], list[str]]]:
    return [(line, cells["tokens"], cells["tags"]) for line, cells in found.rows]


def faults(found: Table) -> list[tuple[int, str]]:
    return [(fault.line, fault.reason) for fault in found.faults]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_sentences_are_rows_with_the_line_of_their_first_token(tmp_path: Path, suffix: str) -> None:
    found = table(tmp_path, "Ada B-PER\nsleeps O\n\n\nParis B-LOC\n", suffix)
    assert found.columns == ["tokens", "tags"]
    assert rows(found) == [(1, ["Ada", "sleeps"], ["B-PER", "O"]), (5, ["Paris"], ["B-LOC"])]
    assert not found.faults


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("gap", [" ", "\t", "   "])
def test_token_first_tag_last_whatever_stands_between(tmp_path: Path, gap: str, end: str) -> None:
    lines = [gap.join(cells) for cells in (["EU", "NNP", "B-NP", "B-ORG"], ["rejects", "VBZ", "B-VP", "O"])]
    assert rows(table(tmp_path, end.join(lines))) == [(1, ["EU", "rejects"], ["B-ORG", "O"])]


def test_tabs_let_a_token_hold_spaces(tmp_path: Path) -> None:
    assert rows(table(tmp_path, "New York\tB-LOC\n")) == [(1, ["New York"], ["B-LOC"])]


def test_documents_and_comments_are_no_tokens(tmp_path: Path) -> None:
    content = (
        "-DOCSTART- -X- -X- O\n\n# sent_id = 7\n# text = Ada sleeps\nAda B-PER\n-DOCSTART- O\nParis B-LOC\n"
    )
    assert rows(table(tmp_path, content)) == [(5, ["Ada"], ["B-PER"]), (7, ["Paris"], ["B-LOC"])]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"])
def test_sentences_stay_apart_whatever_ends_a_line(tmp_path: Path, end: str) -> None:
    found = table(tmp_path, "# one\nAda B-PER\nsleeps O\n\nParis B-LOC\n\nOslo B-LOC".replace("\n", end))
    assert rows(found) == [
        (2, ["Ada", "sleeps"], ["B-PER", "O"]),
        (5, ["Paris"], ["B-LOC"]),
        (7, ["Oslo"], ["B-LOC"]),
    ]
    assert (found.lines, found.lost, found.other) == (7, 0, 4)


@pytest.mark.parametrize(
    "comment",
    [
        "# text = Ada flew to Gate O",
        "# text = O",
        "# Gate B-PER is O",
        "#sent_id = O",
        "#begin document (bc/cctv); part O",
    ],
)
@pytest.mark.parametrize("gap", [" ", "\t"])
def test_a_comment_that_ends_like_a_tag_is_no_token(tmp_path: Path, comment: str, gap: str) -> None:
    assert rows(table(tmp_path, f"{comment}\nAda{gap}B-PER\nsleeps{gap}O\n")) == [
        (2, ["Ada", "sleeps"], ["B-PER", "O"])
    ]


def test_a_comment_in_a_file_of_as_many_columns_is_no_token(tmp_path: Path) -> None:
    content = "# is O\nAda\tNNP\tB-PER\nsleeps\tVB\tO\n"
    assert rows(table(tmp_path, content)) == [(2, ["Ada", "sleeps"], ["B-PER", "O"])]


@pytest.mark.parametrize(
    ("comment", "token"),
    [
        ("# blood O", "Ada NNP B-PER"),  # as many words as columns
        ("# id 5239d808\tdomain=en", "Ada _ _ B-PER"),  # MultiCoNER
        ("#\thttp://de.wikipedia.org/wiki/A\t[2009-10-17]", "1\tAda\tB-PER\tO"),  # GermEval
        ("# id 7\tdomain=en", "Ada\tB-PER"),
    ],
)
def test_a_comment_that_could_be_a_token_is_noted(tmp_path: Path, comment: str, token: str) -> None:
    path = tmp_path / "rows.conll"
    path.write_text(f"{comment}\n{token}\n\n{comment}\n{token}\n", encoding="utf-8")
    names = (str(token.split().index("Ada") + 1), str(token.split().index("B-PER") + 1))
    found = read_table(str(path), set(names))
    assert [(line, cells[names[0]]) for line, cells in found.rows] == [(2, ["Ada"]), (5, ["Ada"])]
    assert not found.faults
    assert (
        "2 lines that begin with '#' are read as comments, not as tokens (the first: line 1)"
        in found.notes[0]
    )


@pytest.mark.parametrize("line", ["# NNP O", "# # O", "#\tNNP\tO", "#Paris HT O"])
def test_a_hash_with_the_cells_of_other_tokens_is_a_token(tmp_path: Path, line: str) -> None:
    gap = "\t" if "\t" in line else " "
    content = f"{line}\nAda NNP B-PER\nruns VBZ O\n\nOslo NNP B-LOC\n{line}\n"
    found = table(tmp_path, "\n".join(gap.join(row.split()) for row in content.split("\n")))
    hash_ = line.split()[0]
    assert [tokens for _, tokens, _ in rows(found)] == [[hash_, "Ada", "runs"], ["Oslo", hash_]]
    assert not found.notes


def test_the_columns_that_are_asked_for_exist(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.columns\.tokens=1 data\.columns\.tags=2$"):
        table(tmp_path, "Ada PER\nruns none\n")


# --- columns --------------------------------------------------------------------------------------------

SENTENCE = [("Ada", "NNP", "B-PER"), ("sleeps", "VBZ", "O"), ("in", "IN", "O"), ("Oslo", "NNP", "B-LOC")]
GOLD = [(1, [token for token, *_ in SENTENCE], [tag for *_, tag in SENTENCE])]


def columns(form: str, sentence: list[tuple[str, str, str]] = SENTENCE) -> str:
    """Write the sentence in columns: i number from 1, z from 0, t token, p part of speech, g tag, c chunk."""
    lines = []
    for number, (token, pos, tag) in enumerate(sentence):
        cells = {
            "i": number + 1,
            "z": number,
            "t": token,
            "p": pos,
            "g": tag,
            "c": "B-NP",
            "_": "_",
            "s": "7",
        }
        lines.append("\t".join(str(cells[name]) for name in form))
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    "form", ["tg", "tpg", "tpcg", "itg", "it_g", "itpg", "ztg", "gt", "tgp", "tg_", "itg_", "tgc", "it_pg__"]
)
def test_columns_are_found_by_what_they_hold(tmp_path: Path, form: str) -> None:
    found = table(tmp_path, columns(form))
    assert rows(found) == GOLD
    usual = form.index("t") == 0 and form.index("g") == len(form) - 1
    place = f"tokens are read from column {form.index('t') + 1}, tags from column {form.index('g') + 1} of {len(form)}"
    assert [note.partition(": ")[2] for note in found.notes] == ([] if usual else [place])


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ("tgg", "columns 2 and 3 may be the tags"),
        ("tpp", "no column seems to be the tags"),
        ("ptg", "which column holds the tokens is not certain"),
        ("stg", "which column holds the tokens is not certain"),
        ("_tg", "which column holds the tokens is not certain"),
        ("sitpg", "which column holds the tokens is not certain"),
    ],
)
def test_columns_that_are_not_certain_are_asked_for(tmp_path: Path, form: str, reason: str) -> None:
    with pytest.raises(
        DataError, match=f"{reason}.*; name the columns, counted from 1: data.columns.tokens=1"
    ):
        table(tmp_path, columns(form))
    path = tmp_path / "rows.conll"
    names = (str(form.index("t") + 1), str(form.rindex("g" if "g" in form else "p") + 1))
    found = read_table(str(path), set(names))
    assert [(cells[names[0]]) for _, cells in found.rows] == [GOLD[0][1]]
    with pytest.raises(DataError, match=f"has {len(form)} columns, and column 9 is to be read"):
        read_table(str(path), {"9", "tags"})


def test_numbers_in_a_file_of_two_columns_are_tokens(tmp_path: Path) -> None:
    assert rows(table(tmp_path, "1\tB-DATE\n2\tO\n")) == [(1, ["1", "2"], ["B-DATE", "O"])]


def test_words_of_several_tokens_do_not_hide_the_index(tmp_path: Path) -> None:
    content = "1\tAda\tB-PER\n2-3\tzum\tO\n2\tzu\tO\n3\tdem\tO\n"
    assert rows(table(tmp_path, content))[0][1] == ["Ada", "zum", "zu", "dem"]


@pytest.mark.parametrize("line", ["# O", "#\tO", "# B-product", "#Paris O", "#1 O"])
def test_a_hash_with_a_tag_is_a_token(tmp_path: Path, line: str) -> None:
    (found,) = rows(table(tmp_path, f"a O\n{line}\nb O\n"))
    assert found[1] == ["a", line.split()[0], "b"]


def test_a_broken_line_costs_its_sentence_and_has_its_own_number(tmp_path: Path) -> None:
    found = table(tmp_path, "a O\nb\nc O\n\nd O\n\ne\t\n\tO\nf NNP O\ng O\n")
    assert rows(found) == [(5, ["d"], ["O"])]
    assert faults(found) == [
        (2, "has no tag in its last column"),
        (7, "has no tag in its last column"),
        (8, "has no token in its first column"),
        (9, "has 3 columns, the lines before it have 2"),
    ]
    assert str(found.faults[0]).endswith("rows.conll:2: row has no tag in its last column; got 'b'")


def test_a_first_line_without_tag_does_not_set_the_width(tmp_path: Path) -> None:
    found = table(tmp_path, "Ada\n\nParis B-LOC\n")
    assert (rows(found), faults(found)) == (
        [(3, ["Paris"], ["B-LOC"])],
        [(1, "has no tag in its last column")],
    )


def test_bytes_that_are_not_utf8_cost_their_sentence(tmp_path: Path) -> None:
    found = table(tmp_path, b"caf\xe9 O\n\nok O\n\nnul\0 O\n")
    assert [line for line, *_ in rows(found)] == [3]
    assert [line for line, _ in faults(found)] == [1, 5]
    assert "0xe9 is not UTF-8" in found.faults[0].reason


def test_a_byte_order_mark_is_no_part_of_the_first_token(tmp_path: Path) -> None:
    assert rows(table(tmp_path, "\ufeffAda B-PER\n")) == [(1, ["Ada"], ["B-PER"])]


@pytest.mark.parametrize("token", ["😂", "👩🏽\u200d🚀", "\u200b", "\xa0", "שלום", "\u2028", "#", '"'])
def test_tokens_stay_as_they_are(tmp_path: Path, token: str) -> None:
    assert rows(table(tmp_path, f"{token} O\n")) == [(1, [token], ["O"])]


def test_lines_without_a_token_make_no_row(tmp_path: Path) -> None:
    assert not table(tmp_path, "\n\n# nothing\n \t \n").rows


def test_an_unknown_suffix_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"suffix '\.txt'; known: .*\.conll, \.bio, \.iob, \.iob2"):
        table(tmp_path, "Ada B-PER\n", "txt")
