"""Qdrant computes exact inner products, in this process or on a server.

In this process it is filled from vectors.npy whenever an index is opened, and writes no files: its own files are
pickles, which can run code, allow one process at a time, and took 50 s for 10,000 vectors (in memory: 1.3 s).
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from appkit.rag.files import of_extra
from appkit.rag.stores import Address, Kind, Server, gone, unanswered

__all__ = ["KIND"]

HERE = "passages"
PATIENCE = 30
"""seconds to wait for an answer"""


class Collection:
    """A collection of a client; its points are numbered as the rows."""

    def __init__(self, client: Any, name: str, address: Address | None = None) -> None:
        self._client, self._name, self._address = client, name, address
        weakref.finalize(
            self, client.close
        )  # a client that is closed at the end of the process prints warnings

    def count(self) -> int:
        with _translate_errors(self._address, self._name):
            return int(self._client.count(self._name, exact=True).count)

    def search(self, vector: np.ndarray, k: int) -> list[tuple[int, float]]:
        from qdrant_client.models import SearchParams

        exact = SearchParams(exact=True) if self._address else None  # in this process every search is exact
        with _translate_errors(self._address, self._name):
            result = self._client.query_points(
                self._name, query=vector, limit=k, with_payload=False, search_params=exact
            )
        return [(int(point.id), float(point.score)) for point in result.points]


def write(directory: Path, vectors: np.ndarray) -> None:
    _import_qdrant()  # a missing package is reported now, not at the first search


def open_in_memory(directory: Path, vectors: np.ndarray) -> Collection:
    client = _import_qdrant().QdrantClient(":memory:")
    _fill(client, HERE, vectors)
    return Collection(client, HERE)


def upload(address: Address, collection: str, vectors: np.ndarray) -> None:
    with closing(_connect_client(address)) as client, _translate_errors(address, collection):
        if client.collection_exists(collection):
            if client.count(collection, exact=True).count == len(vectors):
                return
            client.delete_collection(collection)  # of a run that was killed
        _fill(client, collection, vectors)


def connect(address: Address, collection: str, rows: int) -> Collection:
    store = Collection(_connect_client(address), collection, address)
    if store.count() != rows:
        raise gone(collection, address)
    return store


def prune(address: Address, prefix: str, keep: str) -> None:
    with closing(_connect_client(address)) as client, _translate_errors(address, keep):
        for existing in client.get_collections().collections:
            if existing.name.startswith(prefix) and existing.name != keep:
                client.delete_collection(existing.name)


def _fill(client: Any, collection: str, vectors: np.ndarray) -> None:
    from qdrant_client.models import Distance, VectorParams

    client.create_collection(
        collection, vectors_config=VectorParams(size=vectors.shape[1], distance=Distance.DOT)
    )
    client.upload_collection(collection, vectors, ids=range(len(vectors)), batch_size=256, wait=True)


def _connect_client(address: Address) -> Any:
    # a port that is not named is the scheme's own, as everywhere, not 6333
    port = 443 if address.url.startswith("https:") else 80
    return _import_qdrant().QdrantClient(
        url=address.url, port=port, api_key=address.key, timeout=PATIENCE, check_compatibility=False
    )


def _import_qdrant() -> Any:
    with of_extra("qdrant"):
        import qdrant_client
    return qdrant_client


@contextmanager
def _translate_errors(address: Address | None, collection: str) -> Iterator[None]:
    """Raises AppkitError with one line for a server's failures."""
    from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

    try:
        yield
    except ApiException as error:
        if address is None:  # in this process no server answers
            raise
        if isinstance(error, UnexpectedResponse) and error.status_code == 404:
            raise gone(collection, address) from None
        raise unanswered(address, error) from None


KIND = Kind(write, open_in_memory, Server(upload, connect, prune))
