"""Streams a repository's commits, oldest first, each with its message and diff."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from itertools import zip_longest
from typing import IO

from appkit_tasks.codechange.git import CHUNK, DIFF, Repository

__all__ = ["Commit", "count_commits", "read_commits"]

MARK = b"\x02"
"""begins a commit in git's output: in a diff, no line begins with it"""
FIELDS = "%n".join(("%H", "%P", "%an", "%ae", "%B"))
"""a line each, and last the message: a name may hold anything but a line end"""
LARGEST = 5_000_000
"""bytes of a diff that are read, and of a message; of a larger diff only its size is known"""
LATEST = 253_402_300_799
"""seconds to the end of the year 9999: a date after it is a broken clock's"""
ORDER = ("--reverse", "--topo-order", "--encoding=UTF-8", "--no-color", "--no-show-signature", "--no-notes")


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


def count_commits(
    repository: Repository,
    head: str,
    *,
    since: str | None = None,
    until: str | None = None,
    paths: Sequence[str] = (),
) -> int:
    """Counts the commits that `read_commits` gives."""
    return int(repository.read("rev-list", "--count", *_choose(since, until, paths, head)))


def read_commits(
    repository: Repository,
    head: str,
    *,
    since: str | None = None,
    until: str | None = None,
    paths: Sequence[str] = (),
) -> Iterator[Commit]:
    """Yields the commits up to `head`, oldest first; only those that touch `paths`, where some are named.

    since, until: the first and the last day in UTC, such as 2024-01-31. Two git processes run side by side, one for
    messages, which may hold anything but NUL, and one for diffs. Raises ValueError when git fails.
    """
    chosen = _choose(since, until, paths, head)
    dates = _date_commits(repository, head)
    with ExitStack() as stack:
        about = stack.enter_context(
            repository.stream("log", "-z", *ORDER, f"--format={FIELDS}", "--no-patch", *chosen)
        )
        diffs = stack.enter_context(
            repository.stream(
                "log", *ORDER, "--format=%x02%H", "--patch", "--diff-merges=off", *DIFF, *chosen
            )
        )
        for record, change in zip_longest(_split(about, b"\0", most=LARGEST), _read_diffs(diffs)):
            if record is None or change is None:
                break  # one of the two has failed: leaving the block raises what it said
            sha, parents, name, address, message = record.decode("utf-8", "replace").split("\n", 4)
            if sha != change[0]:
                break
            yield Commit(
                sha,
                tuple(parents.split()),
                _write_date(dates[sha]),
                f"{name} <{address}>",
                message.strip(),
                change[1],
            )
        else:
            return
    raise ValueError(f"{repository.path}: git log ended early, or gave two orders of commits; try again")


def _choose(since: str | None, until: str | None, paths: Sequence[str], head: str) -> list[str]:
    # git itself would read 2024-01-01 as that day at the present time of day
    dates = [f"--since={_find_second(since, time.min)}"] if since else []
    dates += [f"--until={_find_second(until, time.max)}"] if until else []
    return [*dates, "--end-of-options", head, "--", *(f":(top){path}" for path in paths)]


def _find_second(day: str, at: time) -> str:
    moment = datetime.combine(date.fromisoformat(day), at, UTC)
    return f"@{max(0, int(moment.timestamp()))} +0000"


def _date_commits(repository: Repository, head: str) -> dict[str, int]:
    """Returns each commit's date in seconds of Unix time, or that of the newest commit it is built on, if later."""
    dates: dict[str, int] = {}
    with repository.stream("log", *ORDER, "--format=%ct %H %P", "--end-of-options", head, "--") as lines:
        for line in lines:
            second, sha, *parents = line.decode("ascii", "replace").split(" ")
            own = min(max(0, int(second)), LATEST) if second else 0
            dates[sha.strip()] = max(own, *(dates.get(parent.strip(), 0) for parent in parents), 0)
    return dates


def _write_date(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _read_diffs(stream: IO[bytes]) -> Iterator[tuple[str, str | None]]:
    """Yields the hash and diff of each commit."""
    for record in _split(stream, b"\n" + MARK, most=LARGEST):
        sha, _, diff = record.lstrip(MARK).partition(b"\n")
        text = diff.strip(b"\n").decode("utf-8", "replace")
        yield (
            sha.decode("ascii", "replace"),
            None if len(record) > LARGEST else f"{text}\n" if text else "",
        )


def _split(stream: IO[bytes], separator: bytes, most: int) -> Iterator[bytes]:
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
        if len(part) <= most:
            part += body
    part += tail
    if part:
        yield bytes(part)
