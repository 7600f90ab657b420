"""Embeddings without a model, for tests of what is done with embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class Letters:
    """Embeddings of how often each letter occurs; texts with like letters are near. Counts what it embeds."""

    embedded: list[str]

    def __init__(self) -> None:
        self.embedded = []

    def embed(self, texts: Sequence[str], *, show: bool = True) -> np.ndarray:
        self.embedded += texts
        counts = np.array([[text.casefold().count(chr(97 + n)) + 0.01 for n in range(26)] for text in texts])
        return (counts / np.linalg.norm(counts, axis=1, keepdims=True)).astype(np.float32)
