"""Mix joins several sources into the rows of one run: which domain a row is of, and how often each source is drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from appkit.data.rows import Read, Record
from appkit.errors import ConfigError

if TYPE_CHECKING:
    from appkit.config import DataConfig, MixSource

__all__ = ["describe_shares", "join_reads", "mark_domain", "name_domain", "shares"]


def name_domain(source: MixSource) -> str:
    """Name a source's domain: as configured, or its file's name without folder and endings."""
    return source.domain or Path(source.path.rstrip("/")).name.split(".")[0] or source.path


def mark_domain(read: Read, domain: str) -> Read:
    """Say of all rows which domain they are of; a row that names its own keeps it."""
    return replace(read, records=[_mark(record, domain) for record in read.records])


def _mark(record: Record, domain: str) -> Record:
    if record.domain is not None:
        return record
    # the digest stays that of the file's row: it is one row, whichever mix it is a part of
    takes = "domain" in type(record.value).model_fields
    value = record.value.model_copy(update={"domain": domain}) if takes else record.value
    return replace(record, value=value, domain=domain)


def join_reads(reads: Sequence[Read]) -> Read:
    """Join what was read of several sources, in their order."""
    if len(reads) == 1:
        return reads[0]
    return Read(
        [record for read in reads for record in read.records],
        [fault for read in reads for fault in read.faults],
        ", ".join(read.source for read in reads),
        sum(read.left_out for read in reads),
        sum(read.lines for read in reads),
        sum(read.other for read in reads),
        tuple(f"{read.source}: {note}" for read in reads for note in read.notes),
        parts=tuple(reads),
    )


def shares(domains: Iterable[str | None], data: DataConfig) -> dict[str | None, float] | None:
    """Compute the share of each domain among the rows that are drawn, by weight and temperature; the sum is 1.

    domains: of each training row. A source without a weight weighs as many as it has rows; with temperature t a share
    is proportional to weight ** (1 / t) (Arivazhagan et al. 2019, arXiv 1907.05019). None where that is what drawing
    every row once gives.

    Raises ConfigError for a weight of a domain that no training row is of.
    """
    weights = {name_domain(source): source.weight for source in data.mix if source.weight is not None}
    if not weights and (data.temperature == 1 or not data.mix):
        return None
    counts = Counter(domains)
    if unknown := [domain for domain in weights if domain not in counts]:
        raise ConfigError(
            f"data.mix gives a weight to {unknown[0]!r}, of which no training row is left; it has "
            f"{', '.join(map(repr, counts))}"
        )
    powers = {
        name: weights.get(name or "", count) ** (1 / data.temperature) for name, count in counts.items()
    }
    total = sum(powers.values())
    return {name: power / total for name, power in powers.items()}


def describe_shares(domains: Sequence[str | None], drawn: dict[str | None, float] | None) -> list[str]:
    """Note how often the rows of each domain are drawn, where there are several."""
    counts = Counter(domains)
    if len(counts) < 2:
        return []
    parts = []
    for name, count in counts.items():
        share = count / len(domains) if drawn is None else drawn[name]
        parts.append(
            f"{name or 'other rows'} {share:.0%} ({count} rows, {share * len(domains) / count:.2g} times each)"
        )
    return [f"mix, of an epoch: {', '.join(parts)}"]
