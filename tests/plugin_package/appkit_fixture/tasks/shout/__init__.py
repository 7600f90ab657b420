"""Sentence -> the same sentence in capitals."""

from __future__ import annotations

from appkit.task import Decoding, Metric, Task, TextHead
from appkit_fixture.tasks.shout.config import ShoutConfig
from appkit_fixture.tasks.shout.load import ShoutRow, load
from appkit_fixture.tasks.shout.metrics import exact
from appkit_fixture.tasks.shout.prompt import answer, prompt, target

__all__ = ["TASK"]

TASK = Task(
    name="shout",
    summary="sentence -> the same sentence in capitals",
    config=ShoutConfig,
    row=ShoutRow,
    load=load,
    prompt=prompt,
    target=target,
    metrics=(Metric("exact", "the answer is the reference, letter for letter", exact),),
    primary="exact",
    input="sentence",
    output="shout",
    examples=("the kettle is on", "mind the gap"),
    # an answer is one line: whatever follows is chatter
    head=TextHead(parse=answer, decoding=Decoding(stop=("\n",))),
)
