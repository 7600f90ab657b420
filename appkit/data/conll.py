"""CoNLL files: a token a line, a blank line between sentences; which column is which is found out or asked for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from appkit.data.lines import find_bad_byte, read_lines
from appkit.data.tables import Fault, Format, Table
from appkit.errors import DataError, shortened

__all__ = ["read_conll"]

TAG = re.compile(r"O|[BIESLU]-.+")
GAP = re.compile(r"[ \t]+")
KEY = re.compile(r"# ?[\w.:-]+ = ")
DOCUMENT = re.compile(r"#(begin|end) document\b")
NUMBER = re.compile(r"\d+([-.]\d+)?")
"""of an index: 1, and in CoNLL-U 1-2 and 1.1"""
CHUNKS = {"NP", "VP", "PP", "ADVP", "ADJP", "SBAR", "PRT", "CONJP", "INTJ", "LST", "UCP"}
"""types of phrases, whose tags stand beside those of entities in CoNLL-2003"""
ASK = "name the columns, counted from 1: data.columns.tokens=1 data.columns.tags={width}"

Sentence = list[tuple[int, str, list[str]]]
"""(physical line, text, cells) of each token"""


class Roles(NamedTuple):
    """Which columns are read, counted from 0."""

    tokens: int
    tags: int


def read_conll(path: Path, source: str, columns: Collection[str], form: Format) -> Table:
    """Read a sentence a row: columns "tokens" and "tags", and those that `columns` names by number, from 1.

    A sentence with a broken line is lost as a whole; each of its broken lines is a fault. Raises DataError where no
    column, or more than one, may be the tokens' or the tags'.
    """
    lines = list(read_lines(path, form))
    table = Table(lines=len(lines))
    sentences, doubtful = _split_sentences(lines)
    numbered = sorted({int(name) - 1 for name in columns if name.isdecimal() and int(name)})
    roles = _find_roles(source, sentences, columns, numbered)
    wanted = {"tokens": roles.tokens, "tags": roles.tags} | {str(place + 1): place for place in numbered}
    present = [name for name, place in wanted.items() if place >= 0]
    table.columns = present or ["tokens", "tags"]  # so that a message can name them
    width = 0
    for sentence in sentences:
        broken = []
        for line, text, cells in sentence:
            if bad := find_bad_byte(source, line, text, form):
                broken.append(bad)
            elif reason := _check_line(cells, width, [wanted[name] for name in present]):
                broken.append(Fault(source, line, None, reason, shortened(text.rstrip())))
            else:
                width = len(cells)
        table.other += len(sentence) - 1
        if broken:
            table.lose(*broken)
            continue
        row = {name: [cells[wanted[name]] for *_, cells in sentence] for name in present}
        table.rows.append((sentence[0][0], row))
    table.other += len(lines) - sum(map(len, sentences))
    if doubtful:
        table.notes.append(
            f"{source}: {len(doubtful)} lines that begin with '#' are read as comments, not as tokens (the first: line "
            f"{doubtful[0]})"
        )
    if width and roles.tokens >= 0 <= roles.tags and roles != (0, width - 1):
        table.notes.append(
            f"{source}: tokens are read from column {roles.tokens + 1}, tags from column {roles.tags + 1} of {width}"
        )
    return table


def _split_sentences(lines: Sequence[str]) -> tuple[list[Sentence], list[int]]:
    """Collect each sentence's tokens, without comments and lines that begin a document; and the comments in doubt."""
    tokens = [
        cells for text in lines if text.strip() and not text.startswith("#") for cells in [_split(text)]
    ]
    width = Counter(map(len, tokens)).most_common(1)[0][0] if tokens else 0
    tabbed = 2 * sum("\t" in text for text in lines) > sum(bool(text.strip()) for text in lines)
    known = [set(cells) for cells in zip(*(cells for cells in tokens if len(cells) == width), strict=True)]
    sentences: list[Sentence] = [[]]
    doubtful = []
    for line, text in enumerate(lines, 1):
        cells = _split(text)
        if not text.strip() or cells[0] == "-DOCSTART-":
            sentences.append([])
        elif _is_comment(text, cells, width, tabbed):
            continue
        elif not sentences[-1] and _may_be_comment(cells, known):  # within a sentence it is a token
            doubtful.append(line)
        else:
            sentences[-1].append((line, text, cells))
    return [sentence for sentence in sentences if sentence], doubtful


def _is_comment(text: str, cells: list[str], width: int, tabbed: bool) -> bool:
    """Tell a comment from the token "#", whose line has as many columns as the others, one of them a tag."""
    if DOCUMENT.match(text) or KEY.match(text):
        return True
    if "\t" in text or not text.startswith("# "):
        return False
    return tabbed or len(cells) != (width or len(cells)) or not any(map(TAG.fullmatch, cells[1:]))


def _may_be_comment(cells: list[str], known: Sequence[set[str]]) -> bool:
    """Tell a comment with tabs, or of as many words as there are columns, by what no token has in that column.

    known: the cells of each column, of lines that do not begin with "#"; the token "#" may be its own part of speech.
    """
    if not known or not (cells[0] == "#" or cells[0].startswith("# ")):
        return False
    return len(cells) != len(known) or any(
        cell != "#" and not TAG.fullmatch(cell) and cell not in seen
        for cell, seen in zip(cells[1:], known[1:], strict=True)
    )


def _split(text: str) -> list[str]:
    """Split a line into columns: between tabs if it has any, so that tokens may hold spaces, else between spaces."""
    text = text.rstrip("\r\n")
    return [cell.strip(" ") for cell in text.split("\t")] if "\t" in text else GAP.split(text.strip(" "))


def _check_line(cells: list[str], width: int, wanted: Sequence[int]) -> str | None:
    """Say what is wrong with a token's line, None if nothing. width: columns of the line before, 0 for the first."""
    if (len(cells) == 1 and max(wanted, default=0) > 0) or not cells[-1]:
        return "has no tag in its last column"
    if not cells[0]:
        return "has no token in its first column"
    if width and len(cells) != width:  # the last one may then be another column than the tag's
        return f"has {len(cells)} columns, the lines before it have {width}"
    if len(cells) <= max(wanted, default=0):
        return f"has {len(cells)} columns, column {max(wanted) + 1} is to be read"
    empty = [place + 1 for place in wanted if not cells[place]]
    return f"has nothing in its column {empty[0]}" if empty else None


def _find_roles(
    source: str, sentences: Sequence[Sentence], columns: Collection[str], numbered: Sequence[int]
) -> Roles:
    """Find the columns of tokens and tags by what they hold; -1 for one that is not asked for.

    Raises DataError where that does not decide.
    """
    count = Counter(len(cells) for sentence in sentences for *_, cells in sentence)
    width = count.most_common(1)[0][0] if count else 0
    ask = ASK.format(width=max(width, 2))
    if numbered and width and numbered[-1] >= width:
        raise DataError(f"{source!r} has {width} columns, and column {numbered[-1] + 1} is to be read; {ask}")
    if width < 2:
        return Roles(0, 1)  # each line is then at fault
    whole = [
        [cells for *_, cells in sentence]
        for sentence in sentences
        if all(len(c) == width for *_, c in sentence)
    ]
    rows = [cells for sentence in whole for cells in sentence] or [
        cells for sentence in sentences for *_, cells in sentence if len(cells) == width
    ]
    free = [place for place in range(width) if place not in numbered]
    tags = _find_tags(source, [[cells[place] for cells in rows] for place in range(width)], free)
    tokens = -1
    if "tokens" in columns:
        tokens = _find_tokens(source, whole or [rows], rows, [place for place in free if place not in tags])
    if "tags" not in columns:
        return Roles(tokens, -1)
    named = [place for place in tags if not _are_chunks([cells[place] for cells in rows])] or tags
    if len(named) == 1:
        return Roles(tokens, named[0])
    shown = shortened(" ".join(rows[0]))
    what = (
        f"columns {' and '.join(str(place + 1) for place in named)} may be"
        if named
        else "no column seems to be"
    )
    raise DataError(f"{source!r}: {what} the tags (O, B-person, I-person), a line is {shown}; {ask}")


def _find_tags(source: str, cells: Sequence[Sequence[str]], free: Sequence[int]) -> list[int]:
    """Find the columns of which at least half reads as tags."""
    return [
        place
        for place in free
        if 2 * sum(bool(TAG.fullmatch(cell)) for cell in cells[place]) >= len(cells[place])
    ]


def _are_chunks(tags: Sequence[str]) -> bool:
    types = {tag.partition("-")[2] for tag in tags if tag != "O"}
    return bool(types) and types <= CHUNKS


def _find_tokens(
    source: str, sentences: Sequence[Sequence[list[str]]], rows: Sequence[list[str]], free: Sequence[int]
) -> int:
    """Find the column of words: the first that is no number, and that no other column has more different words than."""
    if len(free) == 1:
        return free[0]
    texts = [
        place
        for place in free
        if not all(NUMBER.fullmatch(cells[place]) for cells in rows)
        and (len(rows) == 1 or len({cells[place] for cells in rows}) > 1)
    ]
    counted = bool(free) and all(_is_index([cells[free[0]] for cells in sentence]) for sentence in sentences)
    variety = {place: len({cells[place] for cells in rows}) for place in texts}
    leads = bool(texts) and (texts[0] == free[0] or (counted and texts[0] == free[1]))
    if leads and variety[texts[0]] == max(variety.values()):
        return texts[0]
    raise DataError(
        f"{source!r}: which column holds the tokens is not certain, a line is {shortened(' '.join(rows[0]))}; "
        f"{ASK.format(width=len(rows[0]))}"
    )


def _is_index(cells: Sequence[str]) -> bool:
    """Tell whether the cells of a sentence count its tokens, from 0 or 1."""
    numbers = [int(cell) for cell in cells if cell.isdecimal()]
    return bool(numbers) and numbers == list(range(numbers[0], numbers[0] + len(numbers))) and numbers[0] < 2
