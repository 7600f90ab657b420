"""Check is `appkit data check`: it reports on the data, in tokens if the base's tokenizer is on this machine.

A file of a stranger can be read within limits of its size and of this process's memory.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from appkit.config import RunConfig
from appkit.data.findings import inspect
from appkit.data.limits import UNLIMITED, Limits
from appkit.data.report import DataReport, check
from appkit.data.splits import read_splits
from appkit.errors import DataError
from appkit.heads.choose import count_tokens
from appkit.plugins import load_task
from appkit.rag.rows import check_passages, complete_rows, describe_filled, reading

__all__ = ["check_data", "limited_memory"]


@contextmanager
def limited_memory(gib: int | None) -> Iterator[None]:
    """Limits the memory of this process, for good, to so many GiB (None: leaves it).

    Raises DataError where the block needs more. Only Linux counts all of a process's own memory.
    """
    if gib is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        most = gib * 2**30 if hard == resource.RLIM_INFINITY else min(gib * 2**30, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    try:
        yield
    except MemoryError:
        raise DataError(
            f"the check needs more than {gib} GiB of memory, the most that it gets here (serve.check_gib); "
            "send fewer or smaller rows"
            if gib is not None
            else "this machine has too little memory for the check; give fewer rows"
        ) from None


def check_data(config: RunConfig, limits: Limits = UNLIMITED) -> DataReport:
    """Read all splits and report on them; lengths are in tokens if the base is on this machine, else in characters.

    Rows are counted as they are trained on: with what the pack fills in, such as terms and examples.

    limits: of each file.
    """
    from appkit.models.sources import cached

    task = load_task(config.task.name).under(config.task)
    lengths = None
    if (path := cached(config.model)) is not None:
        from appkit.models.chat import Chat

        chat = Chat.at(path)

        def lengths(row: Any) -> int:
            return count_tokens(task, config.task, chat, row)

    reads = read_splits(reading(task, config.task), config.task, config.data, limits)
    if task.retrieval and config.rag.index is None:
        check_passages(task, [record.value for record in reads["train"].records])
    if task.row_notes is not None:
        reads = {
            name: replace(
                part, notes=(*part.notes, *task.row_notes([record.value for record in part.records]))
            )
            for name, part in reads.items()
        }
    parts = {name: part.records for name, part in reads.items()}
    completed = complete_rows(task, config, parts)
    reads = {name: replace(part, records=completed[name]) for name, part in reads.items()}
    findings = inspect(task, config.task, reads)
    report = check(reads, task, lengths, config.data.max_length, config.data.near, findings)
    refused = {"faults": config.data.on_error, "long": config.data.on_long}
    return replace(
        report,
        notes=(*report.notes, *describe_filled(task, parts, completed)),
        tolerated=tuple(kind for kind, what in refused.items() if what != "refuse"),
    )
