"""Makes answers to rows for tests: as a head would give them, but from tags."""

from __future__ import annotations

import random
from collections.abc import Sequence

from appkit_tasks.ner.load import NerRow, word_spans
from appkit_tasks.ner.tags import entities_of, tags_of

from appkit.data.rows import Read
from appkit.task import Parsed, Prediction


def rows_of(result: Read) -> list[NerRow]:
    """Returns the rows of a source that has no faults."""
    assert not result.faults, [str(fault) for fault in result.faults[:3]]
    rows = [record.value for record in result.records if isinstance(record.value, NerRow)]
    assert len(rows) == len(result.records)
    return rows


def answer(row: NerRow, tags: Sequence[str]) -> Prediction:
    """Makes the prediction whose entities are those of legal tags of the row's words."""
    value = [
        {"text": row.text[start:end], "type": kind, "start": start, "end": end, "confidence": 1.0}
        for start, end, kind in entities_of(tags, word_spans(row))
    ]
    return Prediction("", Parsed(value), tokens=len(tags), truncated=False)


def gold_tags(row: NerRow) -> list[str]:
    return tags_of(row.entities, word_spans(row))


def random_tags(count: int, types: Sequence[str], rng: random.Random) -> list[str]:
    """Draws legal tags of `count` words."""
    tags: list[str] = []
    for _ in range(count):
        inside = f"I-{tags[-1][2:]}" if tags and tags[-1] != "O" else "O"
        tags.append(rng.choice(["O", "O", inside, f"B-{rng.choice(types)}"]))
    return tags


def noisy_tags(tags: Sequence[str], types: Sequence[str], rng: random.Random) -> list[str]:
    """Changes some of the tags; the result is legal again."""
    noisy: list[str] = []
    for tag in tags:
        before = noisy[-1] if noisy else "O"
        changed = rng.choice(["O", f"B-{rng.choice(types)}"]) if rng.random() < 0.2 else tag
        legal = not changed.startswith("I-") or before[1:] == changed[1:]
        noisy.append(changed if legal else f"B{changed[1:]}")
    return noisy
