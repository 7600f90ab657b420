"""Findings are what a pack's own checks say of rows; rows with findings of chosen kinds are left out of training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from appkit.errors import DataError

if TYPE_CHECKING:
    from appkit.data.rows import Read
    from appkit.task import Finding, Task

__all__ = ["RowFinding", "inspect", "leave_out_found"]

SHOWN = 2
"""places of a kind in a note"""


@dataclass(frozen=True)
class RowFinding:
    """What a pack's check says of a row."""

    place: str
    """file and line"""
    kind: str
    """the check's name, as the pack's options take it"""
    reason: str
    """one line"""

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


def inspect(task: Task, options: Any, reads: Mapping[str, Read]) -> dict[str, list[RowFinding]]:
    """Run the pack's checks over the rows of each split; nothing for a pack without checks.

    Raises DataError where they cannot run: a row lacks what they need, or a library is missing.
    """
    if task.inspect is None:
        return {}
    return {
        name: [
            RowFinding(read.records[number].place, finding.kind, finding.reason)
            for number, finding in _call_checks(task, options, read)
        ]
        for name, read in reads.items()
    }


def _call_checks(task: Task, options: Any, read: Read) -> list[tuple[int, Finding]]:
    assert task.inspect is not None
    try:
        return list(task.inspect([record.value for record in read.records], options))
    except ValueError as error:
        raise DataError(" ".join(str(error).split())) from error


def leave_out_found(task: Task, options: Any, reads: Mapping[str, Read]) -> tuple[dict[str, Read], list[str]]:
    """Leave out the rows with findings of the kinds that the user wants left out; return a note for each split.

    The other findings are counted in a note, and their rows stay. Raises DataError as `inspect` does.
    """
    if task.inspect is None:
        return dict(reads), []
    dropped_kinds = set(task.left_out(options))
    results, notes = {}, []
    for name, read in reads.items():
        findings = _call_checks(task, options, read)
        lost = {number for number, finding in findings if finding.kind in dropped_kinds}
        records = [record for number, record in enumerate(read.records) if number not in lost]
        results[name] = replace(read, records=records, left_out=read.left_out + len(lost))
        if lost:
            of_kind = [
                (number, finding.kind) for number, finding in findings if finding.kind in dropped_kinds
            ]
            notes.append(f"{name}: {len(lost)} rows left out, {_count(of_kind, read)}")
        stay = [(number, finding.kind) for number, finding in findings if number not in lost]
        if stay:
            rows = len({number for number, _ in stay})
            notes.append(f"{name}: {rows} rows have findings and stay, {_count(stay, read)}")
    return results, notes


def _count(findings: Sequence[tuple[int, str]], read: Read) -> str:
    """Count findings by kind, with the first places of each."""
    parts = []
    for kind, count in Counter(kind for _, kind in findings).most_common():
        places = [read.records[number].place for number, other in findings if other == kind][:SHOWN]
        parts.append(f"{count} {kind} ({', '.join(places)}{', …' if count > SHOWN else ''})")
    return ", ".join(parts)
