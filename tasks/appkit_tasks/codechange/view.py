"""Writes a change as a model reads it: within a number of characters, by whole hunks, with a note of what is left out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from appkit_tasks.codechange.diffs import Change, File, Hunk, Line
from appkit_tasks.codechange.languages import DOCUMENTS, comment_marks, is_generated, is_test, language_of

__all__ = ["View", "classify", "describe_file", "render", "sides"]

NAMED = 5
"""files that the note of what is left out names"""
WIDEST = 400
"""characters of a line that are shown"""
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True)
class View:
    """A change as text."""

    text: str
    shown: int
    """hunks"""
    left_out: int
    """hunks"""


@dataclass(frozen=True)
class _Piece:
    """A hunk, or what is said of a file without one, with its place and how much it matters."""

    file: int
    hunk: Hunk | None
    text: str
    importance: int
    """0 matters most"""


def render(change: Change, budget: int, *, numbers: bool = False, before_after: bool = False) -> View:
    """Writes a change in at most `budget` characters, notes not counted.

    numbers: each line of the file afterwards has its number before its sign. before_after: the text before and the
    text afterwards in place of signs.
    """
    pieces = [
        piece
        for place, file in enumerate(change.files)
        for piece in _cut_file(place, file, numbers=numbers, before_after=before_after)
    ]
    kept = _choose(pieces, budget)
    lines: list[str] = []
    for place, file in enumerate(change.files):
        texts = [piece.text for piece in kept if piece.file == place]
        if texts:
            lines += [describe_file(file), *filter(None, texts)]
    left_out = [piece for piece in pieces if piece not in kept]
    text = "\n".join([*lines, *_note(change, left_out)])
    hunks = sum(piece.hunk is not None for piece in kept)
    return View(text, hunks, sum(piece.hunk is not None for piece in left_out))


def _cut_file(place: int, file: File, *, numbers: bool, before_after: bool) -> Iterable[_Piece]:
    importance = _weigh(file)
    if not file.hunks or file.submodule:
        yield _Piece(place, None, "", importance)
        return
    for hunk in file.hunks:
        if before_after:
            text = "\n".join(
                f"{title}:\n{side}" for title, side in zip(("before", "after"), sides([hunk]), strict=True)
            )
        else:
            text = "\n".join([_head(hunk), *(_write_line(line, numbers) for line in hunk.lines)])
        yield _Piece(place, hunk, text, max(importance, 3 if hunk.only_space else 0))


def _weigh(file: File) -> int:
    """Weighs a file: 0 code, 1 tests, 2 documents, 4 what nobody wrote by hand (3 is a change of white space)."""
    if is_generated(file.path) or file.binary:
        return 4
    if language_of(file.path) in DOCUMENTS:
        return 2
    return 1 if is_test(file.path) else 0


def _choose(pieces: Sequence[_Piece], budget: int) -> list[_Piece]:
    """Keeps pieces while they fit, the important ones first, in their order; one too long for all is cut itself."""
    chosen: set[int] = set()
    left = budget
    for place in sorted(range(len(pieces)), key=lambda place: (pieces[place].importance, place)):
        if len(pieces[place].text) < left:
            chosen.add(place)
            left -= len(pieces[place].text) + 1
    kept = [piece for place, piece in enumerate(pieces) if place in chosen]
    if not any(piece.hunk for piece in kept) and any(piece.hunk for piece in pieces):
        best = min((piece for piece in pieces if piece.hunk), key=lambda piece: piece.importance)
        cut = _Piece(best.file, best.hunk, _shorten(best.text, budget), best.importance)
        return [cut if piece is best else piece for piece in pieces if piece in kept or piece is best]
    return kept


def _shorten(text: str, budget: int) -> str:
    """Keeps the first lines that fit, and says how many follow."""
    lines, kept = text.split("\n"), 0
    while kept < len(lines) and (budget := budget - len(lines[kept]) - 1) >= 0:
        kept += 1
    return "\n".join([*lines[:kept], f"({len(lines) - kept} more lines of this hunk are left out)"])


def _note(change: Change, left_out: Sequence[_Piece]) -> list[str]:
    counts = Counter(piece.file for piece in left_out)
    if not counts:
        return []
    named = [
        f"{_clean(change.files[place].path) or 'the file'} ({count})"
        for place, count in [*counts.items()][:NAMED]
    ]
    more = f", and {len(counts) - NAMED} more files" if len(counts) > NAMED else ""
    return [f"(left out, hunks by file: {', '.join(named)}{more})"]


def describe_file(file: File) -> str:
    """Says in a line what a diff says of a file apart from its lines."""
    name = _clean(file.path) or "a file"
    if file.old_path:
        name = f"{_clean(file.old_path)} → {name}"
    said = [] if file.status == "changed" else [file.status]
    old, new = file.modes
    if file.submodule:
        said = ["submodule", *said, *_describe_pointer(file)]
    elif file.status == "changed" and old and new and old != new:
        said.append(f"mode {old} → {new}")
    elif file.status == "renamed" and not file.hunks:
        said = ["renamed, its content is unchanged"]
    if file.binary:
        said.append("binary")
    if file.combined:
        said.append("merged")
    return f"{name}: {', '.join(said)}" if said else name


def _describe_pointer(file: File) -> list[str]:
    commits = {
        line.sign: line.text.split()[-1][:7]
        for hunk in file.hunks
        for line in hunk.lines
        if line.text.startswith("Subproject commit ")
    }
    return [f"commit {commits.get('-', 'none')} → {commits.get('+', 'none')}"] if commits else []


def _head(hunk: Hunk) -> str:
    section = _clean(hunk.section.strip())
    return f"@@ {hunk.new}" + (f" in {section[:100]}" if section else "")


def _write_line(line: Line, numbers: bool) -> str:
    number = str(line.new or "") if numbers else ""
    text = _clean(line.text.removesuffix("\r"))
    shown = text if len(text) <= WIDEST else f"{text[:WIDEST]}… ({len(text) - WIDEST} more characters)"
    return f"{number}{line.sign}{shown}"


def _clean(text: str) -> str:
    """Replaces characters that no terminal or tokenizer should meet."""
    return CONTROL.sub("\ufffd", text)


def sides(hunks: Sequence[Hunk]) -> tuple[str, str]:
    """Writes the text before and afterwards; hunks are apart by a line with three dots."""
    before, after = (
        "\n...\n".join(
            "\n".join(_clean(line.text.removesuffix("\r")) for line in hunk.lines if line.sign != absent)
            for hunk in hunks
        )
        for absent in "+-"
    )
    return before, after


def classify(change: Change) -> str:
    """Tells what changes: `code`, `comments` alone (with documents), or `both`; by each changed line's look."""
    seen: set[str] = set()
    for file in change.files:
        language = language_of(file.path)
        marks = comment_marks(language)
        for hunk in file.hunks:
            seen |= _classify_lines(hunk, language, marks)
    return {frozenset({"comments"}): "comments", frozenset({"code", "comments"}): "both"}.get(
        frozenset(seen), "code"
    )


def _classify_lines(hunk: Hunk, language: str, marks: Sequence[str]) -> set[str]:
    seen: set[str] = set()
    quoted = False
    for line in hunk.lines:
        text = line.text.strip()
        fences = text.count('"""') + text.count("'''") if language == "python" else 0
        prose = (
            language in DOCUMENTS
            or quoted
            or text.startswith((*marks, '"""', "'''") if fences else tuple(marks))
        )
        if line.sign != " " and text:
            seen.add("comments" if prose else "code")
        if fences % 2 and line.sign != "-":
            quoted = not quoted
    return seen
