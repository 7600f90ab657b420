"""Loads the models that turn texts into vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from appkit.errors import AppkitError

__all__ = ["Encoder", "encoder"]


class Encoder(Protocol):
    """A model that turns texts into vectors."""

    def embed(self, texts: Sequence[str], *, show: bool = True) -> np.ndarray:
        """N texts -> vectors (N, d), float32, of length 1. show: with a progress bar."""
        ...


def encoder(name: str) -> Encoder:
    """Load an encoder: `minilm`, from the package registry, or any model of sentence-transformers by its name.

    Raises AppkitError when it cannot be loaded.
    """
    if name == "minilm":
        from appkit.models.embedder import Encoder as MiniLM

        return MiniLM()
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise AppkitError(
            f"embeddings by {name!r} need sentence-transformers; pip install sentence-transformers, "
            "or leave out --embeddings"
        ) from None
    try:
        model = SentenceTransformer(name)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:200]
        raise AppkitError(f"no embeddings by {name!r}: {reason}; check the name and the network") from None

    class Sentences:
        def embed(self, texts: Sequence[str], *, show: bool = True) -> np.ndarray:
            vectors: np.ndarray = model.encode(list(texts), normalize_embeddings=True, show_progress_bar=show)
            return vectors.astype(np.float32)

    return Sentences()
