"""Reads labels from logits: the one place where logits become a prediction, whoever computed them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from appkit.errors import RunError
from appkit.heads.roles import Asked, Matrix
from appkit.task import HeadSpec, LabelHead, Parsed, Prediction

if TYPE_CHECKING:
    from appkit.heads.label.encode import Labeller, Windows
    from appkit.models.batch import Labelled

__all__ = ["apply", "engine_logits", "model_logits", "read_logits", "read_probabilities"]

PASS_TOKENS = 2048
"""tokens laid end to end in one forward pass without gradients"""


def read_logits(
    labels: LabelHead, spec: HeadSpec, row_windows: Windows, logits: Sequence[np.ndarray]
) -> Prediction:
    """Reads logits of each window, (C,) of a text or (places, C) of words, into the pack's prediction."""
    raw: tuple[float, ...] = ()
    if spec.of_words:
        chosen = np.stack([logits[window][place] for window, place in row_windows.owners])
    else:
        chosen = np.asarray(logits[0], dtype=np.float64).reshape(spec.outputs)
        raw = tuple(round(float(value), 6) for value in chosen)
    text, value, confidence = labels.read(row_windows.row, spec.probabilities(chosen), spec)
    return Prediction(text, Parsed(value), len(row_windows.tokens), row_windows.cut, (), confidence, raw)


def read_probabilities(labels: LabelHead, spec: HeadSpec, row: Any, probabilities: np.ndarray) -> Prediction:
    """Reads a baseline's probabilities in the same way."""
    text, value, confidence = labels.read(row, np.asarray(probabilities), spec)
    return Prediction(text, Parsed(value), 0, False, (), confidence)


def model_logits(
    head: Labeller, model: Any, windows: Sequence[Labelled], title: str, show: bool
) -> list[np.ndarray]:
    """Computes logits (C,) or (places, C) of each window, in order; windows of like length share a batch."""
    import torch

    from appkit.heads.label import loss
    from appkit.models.batch import by_length
    from appkit.progress import Progress

    model.eval()
    device = next(model.parameters()).device
    logits: dict[int, np.ndarray] = {}
    with Progress(title, len(windows), "texts", show=show) as bar, torch.inference_mode():
        for group in by_length([len(window.tokens) for window in windows], PASS_TOKENS):
            batch = head.collate([windows[index] for index in group], device)
            packed = loss.logits(model, batch, head.spec.pooling).cpu().numpy()
            if head.spec.of_words:
                parts = np.split(packed, np.cumsum([windows[index].targets for index in group])[:-1])
            else:
                parts = list(packed)
            logits |= dict(zip(group, parts, strict=True))
            bar.advance(len(group))
    return [logits[index] for index in range(len(windows))]


async def engine_logits(
    engine: Asked, adapter: str, spec: HeadSpec, matrix: Matrix | None, windows: Sequence[Labelled]
) -> list[np.ndarray]:
    """Asks an engine for the logits (C,) or (places, C) of each window; `matrix` None: the engine has the head.

    Raises RunError for logits that are not finite, and what the engine raises.
    """

    async def ask(window: Labelled) -> np.ndarray:
        if matrix is None:
            logits = await engine.classify(adapter, window.tokens)
        else:
            logits = apply(await engine.states(adapter, window.tokens), window.places, spec, matrix)
        if logits.shape[-1] != spec.outputs or not np.isfinite(logits).all():
            raise RunError(f"the engine gave no logits for {spec.outputs} labels, but shape {logits.shape}")
        return logits

    return list(await asyncio.gather(*map(ask, windows)))


def apply(states: np.ndarray, places: Sequence[int], spec: HeadSpec, matrix: Matrix) -> np.ndarray:
    """Applies the head: states (T, d) -> logits (places, C) of words, or (C,) of the text."""
    if spec.pooling == "mean":
        seen = states.mean(0, dtype=np.float64).astype(np.float32)
    elif spec.pooling == "max":
        seen = states.max(0)
    else:
        seen = states[list(places)]  # (places, d)
    weight, bias = matrix
    logits: np.ndarray = seen @ weight.T + (0.0 if bias is None else bias)
    return logits if spec.of_words else logits.reshape(-1)
