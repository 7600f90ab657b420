"""The report lists faults of rows and between rows: duplicates, overlaps, near-duplicates, contradictions, length.

Pure functions over records; `check` combines them into a report and never raises for the rows' content.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

from appkit.data.findings import RowFinding
from appkit.data.near import Alike, explain_absence, find_alike, group_alike
from appkit.data.overlap import conflicts, duplicates, input_key, overlap

if TYPE_CHECKING:
    from appkit.data.readers import Fault
    from appkit.data.rows import Read, Record
    from appkit.task import Row, Task

__all__ = ["DataReport", "check"]

SHOWN = 5
"""places of one kind in the report's text; its JSON has all"""


@dataclass(frozen=True)
class Overlap:
    """One input in two splits."""

    a: str
    """name of the first split"""
    b: str
    """name of the second split"""
    places: tuple[str, str]
    """where the input is in `a` and in `b`"""


@dataclass(frozen=True)
class Conflict:
    """One input with several targets inside a split."""

    split: str
    """name of the split"""
    input: str
    """the input, with the fields beside it, in NFC"""
    targets: dict[str, str]
    """place -> target"""


@dataclass(frozen=True)
class DataReport:
    """The findings of `appkit data check`; keys of the mappings are splits."""

    rows: dict[str, int]
    """rows that fit the schema"""
    faults: tuple[Fault, ...]
    """rows that do not"""
    duplicates: dict[str, list[tuple[str, str]]]
    """(first place, repeated place)"""
    overlaps: tuple[Overlap, ...]
    """inputs in two splits"""
    conflicts: tuple[Conflict, ...]
    """inputs with several targets"""
    lengths: dict[str, dict[str, dict[str, int]]]
    """measured text -> percentile -> length, in tokens or characters"""
    max_length: int | None
    """tokens of a row, at most; None: no limit"""
    long: dict[str, list[tuple[str, int]]] | None
    """(place, tokens) of rows above `max_length`; None when tokens were not counted"""
    tolerated: tuple[str, ...] = ()
    """of faults and long: those whose rows training leaves out, or cuts, as data.on_error and data.on_long say"""
    accounts: dict[str, dict[str, int]] = field(default_factory=dict)
    """what the lines of a split's file are: `lines` is the sum of `rows`, `left_out` and `other`"""
    notes: tuple[str, ...] = ()
    """what was decided while reading"""
    near: float | None = None
    """similarity from which on two inputs are alike (data.near); None: not looked for"""
    findings: dict[str, list[RowFinding]] = field(default_factory=dict)
    """of the pack's own checks; their rows stay unless its options say otherwise"""
    alike: tuple[Alike, ...] | None = None
    """rows with an input almost like that of another; None when none were looked for"""

    @property
    def ok(self) -> bool:
        """Tell whether training would start: every split has rows, none is faulty or too long unless that is tolerated.

        Duplicates and overlaps do not count, since training removes them; contradictions and inputs that are almost
        alike are the user's decision.
        """
        long = {} if "long" in self.tolerated else self.long or {}
        faults = () if "faults" in self.tolerated else self.faults
        return all(self.rows.values()) and not faults and not any(long.values())

    def to_json(self, most: int | None = None) -> str:
        """Write the report as JSON; with `most` only so many findings of each kind (and split), and `counts` of all."""
        report, counts = (self, {}) if most is None else self._cut(most)
        return json.dumps({"ok": self.ok, **asdict(report), **counts}, ensure_ascii=False, indent=2)

    def _cut(self, most: int) -> tuple[DataReport, dict[str, dict[str, int]]]:
        short: dict[str, Any] = {}
        counts = {}
        for kind in ("faults", "duplicates", "overlaps", "alike", "conflicts", "long", "findings"):
            findings = getattr(self, kind)
            if isinstance(findings, dict):
                counts[kind] = sum(map(len, findings.values()))
                short[kind] = {split: items[:most] for split, items in findings.items()}
            else:
                counts[kind] = len(findings or ())
                short[kind] = findings and findings[:most]
        return replace(self, **short), {"counts": counts}

    def lines(self) -> list[str]:
        """Write the report as lines for a terminal: every fault, the first few of each other kind."""
        lines = [f"{name}: {count} rows" for name, count in self.rows.items()]
        lines += [
            f"{name}: {part['lines']} lines are {part['rows']} rows, {part['left_out']} left out and {part['other']} "
            "without a row of their own (header, blank, comment, or further line of a row)"
            for name, part in self.accounts.items()
            if part["left_out"] or part["other"]
        ]
        lines += self.notes
        lines += [f"{len(self.faults)} faults", *(f"  {fault}" for fault in self.faults)]
        for name, pairs in self.duplicates.items():
            lines += _list_some(
                f"{name}: {len(pairs)} exact duplicates", (f"{b} repeats {a}" for a, b in pairs)
            )
        for a, b in sorted({(item.a, item.b) for item in self.overlaps}):
            shared = [item for item in self.overlaps if (item.a, item.b) == (a, b)]
            title = f"{a} and {b}: {len(shared)} rows of {a} have an input that is in {b}"
            lines += _list_some(title, (" / ".join(item.places) for item in shared))
        for title, alike in group_alike(self.alike or (), self.near or 0):
            lines += _list_some(title, map(str, alike))
        lines += _list_some(
            f"{len(self.conflicts)} inputs with more than one target",
            (" / ".join(item.targets) for item in self.conflicts),
        )
        for name, findings in self.findings.items():
            for check, count in Counter(finding.kind for finding in findings).most_common():
                own = (str(finding) for finding in findings if finding.kind == check)
                lines += _list_some(f"{name}: {count} rows with finding {check!r}", own)
        for name, kinds in self.lengths.items():
            for kind, values in kinds.items():
                lines.append(
                    f"{name}: {kind} " + ", ".join(f"{key} {value}" for key, value in values.items())
                )
        if self.long is None and self.max_length is not None:
            lines.append(f"data.max_length={self.max_length} not checked: no tokenizer was given")
        for name, rows in (self.long or {}).items():
            title = f"{name}: {len(rows)} rows longer than data.max_length={self.max_length}"
            title += ", as data.on_long allows" if "long" in self.tolerated else ""
            lines += _list_some(title, (f"{place} has {length} tokens" for place, length in rows))
        return [*lines, "ok" if self.ok else "not ok"]


def _list_some(title: str, items: Iterable[str]) -> Iterator[str]:
    """Yield the title and the first few items; nothing if there are none."""
    shown = list(items)
    if shown:
        yield title
        yield from (f"  {item}" for item in shown[:SHOWN])
    if len(shown) > SHOWN:
        yield f"  and {len(shown) - SHOWN} more"


def _percentiles(values: Sequence[int]) -> dict[str, int]:
    """Compute p50, p90, p95, p99 and the maximum by nearest rank: every figure is the length of some row."""
    ordered = sorted(values)
    at = {f"p{p}": ordered[math.ceil(p / 100 * len(ordered)) - 1] for p in (50, 90, 95, 99)}
    return {**at, "max": ordered[-1]}


def _lengths(
    records: Sequence[Record], task: Task, tokens: Sequence[int] | None
) -> dict[str, dict[str, int]]:
    if not records:
        return {}
    if tokens is not None:
        return {"tokens": _percentiles(tokens)}
    return {
        f"characters of {name}": _percentiles([len(str(getattr(record.value, name))) for record in records])
        for name in (task.input, task.output)
    }


def check(
    reads: Mapping[str, Read],
    task: Task,
    lengths: Callable[[Row], int] | None = None,
    max_length: int | None = None,
    near: float | None = None,
    findings: Mapping[str, list[RowFinding]] | None = None,
) -> DataReport:
    """Report on the splits as read, before training cleans or carves anything.

    lengths: tokens of a row as it would be trained on, prompt and answer; without it lengths are characters
    and `max_length` (tokens) cannot be checked. near: similarity from which on two inputs are alike; None: they are
    not looked for. findings: of the pack's own checks, by split.
    """
    key = input_key(task)
    parts = {name: part.records for name, part in reads.items()}
    absence = None if near is None else explain_absence(parts)
    tokens = {name: [lengths(r.value) for r in records] for name, records in parts.items()} if lengths else {}
    long = {
        name: [
            (record.place, length)
            for record, length in zip(parts[name], counts, strict=True)
            if max_length is not None and length > max_length
        ]
        for name, counts in tokens.items()
    }
    return DataReport(
        rows={name: len(records) for name, records in parts.items()},
        faults=tuple(fault for part in reads.values() for fault in part.faults),
        duplicates={
            name: [(first.place, again.place) for first, again in duplicates(records)]
            for name, records in parts.items()
        },
        overlaps=tuple(
            Overlap(a, b, (record.place, twin.place))
            for a, b in combinations(parts, 2)
            for record, twin in overlap(parts[a], parts[b], key)
        ),
        conflicts=tuple(
            Conflict(name, key(group[0]), {r.place: str(getattr(r.value, task.output)) for r in group})
            for name, records in parts.items()
            for group in conflicts(records, task)
        ),
        lengths={name: _lengths(records, task, tokens.get(name)) for name, records in parts.items()},
        max_length=max_length,
        long=long if lengths else None,
        accounts={
            name: {
                "lines": part.lines,
                "rows": len(part.records),
                "left_out": part.left_out,
                "other": part.other,
            }
            for name, part in reads.items()
        },
        notes=(
            *(f"{name}: {note}" for name, part in reads.items() for note in part.notes),
            *filter(None, [absence]),
        ),
        near=near,
        findings=dict(findings or {}),
        alike=None if near is None or absence else tuple(find_alike(parts, task, near)),
    )
