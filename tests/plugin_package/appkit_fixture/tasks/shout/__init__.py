"""Sentence -> the same sentence in capitals."""

from __future__ import annotations

from appkit.task import Decoding, Metric, Task
from appkit_fixture.tasks.shout.config import ShoutConfig
from appkit_fixture.tasks.shout.load import ShoutRow, load
from appkit_fixture.tasks.shout.metrics import exact
from appkit_fixture.tasks.shout.prompt import answer, prompt, target

__all__ = ["TASK"]

TASK = Task(
    name="shout",
    summary="sentence -> the same sentence in capitals",
    kind="generate",
    config=ShoutConfig,
    row=ShoutRow,
    load=load,
    prompt=prompt,
    target=target,
    parse=answer,
    metrics=(Metric("exact", "the answer is the reference, letter for letter", exact),),
    primary="exact",
    input="sentence",
    output="shout",
    examples=("the kettle is on", "mind the gap"),
    # an answer is one line: whatever follows is chatter
    decoding=Decoding(stop=("\n",)),
)
