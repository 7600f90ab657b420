"""Streams a repository's commits, oldest first, each with its message and diff."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO

from appkit_tasks.codechange.git import CHUNK, DIFF, Repository

__all__ = ["Commit", "count_commits", "read_commits"]

MARK = b"\x02"
"""begins a commit in git's output: in a diff, no line begins with it"""
SEPARATOR = "\x1f"
FIELDS = "%x1f".join(("%H", "%P", "%ct", "%an", "%ae", "%B"))
LARGEST = 5_000_000
"""bytes of a diff that are read; of a larger one only its size is known"""


@dataclass(frozen=True)
class Commit:
    """A commit with its diff."""

    sha: str
    parents: tuple[str, ...]
    date: str
    """of the committer, in UTC, ISO 8601; never before that of a commit it is built on"""
    author: str
    """name and address"""
    message: str
    diff: str | None
    """against its parent; None: too large to be read; "" of a merge"""

    @property
    def subject(self) -> str:
        """The first line of the message."""
        return self.message.strip().split("\n")[0].strip()


def _choose(since: str | None, until: str | None, paths: Sequence[str], head: str) -> list[str]:
    dates = [f"--since={since}"] * bool(since) + [f"--until={until}"] * bool(until)
    return [*dates, "--end-of-options", head, "--", *(f":(top){path}" for path in paths)]


def count_commits(
    repository: Repository,
    head: str,
    *,
    since: str | None = None,
    until: str | None = None,
    paths: Sequence[str] = (),
) -> int:
    """Counts the commits that `read_commits` gives."""
    return int(repository.text("rev-list", "--count", *_choose(since, until, paths, head)))


def read_commits(
    repository: Repository,
    head: str,
    *,
    since: str | None = None,
    until: str | None = None,
    paths: Sequence[str] = (),
) -> Iterator[Commit]:
    """Yields the commits up to `head`, oldest first; only those that touch `paths`, where some are named.

    Two git processes run side by side, one for messages, which may hold anything but NUL, and one for diffs.
    Raises ValueError when git fails.
    """
    chosen = _choose(since, until, paths, head)
    order = (
        "--reverse",
        "--topo-order",
        "--encoding=UTF-8",
        "--no-color",
        "--no-show-signature",
        "--no-notes",
    )
    latest = 0
    with ExitStack() as stack:
        about = stack.enter_context(
            repository.stream("log", "-z", *order, f"--format={FIELDS}", "--no-patch", *chosen)
        )
        diffs = stack.enter_context(
            repository.stream(
                "log", *order, "--format=%x02%H", "--patch", "--diff-merges=off", *DIFF, *chosen
            )
        )
        for record, (sha, diff) in zip(_split(about, b"\0"), _read_diffs(diffs), strict=True):
            fields = record.decode("utf-8", "replace").split(SEPARATOR, 5)
            if len(fields) != 6 or fields[0] != sha:
                raise ValueError(f"{repository.path}: git log gave two orders of commits; try again")
            latest = max(latest, int(fields[2]))
            date = datetime.fromtimestamp(latest, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            yield Commit(
                sha, tuple(fields[1].split()), date, f"{fields[3]} <{fields[4]}>", fields[5].strip(), diff
            )


def _read_diffs(stream: IO[bytes]) -> Iterator[tuple[str, str | None]]:
    """Yields the hash and diff of each commit."""
    for record in _split(stream, b"\n" + MARK, most=LARGEST):
        sha, _, diff = record.lstrip(MARK).partition(b"\n")
        yield (
            sha.decode("ascii", "replace"),
            None if len(record) > LARGEST else diff.lstrip(b"\n").decode("utf-8", "replace"),
        )


def _split(stream: IO[bytes], separator: bytes, most: int | None = None) -> Iterator[bytes]:
    """Yields the parts between separators; of a part longer than `most` its first bytes, a few more than that."""
    part = bytearray()
    tail = b""  # of the part that is being left out, in case the separator is cut in two
    while chunk := stream.read(CHUNK):
        data = tail + chunk
        *ended, rest = data.split(separator)
        for piece in ended:
            part += piece
            yield bytes(part)
            part.clear()
        keep = len(separator) - 1
        tail = rest[len(rest) - keep :] if keep else b""
        body = rest[: len(rest) - len(tail)]
        if most is None or len(part) <= most:
            part += body
    part += tail
    if part:
        yield bytes(part)
