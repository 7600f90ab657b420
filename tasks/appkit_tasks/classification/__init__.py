"""Defines the classification pack: text -> one label, any number of labels, or a number."""

from __future__ import annotations

from appkit.task import LabelHead, Task
from appkit_tasks.classification.appendix import appendix
from appkit_tasks.classification.config import ClassificationConfig
from appkit_tasks.classification.load import ClassificationRow, load
from appkit_tasks.classification.metrics import METRICS, PRIMARY, metrics_for
from appkit_tasks.classification.prompt import prompt, read, refuse, target

__all__ = ["TASK"]

TASK = Task(
    name="classification",
    summary="text -> label",
    config=ClassificationConfig,
    row=ClassificationRow,
    load=load,
    prompt=prompt,
    target=target,
    head=LabelHead(
        read=read, metrics_for=metrics_for, out_of_scope=lambda options: options.oos, refuse=refuse
    ),
    appendix=appendix,
    needed=("text",),  # the schema asks for a label; an empty list is one: none of the labels
    metrics=METRICS["single"],
    primary=PRIMARY["single"],
    # a step of fewer short texts is mostly overhead, and 3e-3, which is right for answers in words, diverges
    defaults={"train": {"learning_rate": 1e-3, "batch_rows": 8}, "data": {"on_long": "cut"}},
    input="text",
    beside=("pair",),
    output="label",
    examples=(
        "The parcel was due on Monday, it's Thursday now, and tracking still says that it left the warehouse.",
        "You took 19.90 twice this month, and I have only the one subscription.",
        "Where in the app do I change the language of the menus?",
    ),
)
