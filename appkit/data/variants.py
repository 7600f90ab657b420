"""Variants are the test rows with something of their prompt left out, which show what that is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from appkit.data.rows import Record
    from appkit.task import Task

__all__ = ["vary"]


def vary(task: Task, records: Sequence[Record]) -> dict[str, list[Record]]:
    """Change the rows as each variant of the pack does, by its name; without passages too where it retrieves some.

    A variant that changes no row is left out.
    """
    changes = dict(task.variants)
    if (retrieval := task.retrieval) is not None:
        changes["without passages"] = lambda row: retrieval.put(row, [])
    varied = {
        name: [replace(record, value=change(record.value)) for record in records]
        for name, change in changes.items()
    }
    return {
        name: rows
        for name, rows in varied.items()
        if name == "without passages" or any(a.value != b.value for a, b in zip(rows, records, strict=True))
    }
