"""Defines the NER pack: text -> the named entities in it, each with its span and type."""

from __future__ import annotations

from appkit.task import LabelHead, Metric, Task
from appkit_tasks.ner import metrics
from appkit_tasks.ner.appendix import appendix
from appkit_tasks.ner.config import NerConfig
from appkit_tasks.ner.decode import read
from appkit_tasks.ner.load import NerRow, load, word_spans
from appkit_tasks.ner.prompt import prompt, target, words

__all__ = ["TASK"]


def _length_in_words(row: NerRow) -> str:
    count = len(word_spans(row))
    return next((name for most, name in ((10, "1-10"), (20, "11-20"), (40, "21-40")) if count <= most), "41+")


TASK = Task(
    name="ner",
    summary="text -> the named entities in it, with their types",
    config=NerConfig,
    row=NerRow,
    load=load,
    prompt=prompt,
    target=target,
    head=LabelHead(read=read, words=words),
    appendix=appendix,
    # the schema itself asks for text or tokens, and for entities or tags: an empty list is a row without entity
    needed=(),
    metrics=(
        Metric(
            "F1", "micro F1 of entities, right by span and type (seqeval, strict)", metrics.counts, metrics.f1
        ),
        Metric(
            "precision", "share of the predicted entities that are right", metrics.counts, metrics.precision
        ),
        Metric("recall", "share of the rows' entities that were found", metrics.counts, metrics.recall),
        Metric("rows", "share of rows with all entities right and none added", metrics.all_right),
    ),
    primary="F1",
    # 3e-3, which is right for answers in words, diverges
    defaults={"train": {"learning_rate": 1e-3, "batch_rows": 8}},
    input="text",
    output="entities",
    examples=(
        "Ada Brandt flew from Lisbon to Oslo on 3 May.",
        "🎉 Priya Nair just joined Halvorsen Foods, and her first bonus is $500!",
        "The Larkwell 40 kettle costs £29.99 at Quillon Stores in York.",
    ),
    strata={"words": _length_in_words},
)
