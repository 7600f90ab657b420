"""Finds functions whose code and doc comment change in one commit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from appkit_tasks.codechange import functions
from appkit_tasks.codechange.diffs import Change, File
from appkit_tasks.codechange.functions import Function, comment_text, find_functions
from appkit_tasks.codechange.git import Repository
from appkit_tasks.codechange.history import Commit
from appkit_tasks.codechange.languages import language_of
from appkit_tasks.codechange.mining import Row, Tally, describe_commit
from appkit_tasks.codechange.secrets import mask

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Pairs", "match_functions"]

SHORTEST, LONGEST = 12, 4000
"""characters of a comment, and of its function's code at most"""


class Pairs:
    """Makes rows of commits, reading the files before and afterwards."""

    def __init__(self, repository: Repository, max_lines: int) -> None:
        """Reads from a repository; functions of more than max_lines changed lines are none of ours."""
        self._repository, self._max_lines = repository, max_lines

    def extract(self, commit: Commit, change: Change, diff: str, project: str, tally: Tally) -> Iterator[Row]:
        """Yields a row for each function whose code and comment both change."""
        readable = [
            file
            for file in change.files
            if language_of(file.path) in functions.LANGUAGES and file.status in ("changed", "renamed")
        ]
        if not readable or not commit.parents:
            tally.leave_out("no function can be read: new files, or languages without a grammar")
            return
        count = 0
        for file in readable:
            for before, after in self._changed(commit, file):
                count += 1
                fields = _make_fields(before, after, file, commit, project)
                yield Row(fields, commit.author, (file.path,))
        tally.counts[
            "with such a function" if count else "left out: no function whose code and comment change"
        ] += 1

    def _changed(self, commit: Commit, file: File) -> Iterator[tuple[Function, Function]]:
        if not _touches_comment(file):
            return
        language = language_of(file.path)
        old = self._read(commit.parents[0], file.old_path or file.path)
        new = self._read(commit.sha, file.path)
        if old is not None and new is not None:
            yield from match_functions(old, new, language)

    def _read(self, commit: str, path: str) -> bytes | None:
        try:
            return self._repository.blob(commit, path)
        except ValueError:
            return None  # a name that git cannot find again, since its bytes are no UTF-8


def match_functions(old: bytes, new: bytes, language: str) -> Iterator[tuple[Function, Function]]:
    """Yields the functions of one name in two versions of a file whose code and comment both differ in words."""
    before: Mapping[str, Function] = {one.name: one for one in find_functions(old, language)}
    for after in find_functions(new, language):
        earlier = before.get(after.name)
        if earlier is None or not earlier.comment or not after.comment:
            continue
        texts = comment_text(earlier.comment), comment_text(after.comment)
        fits = all(SHORTEST <= len(text) <= LONGEST for text in texts)
        if fits and texts[0].split() != texts[1].split() and earlier.code.split() != after.code.split():
            yield earlier, after


def _touches_comment(file: File) -> bool:
    """Tells whether a comment may have changed: a cheap look before both versions are read."""
    lines = [line.text.strip() for hunk in file.hunks for line in hunk.changed]
    if language_of(file.path) == "python":
        return any(line for line in lines)
    return any(line.startswith(("*", "/", "//")) or line.endswith("*/") for line in lines)


def _make_fields(
    before: Function, after: Function, file: File, commit: Commit, project: str
) -> dict[str, Any]:
    texts = [before.code, after.code, comment_text(before.comment), comment_text(after.comment)]
    masked = [mask(text[:LONGEST]) for text in texts]
    code_before, code_after, comment, new_comment = (text for text, _ in masked)
    return {
        "id": f"{project}-{commit.sha[:12]}-{after.name}",
        **describe_commit(commit, project),
        "file": file.path,
        "language": language_of(file.path),
        "function": after.name,
        "before": code_before,
        "after": code_after,
        "comment": comment,
        "new_comment": new_comment,
        "masked": sum(count for _, count in masked),
    }
