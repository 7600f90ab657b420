"""What an engine has to give of a label head: the trained model's logits for the pack's examples, and its metric."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from appkit.serving.certify.checks import FP32_LIMIT, NOISE, SHARE, Check, metric_check
from appkit.serving.certify.on_disk import labelling, recorded_windows

if TYPE_CHECKING:
    from appkit.data.rows import Record
    from appkit.serving.deployment import Subject
    from appkit.serving.engines.protocol import Engine
    from appkit.task import Prediction

__all__ = ["label_behaviour"]

AT_ONCE = 64
"""texts that an engine is asked for side by side"""


async def label_behaviour(subject: Subject, engine: Engine, rows: int | None) -> AsyncIterator[Check]:
    """What the engine computes, against what the trained model recorded."""
    from appkit.serving.engines.label_logits import logits
    from appkit.serving.engines.views import read_head

    kind = labelling(subject)
    head = read_head(subject.path) if subject.role in ("embed", "embed-unmasked") else None
    windows = recorded_windows(subject)
    found = np.concatenate(
        [np.atleast_2d(one) for one in await logits(engine, "subject", kind.spec, head, windows)]
    )
    recorded = {
        name: values.double().numpy()
        for name, values in subject.recorded.items()
        if name.startswith(("adapter", "base"))
    }
    if subject.form:  # of a folded head the logits are known up to a constant
        found, recorded = _log_shares(found), {name: _log_shares(values) for name, values in recorded.items()}
    apart = np.abs(found - recorded["adapter"])
    effect = np.abs(recorded["adapter"] - recorded["base"]).mean()
    exact = engine.dtype == subject.manifest["base"]["dtype"] == "float32"
    # rounding is relative: logits of 30 are not known to 1e-4 by either side
    kind_of, off, limit = (
        "largest",
        float(apart.max()),
        FP32_LIMIT * max(1.0, float(np.abs(recorded["adapter"]).mean())),
    )
    if not exact:
        kind_of, off, limit = "mean", float(apart.mean()), SHARE * float(effect)
        if "adapter_fp32" in recorded:
            noise = np.abs(recorded["adapter_bf16"] - recorded["adapter_fp32"]).mean()
            limit = min(limit, NOISE * float(noise))
    figure = f"{kind_of} difference {off:.1e} over {apart.size} logits, limit {limit:.1e}"
    yield Check("head logits", off <= limit, figure)
    share = float(np.abs(found - recorded["base"]).mean() / effect)
    yield Check(
        "the adapter acts", 0.5 < share < 2, f"it moves logits by {share:.2f} of what it did in training"
    )
    if kind.spec.problem == "single":
        same = int((found.argmax(1) == recorded["adapter"].argmax(1)).sum())
        figure = (
            f"{same} of {len(found)} likeliest ones equal{'' if exact else ', which is not asked of bf16'}"
        )
        yield Check("answers", same == len(found) if exact else None, figure)

    async def answered(records: Sequence[Record]) -> list[Prediction]:
        read = [kind.windows(record.value) for record in records]
        flat = [window for one in read for window in one.windows]
        given: list[np.ndarray] = []
        for start in range(0, len(flat), AT_ONCE):
            given += await logits(engine, "subject", kind.spec, head, flat[start : start + AT_ONCE])
        each = iter(given)
        return [
            kind.prediction(record.value, one, [next(each) for _ in one.windows])
            for record, one in zip(records, read, strict=True)
        ]

    yield await metric_check(subject.task, subject.config, subject.manifest, rows, answered)


def _log_shares(logits: np.ndarray) -> np.ndarray:
    """(N, C) logits -> their log-softmax."""
    z = logits - logits.max(1, keepdims=True)
    shares: np.ndarray = z - np.log(np.exp(z).sum(1, keepdims=True))
    return shares
