"""FAISS computes exact inner products, from a file of the version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from appkit.rag.files import of_extra
from appkit.rag.stores import Kind

__all__ = ["KIND"]

FILE = "dense.faiss"


class Flat:
    """A flat index, all in memory."""

    def __init__(self, dense: Any) -> None:
        self._dense = dense

    def search(self, vector: np.ndarray, k: int) -> list[tuple[int, float]]:
        scores, rows = self._dense.search(vector[None], k)
        return [(int(row), float(score)) for row, score in zip(rows[0], scores[0], strict=True)]


def write(directory: Path, vectors: np.ndarray) -> None:
    with of_extra():
        import faiss
    dense = faiss.IndexFlatIP(vectors.shape[1])
    dense.add(vectors)
    faiss.write_index(dense, str(directory / FILE))


def open_file(directory: Path, vectors: np.ndarray) -> Flat:
    with of_extra():
        import faiss
    dense = faiss.read_index(str(directory / FILE))
    if (dense.ntotal, dense.d) != vectors.shape:
        raise ValueError(f"{FILE} holds {dense.ntotal} vectors of {dense.d}, vectors.npy {vectors.shape}")
    return Flat(dense)


KIND = Kind(write, open_file)
