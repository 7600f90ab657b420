"""Finds functions whose code and doc comment change in one commit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

from appkit_tasks.codechange import functions
from appkit_tasks.codechange.diffs import Change, File, split_files
from appkit_tasks.codechange.functions import Function, comment_text, find_functions, pair_functions
from appkit_tasks.codechange.git import Blobs
from appkit_tasks.codechange.history import Commit
from appkit_tasks.codechange.languages import language_of
from appkit_tasks.codechange.mining import MinedRow, Tally, describe_commit
from appkit_tasks.codechange.secrets import mask

__all__ = ["Pairs", "match_functions"]

SHORTEST, LONGEST = 12, 4000
"""characters of a comment, and of its function's code at most"""
LONGEST_NAME = 500
"""characters of a function's name, with the classes around it"""
INDEX = re.compile(r"^index ([0-9a-f]+)\.\.([0-9a-f]+)", re.MULTILINE)
"""a file's hashes before and afterwards, by which it is found whatever its name is"""


class Pairs:
    """Makes rows of commits, reading the files before and afterwards."""

    def __init__(self, blobs: Blobs) -> None:
        """Reads the files from a repository."""
        self._blobs = blobs

    def extract(
        self, commit: Commit, change: Change, diff: str, project: str, tally: Tally
    ) -> Iterator[MinedRow]:
        """Yields a row for each function whose code and comment both change."""
        readable = [
            (file, section)
            for file, section in zip(change.files, split_files(diff), strict=True)
            if language_of(file.path) in functions.LANGUAGES and file.status in ("changed", "renamed")
        ]
        if not readable:
            tally.leave_out("no function can be read: new files, or languages without a grammar")
            return
        rows = [
            MinedRow(fields, commit.author, tuple(filter(None, (file.path, file.old_path))))
            for file, section in readable
            for before, after in self._match(file, section)
            if (fields := _make_fields(before, after, file, commit, project, tally))
        ]
        for number, row in enumerate(rows):
            row.fields["id"] += f"-{number}"  # a commit may change two functions of one name, in two files
        if rows:
            tally.counts["with such a function"] += 1
        else:
            tally.leave_out("no function whose code and comment change")
        yield from rows

    def _match(self, file: File, section: str) -> Iterator[tuple[Function, Function]]:
        shas, language = INDEX.search(section), language_of(file.path)
        new = self._blobs.read(shas[2], functions.LARGEST) if shas and _touches_words(file) else None
        if shas is None or new is None:
            return
        found = find_functions(new, language)
        if not _touches_comment(file, new, found):
            return  # before the older version is read: most changes end here
        old = self._blobs.read(shas[1], functions.LARGEST)
        if old is not None:
            yield from match_functions(find_functions(old, language), found)


def match_functions(old: Sequence[Function], new: Sequence[Function]) -> Iterator[tuple[Function, Function]]:
    """Yields the functions of one name in two versions of a file whose code and comment both differ in words."""
    for before, after in pair_functions(old, new):
        if before.comment.split() == after.comment.split() or before.code.split() == after.code.split():
            continue
        texts = comment_text(before.comment), comment_text(after.comment)
        if all(SHORTEST <= len(text) <= LONGEST for text in texts) and texts[0].split() != texts[1].split():
            yield before, after


def _touches_words(file: File) -> bool:
    """Tells whether a comment and code may both have changed: a cheap look before both versions are read."""
    lines = {line.text.strip() for hunk in file.hunks for line in hunk.changed}
    return len(lines - {""}) > 1


def _touches_comment(file: File, source: bytes, found: Sequence[Function]) -> bool:
    """Tells whether the change reaches into a function's comment, or stands at its edge."""
    ends = [0, *accumulate(len(line) + 1 for line in source.split(b"\n"))]
    for hunk in file.hunks:
        at = hunk.new
        for line in hunk.lines:
            if line.sign != " ":
                first, last = max(0, at - 2), min(at + 1, len(ends) - 1)
                start, end = ends[min(first, last)], ends[last]
                if any(one.comment_start <= end and start <= one.comment_end for one in found if one.comment):
                    return True
            at = line.new + 1 if line.new is not None else at
    return False


def _make_fields(
    before: Function, after: Function, file: File, commit: Commit, project: str, tally: Tally
) -> dict[str, Any]:
    """Returns a row's fields; none, and counts it, where a prompt could not show what changes."""
    texts = [before.code, after.code, comment_text(before.comment), comment_text(after.comment)]
    if max(map(len, texts)) > LONGEST:
        tally.counts[f"functions left out: over {LONGEST:,} characters"] += 1
        return {}
    masked = [mask(text) for text in texts]
    code_before, code_after, comment, new_comment = (text for text, _ in masked)
    if code_before.split() == code_after.split() or comment.split() == new_comment.split():
        tally.counts["functions left out: only a secret changes"] += 1
        return {}
    return {
        "id": f"{project}-{commit.sha[:12]}",
        **describe_commit(commit, project),
        "file": file.path,
        "language": language_of(file.path),
        "function": after.name[:LONGEST_NAME],
        "before": code_before,
        "after": code_after,
        "comment": comment,
        "new_comment": new_comment,
        "masked": sum(count for _, count in masked),
    }
