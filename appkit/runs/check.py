"""Check is `appkit data check`: it reports on the data, in tokens if the base's tokenizer is on this machine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from appkit.config import RunConfig
from appkit.data.report import DataReport, check
from appkit.data.splits import read_splits
from appkit.heads.choose import count_tokens
from appkit.plugins import load_task
from appkit.rag.rows import check_passages, reading

__all__ = ["check_data"]


def check_data(config: RunConfig) -> DataReport:
    """Read all splits and report on them; lengths are in tokens if the base is on this machine, else in characters."""
    from appkit.models.sources import cached

    task = load_task(config.task.name)
    lengths = None
    if (path := cached(config.model)) is not None:
        from appkit.models.chat import Chat

        chat = Chat.at(path)

        def lengths(row: Any) -> int:
            return count_tokens(task, config.task, chat, row)

    reads = read_splits(reading(task, config.task), config.task, config.data)
    if task.retrieval and config.rag.index is None:
        check_passages(task, [record.value for record in reads["train"].records])
    if task.row_notes is not None:
        reads = {
            name: replace(
                part, notes=(*part.notes, *task.row_notes([record.value for record in part.records]))
            )
            for name, part in reads.items()
        }
    return check(reads, task, lengths, config.data.max_length, config.data.near)
