"""Chroma: a graph (HNSW) that is searched widely enough to be exact for the first thousands; here, or a server."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from appkit.errors import AppkitError
from appkit.rag.files import of_extra
from appkit.rag.stores import Kind, Server, gone, key, unanswered

__all__ = ["KIND"]

FOLDER = "chroma"
HERE = "passages"
WIDTH = 10_000
"""candidates of a search; with as many passages or fewer, all of them"""


class Collection:
    """A collection of a client; its ids are the numbers of the rows."""

    def __init__(self, collection: Any, address: str | None = None) -> None:
        self._collection, self._address = collection, address

    def search(self, vector: np.ndarray, k: int) -> list[tuple[int, float]]:
        with _told(self._address, self._collection.name):
            found = self._collection.query(query_embeddings=vector[None], n_results=k, include=["distances"])
        # its distance is 1 less the inner product
        return [
            (int(row), 1 - float(far))
            for row, far in zip(found["ids"][0], found["distances"][0], strict=True)
        ]


def write(directory: Path, vectors: np.ndarray) -> None:
    client = _library().PersistentClient(directory / FOLDER, _settings())
    try:
        _fill(client, HERE, vectors)
    finally:
        client.close()


def opened(directory: Path, vectors: np.ndarray) -> Collection:
    """A copy of its own: Chroma writes into what it opens, and reads on in it after a later run has removed it."""
    copy = tempfile.mkdtemp(prefix="appkit-chroma-")
    try:
        shutil.copytree(directory / FOLDER, copy, dirs_exist_ok=True)
        library = _library()
        with _told(None, HERE):
            client = library.PersistentClient(copy, _settings())
            collection = client.get_collection(HERE, embedding_function=None)
            if collection.count() != len(vectors):
                raise ValueError(f"{collection.count()} vectors in {FOLDER}, {len(vectors)} in vectors.npy")
    except BaseException:
        shutil.rmtree(copy, ignore_errors=True)
        raise
    one = Collection(collection)
    weakref.finalize(one, _close, client, copy)
    return one


def _close(client: Any, copy: str) -> None:
    client.close()
    shutil.rmtree(copy, ignore_errors=True)


def upload(address: str, collection: str, vectors: np.ndarray) -> None:
    with _told(address, collection):
        client = _client(address)
        if collection in [one.name for one in client.list_collections()]:
            if client.get_collection(collection, embedding_function=None).count() == len(vectors):
                return
            client.delete_collection(collection)  # of a run that was killed
        _fill(client, collection, vectors)


def connect(address: str, collection: str, rows: int) -> Collection:
    with _told(address, collection):
        found = _client(address).get_collection(collection, embedding_function=None)
        if found.count() != rows:
            raise gone(collection, address)
    return Collection(found, address)


def prune(address: str, prefix: str, keep: str) -> None:
    with _told(address, keep):
        client = _client(address)
        for one in client.list_collections():
            if one.name.startswith(prefix) and one.name != keep:
                client.delete_collection(one.name)


def _fill(client: Any, collection: str, vectors: np.ndarray) -> None:
    graph = {"space": "ip", "ef_search": min(max(len(vectors), 100), WIDTH), "ef_construction": 200}
    made = client.create_collection(collection, embedding_function=None, configuration={"hnsw": graph})
    step = min(client.get_max_batch_size(), 5000)
    for first in range(0, len(vectors), step):
        part = vectors[first : first + step]
        made.add(ids=[str(first + row) for row in range(len(part))], embeddings=part)


def _client(address: str) -> Any:
    token = key("chroma")
    headers = {"x-chroma-token": token, "authorization": f"Bearer {token}"} if token else {}
    return _library().HttpClient(address, headers=headers, settings=_settings())


def _settings() -> Any:
    from chromadb.config import Settings

    return Settings(anonymized_telemetry=False)


def _library() -> Any:
    with of_extra("chroma"):
        import chromadb
    return chromadb


@contextmanager
def _told(address: str | None, collection: str) -> Iterator[None]:
    """A server's refusals and silence as one line; what is damaged here as a ValueError."""
    with of_extra("chroma"):
        from chromadb.errors import NotFoundError
    try:
        yield
    except AppkitError:
        raise
    except Exception as error:  # it raises Exception itself for what a server answers
        if address is None:
            raise ValueError(f"chroma: {error}") from None
        if isinstance(error, NotFoundError):
            raise gone(collection, address) from None
        raise unanswered("chroma", address, error) from None


KIND = Kind(write, opened, Server(upload, connect, prune))
