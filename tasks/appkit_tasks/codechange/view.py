"""Writes a change as a model reads it: in so many characters, by whole hunks, with a note of what is left out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from appkit_tasks.codechange.diffs import Change, File, Hunk, Line
from appkit_tasks.codechange.languages import DOCUMENTS, comment_marks, is_generated, is_test, language_of

__all__ = ["WIDEST", "View", "classify", "describe_file", "render", "sides"]

NAMED = 5
"""files that the note of what is left out names"""
WIDEST = 400
"""characters of a line that are shown"""
LONGEST_PATH = 200
"""characters of a path that are shown"""
FENCE = re.compile(r'"""|\'\'\'')
DOCSTRING = re.compile(r'[rRuU]?(?:"""|\'\'\')')
BLOCKS = {"/*": "*/", "<!--": "-->", "(*": "*)"}
"""what begins a comment of several lines -> what ends it"""
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""control characters, line ends that are none, marks of writing from right to left, halves of characters"""


@dataclass(frozen=True)
class View:
    """A change as text."""

    text: str
    shown: int
    """hunks"""
    left_out: int
    """hunks"""
    notes: tuple[str, ...]
    """its last lines, which say what is left out"""


@dataclass(frozen=True)
class _Piece:
    """A hunk, or what is said of a file without one, with its place and how much it matters."""

    file: int
    hunk: Hunk | None
    text: str
    importance: int
    """0 matters most"""


@dataclass(frozen=True)
class _Form:
    """How hunks are written."""

    numbers: bool
    before_after: bool

    def write(self, hunk: Hunk) -> str:
        """Writes a hunk."""
        if self.before_after:
            before, after = sides([hunk])
            if self.numbers:
                after = "\n".join(
                    f"{line.new} {_clean_line(line)}" for line in hunk.lines if line.new is not None
                )
            return f"before:\n{before}\nafter:\n{after}"
        return "\n".join([_head(hunk), *(_write_line(line, self.numbers) for line in hunk.lines)])


def render(change: Change, budget: int, *, numbers: bool = False, before_after: bool = False) -> View:
    """Writes a change in at most `budget` characters, notes of what is left out not counted.

    numbers: each line of the file afterwards has its number before it. before_after: the text before and the
    text afterwards in place of signs.
    """
    form = _Form(numbers, before_after)
    titles = [describe_file(file) for file in change.files]
    pieces = [piece for place, file in enumerate(change.files) for piece in _cut_file(place, file, form)]
    chosen = _choose(pieces, titles, budget)
    hunks = sum(piece.hunk is not None for piece in pieces)
    lines = _arrange([pieces[place] for place in sorted(chosen)], titles)
    shown = sum(pieces[place].hunk is not None for place in chosen)
    notes: list[str] = []
    if hunks and not shown:
        # no hunk fits: the most important one is cut itself, and stands alone
        best = min((piece for piece in pieces if piece.hunk), key=lambda piece: piece.importance)
        chosen, shown = {pieces.index(best)}, 1
        *lines, note = _shorten(best, titles[best.file], form, budget)
        notes = [note]
    notes += _note(change, [piece for place, piece in enumerate(pieces) if place not in chosen])
    return View("\n".join([*lines, *notes]), shown, hunks - shown, tuple(notes))


def _cut_file(place: int, file: File, form: _Form) -> Iterable[_Piece]:
    importance = _weigh(file)
    if not file.hunks or file.submodule:
        yield _Piece(place, None, "", importance)
        return
    for hunk in file.hunks:
        yield _Piece(place, hunk, form.write(hunk), max(importance, 3 if hunk.only_space else 0))


def _arrange(pieces: Sequence[_Piece], titles: Sequence[str]) -> list[str]:
    lines: list[str] = []
    last = -1
    for piece in pieces:
        lines += [titles[piece.file]] * (piece.file != last) + [piece.text] * (piece.hunk is not None)
        last = piece.file
    return lines


def _weigh(file: File) -> int:
    """Weighs a file: 0 code, 1 tests, 2 documents, 4 what nobody wrote by hand (3 is a change of white space)."""
    if is_generated(file.path) or file.binary:
        return 4
    if language_of(file.path) in DOCUMENTS:
        return 2
    return 1 if is_test(file.path) else 0


def _choose(pieces: Sequence[_Piece], titles: Sequence[str], budget: int) -> set[int]:
    """Chooses pieces while they fit with their files' titles, the important ones first; returns their places."""
    chosen: set[int] = set()
    titled: set[int] = set()
    left = budget + 1  # the last line has no end
    for place in sorted(range(len(pieces)), key=lambda place: (pieces[place].importance, place)):
        piece = pieces[place]
        size = len(piece.text) + 1 if piece.hunk else 0
        if piece.file not in titled:
            size += len(titles[piece.file]) + 1
        if size <= left:
            chosen.add(place)
            titled.add(piece.file)
            left -= size
    return chosen


def _shorten(piece: _Piece, title: str, form: _Form, budget: int) -> list[str]:
    """Writes the first lines of a hunk that fit, and how many follow.

    Of a hunk that was cut already the last ones: hosts keep with a remark what ends at the line remarked on.
    """
    hunk = piece.hunk
    assert hunk is not None
    lines, last = hunk.lines, hunk.cut

    def write(count: int) -> str:
        kept = lines[len(lines) - count :] if last else lines[:count]
        return form.write(replace(hunk, lines=kept))

    few, many = 0, len(lines)
    while few < many:
        middle = (few + many + 1) // 2
        text = write(middle)
        few, many = (middle, many) if len(title) + 1 + len(text) <= budget else (few, middle - 1)
    note = f"({len(lines) - few} {'earlier' if last else 'more'} lines of this hunk are left out)"
    return [title, *[write(few)] * bool(few), note]


def _note(change: Change, left_out: Sequence[_Piece]) -> list[str]:
    # a file without hunks counts as one
    counts = Counter(piece.file for piece in left_out)
    if not counts:
        return []
    named = [
        f"{_clean_path(change.files[place].path) or 'the file'} ({count})"
        for place, count in [*counts.items()][:NAMED]
    ]
    more = f", and {len(counts) - NAMED} more files" if len(counts) > NAMED else ""
    return [f"(left out, hunks by file: {', '.join(named)}{more})"]


def describe_file(file: File) -> str:
    """Says in a line what a diff says of a file apart from its lines."""
    name = _clean_path(file.path) or "a file"
    if file.old_path:
        name = f"{_clean_path(file.old_path)} → {name}"
    said: list[str] = [] if file.status == "changed" else [file.status]
    old, new = file.modes
    if file.submodule:
        said = ["submodule", *said, *_describe_pointer(file)]
    elif file.status == "changed" and old and new and old != new:
        said.append(f"mode {_clean_path(old)} → {_clean_path(new)}")
    elif file.status == "renamed" and not file.hunks:
        said = ["renamed, its content is unchanged"]
    if file.binary:
        said.append("binary")
    if file.combined:
        said.append("merged")
    return f"{name}: {', '.join(said)}" if said else name


def _describe_pointer(file: File) -> list[str]:
    commits = {
        line.sign: _clean(line.text.split()[-1][:7])
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
    return f"{number}{line.sign}{_clean_line(line)}"


def _clean(text: str) -> str:
    """Replaces characters that no terminal or tokenizer should meet, and those that show code in another order."""
    return CONTROL.sub("\ufffd", text)


def _clean_path(path: str) -> str:
    """Writes a path in one line, of a long one its end."""
    path = _clean(path).replace("\n", "\ufffd")
    return path if len(path) <= LONGEST_PATH else f"…{path[-LONGEST_PATH:]}"


def _clean_line(line: Line) -> str:
    text = _clean(line.text.removesuffix("\r"))
    return text if len(text) <= WIDEST else f"{text[:WIDEST]}… ({len(text) - WIDEST} more characters)"


def sides(hunks: Sequence[Hunk]) -> tuple[str, str]:
    """Writes the text before and afterwards; hunks are apart by a line with three dots."""
    before, after = (
        "\n...\n".join(
            "\n".join(_clean_line(line) for line in hunk.lines if line.sign != absent) for hunk in hunks
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
    for sign in "-+":
        lines = [line for line in hunk.lines if line.sign in (" ", sign)]
        quoted = language == "python" and _begins_quoted([line.text for line in lines])
        block = ""
        for line in lines:
            text = line.text.strip()
            fences = len(FENCE.findall(text)) if language == "python" else 0
            prose = (
                language in DOCUMENTS
                or quoted
                or bool(block)
                or f"{text} ".startswith(tuple(marks))
                or bool(fences and DOCSTRING.match(text))
            )
            if line.sign != " " and text:
                seen.add("comments" if prose else "code")
            quoted ^= fences % 2 == 1
            block = _follow_block(text, block, marks)
    return seen


def _begins_quoted(texts: Sequence[str]) -> bool:
    """Tells whether lines of Python begin within a docstring: their first triple quotes end one."""
    before = ""
    for text in map(str.strip, texts):
        if len(FENCE.findall(text)) % 2:
            start, _, rest = text.replace("'''", '"""').partition('"""')
            if start or rest:
                # words before the quotes, but none of code
                return bool(start) and not re.search(
                    r"[=(,\[{:+]\s*[A-Za-z]{0,2}$|^[A-Za-z]{1,2}$|return ", start
                )
            return bool(before) and not before.endswith(":")
        before = text or before
    return False


def _follow_block(text: str, end: str, marks: Sequence[str]) -> str:
    """Returns what ends the block comment that a line ends in; "" where it ends in none. end: of the line before."""
    if end:
        return "" if end in text else end
    for opening, closing in BLOCKS.items():
        if opening in marks and text.startswith(opening) and closing not in text[len(opening) :]:
            return closing
    return ""
