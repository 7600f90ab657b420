"""Feedback stores people's verdicts on answers in a SQLite file on this machine, and gives rows to train on.

A verdict is always kept. Texts are kept only where the person agreed, for `days` days. Only `appkit feedback export`
and `data.feedback=` read rows out of the file, and only rows that a review accepted.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from appkit.errors import DataError

__all__ = ["Entry", "Feedback", "Verdict"]

log = logging.getLogger(__name__)
Verdict = Literal["up", "down"]
Status = Literal["new", "accepted", "rejected"]
DAY = 86_400
REMEDY = "name another file, in a directory that is there and may be written"
SCHEMA = """
CREATE TABLE IF NOT EXISTS feedback (
    id INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    task TEXT NOT NULL,
    model TEXT NOT NULL,
    verdict TEXT,
    input TEXT,
    answer TEXT,
    correction TEXT,
    status TEXT NOT NULL DEFAULT 'new'
)
"""


@dataclass(frozen=True)
class Entry:
    """One opinion on one answer; its texts are None where the person did not agree to have them kept."""

    id: int
    """number in the store, from 1"""
    at: float
    """seconds since 1970"""
    task: str
    """name of the task pack"""
    model: str
    """the version that answered"""
    verdict: Verdict | None
    """None where only a correction was given"""
    input: Mapping[str, Any] | None
    """the row's fields"""
    answer: str | None
    """what the model answered"""
    correction: Any
    """the row's right output, in the pack's own form; None where none was given"""
    status: Status = "new"
    """of the review: new, accepted or rejected"""


class Feedback:
    """Stores opinions in one file, which the first opinion creates and only its owner can read.

    days: how long texts that nobody accepted are kept; `expire` and `add` delete older ones.
    Raises DataError for a file that is not a feedback store or cannot be written.
    """

    def __init__(self, path: Path, *, days: int = 90) -> None:
        if days < 1:
            raise DataError(f"feedback is kept for 1 day or more, got {days}")
        self.path, self.days = path, days
        if path.exists():
            with self._open():
                pass
        elif not os.access(path.parent, os.W_OK):
            raise DataError(f"{path} cannot be used as a feedback store; {REMEDY}")

    def add(
        self,
        task: str,
        model: str,
        *,
        verdict: Verdict | None = None,
        input: Mapping[str, Any] | None = None,
        answer: str | None = None,
        correction: Any = None,
        keep: bool = False,
    ) -> int:
        """Store an opinion, with its texts only if `keep` says that the person agreed; return its number."""
        texts = [_text(value) if keep else None for value in (input, answer, correction)]
        _check_texts(task, model, *texts)
        with self._open() as connection:
            self._prune(connection)
            cursor = connection.execute(
                "INSERT INTO feedback (at, task, model, verdict, input, answer, correction) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (time.time(), task, model, verdict, *texts),
            )
            return int(cursor.lastrowid or 0)

    def entries(self, *, task: str | None = None, status: Status | None = None) -> list[Entry]:
        """List entries, oldest first."""
        with self._open() as connection:
            rows = connection.execute(
                "SELECT id, at, task, model, verdict, input, answer, correction, status FROM feedback "
                "WHERE (?1 IS NULL OR task = ?1) AND (?2 IS NULL OR status = ?2) ORDER BY id",
                (task, status),
            ).fetchall()
        return [self._read_entry(row) for row in rows]

    def _read_entry(self, row: Sequence[Any]) -> Entry:
        """Reads an entry; one with a cell that is damaged keeps its verdict, without its texts, and a warning says so.

        Another program may have written the file: its one bad cell must not hide all other entries.
        """
        number, at, task, model, verdict, *texts, status = row
        try:
            fields, answer, correction = map(_value, texts)
            if not (fields is None or isinstance(fields, dict)) or not isinstance(answer, str | None):
                raise ValueError("the input is no object, or the answer no text")
        except (ValueError, TypeError, RecursionError) as error:
            log.warning(
                "feedback number %d in %s is damaged (%s); its texts are left out", number, self.path, error
            )
            fields = answer = correction = None
        return Entry(number, at, task, model, verdict, fields, answer, correction, status)

    def review(self, number: int, status: Status) -> None:
        """Accept or reject an entry. Raises DataError if there is none of that number."""
        with self._open() as connection:
            if not connection.execute(
                "UPDATE feedback SET status = ? WHERE id = ?", (status, number)
            ).rowcount:
                raise DataError(f"no feedback number {number} in {self.path}")

    def rows(self, task: str, output: str) -> dict[int, dict[str, Any]]:
        """Read accepted corrections as rows of the task, by number: the input's fields, the correction as `output`."""
        return {
            entry.id: {**entry.input, output: entry.correction}
            for entry in self.entries(task=task, status="accepted")
            if entry.input is not None and entry.correction is not None
        }

    def pairs(self, task: str) -> list[dict[str, Any]]:
        """Read accepted corrections as preference pairs: "input" (the fields), "chosen" (the correction) and
        "rejected" (the answer)."""
        return [
            {"input": entry.input, "chosen": entry.correction, "rejected": entry.answer}
            for entry in self.entries(task=task, status="accepted")
            if entry.input is not None and entry.correction is not None and entry.answer is not None
        ]

    def expire(self) -> None:
        """Delete the texts that are older than `days`, unless a review accepted them."""
        if self.path.exists():
            with self._open() as connection:
                self._prune(connection)

    def _prune(self, connection: sqlite3.Connection) -> None:
        connection.execute(
            "UPDATE feedback SET input = NULL, answer = NULL, correction = NULL "
            "WHERE status != 'accepted' AND at < ?",
            (time.time() - self.days * DAY,),
        )

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.touch(mode=0o600)
            with closing(sqlite3.connect(self.path, timeout=10)) as connection, connection:
                # another program may have written what is no UTF-8 into one cell
                connection.text_factory = lambda cell: cell.decode("utf-8", "replace")
                connection.execute(SCHEMA)
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise DataError(f"{self.path} cannot be used as a feedback store ({error}); {REMEDY}") from None


def _text(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)


def _check_texts(*texts: str | None) -> None:
    """Raises DataError for half a surrogate pair, which cannot be stored."""
    for text in texts:
        try:
            (text or "").encode()
        except UnicodeEncodeError as error:
            shown = ascii((text or "")[max(0, error.start - 20) : error.start + 20])
            raise DataError(
                f"feedback with half a surrogate pair cannot be stored, got {shown}; take it out"
            ) from None


def _value(text: str | None) -> Any:
    return None if text is None else json.loads(text)
