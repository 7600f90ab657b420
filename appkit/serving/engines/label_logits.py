"""Label heads through an engine: logits of each window, wherever the head is applied."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from appkit.errors import RunError
from appkit.task import HeadSpec

if TYPE_CHECKING:
    from appkit.models.batch import Labelled

__all__ = ["Reads", "apply", "logits"]

Weights = tuple[np.ndarray, np.ndarray | None]


class Reads(Protocol):
    """An engine, or one that is supervised."""

    async def classify(self, adapter: str, tokens: Sequence[int]) -> np.ndarray:
        """Logits (C,)."""

    async def states(self, adapter: str, tokens: Sequence[int]) -> np.ndarray:
        """Final hidden states (T, d)."""


async def logits(
    engine: Reads, adapter: str, spec: HeadSpec, head: Weights | None, windows: Sequence[Labelled]
) -> list[np.ndarray]:
    """(C,) or (places, C) of each window; `head` None: the engine has it.

    Raises RunError for logits that are not finite, and what the engine raises.
    """

    async def one(window: Labelled) -> np.ndarray:
        if head is None:
            found = await engine.classify(adapter, window.tokens)
        else:
            found = apply(await engine.states(adapter, window.tokens), window.places, spec, head)
        if found.shape[-1] != spec.outputs or not np.isfinite(found).all():
            raise RunError(f"the engine gave no logits for {spec.outputs} labels, but shape {found.shape}")
        return found

    return list(await asyncio.gather(*map(one, windows)))


def apply(states: np.ndarray, places: Sequence[int], spec: HeadSpec, head: Weights) -> np.ndarray:
    """States (T, d) -> logits (places, C) of words, or (C,) of the sequence."""
    if spec.pooling == "mean":
        seen = states.mean(0, dtype=np.float64).astype(np.float32)
    elif spec.pooling == "max":
        seen = states.max(0)
    else:
        seen = states[list(places)]  # (places, d)
    weight, bias = head
    found: np.ndarray = seen @ weight.T + (0.0 if bias is None else bias)
    return found.reshape(-1) if spec.kind == "sequence" else found
