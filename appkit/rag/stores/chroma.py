"""Chroma searches a graph (HNSW), widely enough to be exact up to 10,000 passages; in this process, or a server."""

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
from appkit.rag.stores import Address, Kind, Server, gone, unanswered

__all__ = ["KIND"]

FOLDER = "chroma"
HERE = "passages"
WIDTH = 10_000
"""candidates of a search; with as many passages or fewer, all of them"""


class Collection:
    """A collection of a client; its ids are the numbers of the rows."""

    def __init__(self, collection: Any, address: Address | None = None) -> None:
        self._collection, self._address = collection, address

    def search(self, vector: np.ndarray, k: int) -> list[tuple[int, float]]:
        with _translate_errors(self._address, self._collection.name):
            result = self._collection.query(query_embeddings=vector[None], n_results=k, include=["distances"])
        # its distance is 1 less the inner product
        return [
            (int(row), 1 - float(far))
            for row, far in zip(result["ids"][0], result["distances"][0], strict=True)
        ]


def write(directory: Path, vectors: np.ndarray) -> None:
    client = _import_chroma().PersistentClient(directory / FOLDER, _make_settings())
    try:
        _fill(client, HERE, vectors)
    finally:
        client.close()


def open_copy(directory: Path, vectors: np.ndarray) -> Collection:
    """Open a copy: Chroma writes into the directory it opens, and reads from it after a later run has removed it."""
    copy = tempfile.mkdtemp(prefix="appkit-chroma-")
    try:
        shutil.copytree(directory / FOLDER, copy, dirs_exist_ok=True)
        library = _import_chroma()
        with _translate_errors(None, HERE):
            client = library.PersistentClient(copy, _make_settings())
            collection = client.get_collection(HERE, embedding_function=None)
            if collection.count() != len(vectors):
                raise ValueError(f"{collection.count()} vectors in {FOLDER}, {len(vectors)} in vectors.npy")
    except BaseException:
        shutil.rmtree(copy, ignore_errors=True)
        raise
    store = Collection(collection)
    weakref.finalize(store, _close, client, copy)
    return store


def _close(client: Any, copy: str) -> None:
    client.close()
    shutil.rmtree(copy, ignore_errors=True)


def upload(address: Address, collection: str, vectors: np.ndarray) -> None:
    with _translate_errors(address, collection):
        client = _connect_client(address)
        if collection in [existing.name for existing in client.list_collections()]:
            if client.get_collection(collection, embedding_function=None).count() == len(vectors):
                return
            client.delete_collection(collection)  # of a run that was killed
        _fill(client, collection, vectors)


def connect(address: Address, collection: str, rows: int) -> Collection:
    with _translate_errors(address, collection):
        remote = _connect_client(address).get_collection(collection, embedding_function=None)
        if remote.count() != rows:
            raise gone(collection, address)
    return Collection(remote, address)


def prune(address: Address, prefix: str, keep: str) -> None:
    with _translate_errors(address, keep):
        client = _connect_client(address)
        for existing in client.list_collections():
            if existing.name.startswith(prefix) and existing.name != keep:
                client.delete_collection(existing.name)


def _fill(client: Any, collection: str, vectors: np.ndarray) -> None:
    graph = {"space": "ip", "ef_search": min(max(len(vectors), 100), WIDTH), "ef_construction": 200}
    created = client.create_collection(collection, embedding_function=None, configuration={"hnsw": graph})
    step = min(client.get_max_batch_size(), 5000)
    for first in range(0, len(vectors), step):
        part = vectors[first : first + step]
        created.add(ids=[str(first + row) for row in range(len(part))], embeddings=part)


def _connect_client(address: Address) -> Any:
    token = address.key
    headers = {"x-chroma-token": token, "authorization": f"Bearer {token}"} if token else {}
    return _import_chroma().HttpClient(address.url, headers=headers, settings=_make_settings(address.named))


def _make_settings(named: bool = False) -> Any:
    """Make Chroma's settings; it reads credentials from the environment and .env, for a server that the user named."""
    from chromadb.config import Settings

    if named:
        return Settings(anonymized_telemetry=False)
    return Settings(
        anonymized_telemetry=False, chroma_client_auth_provider=None, chroma_client_auth_credentials=None
    )


def _import_chroma() -> Any:
    with of_extra("chroma"):
        import chromadb
    return chromadb


@contextmanager
def _translate_errors(address: Address | None, collection: str) -> Iterator[None]:
    """Raises AppkitError with one line for a server's failures, ValueError for damaged files on this machine."""
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
        raise unanswered(address, error) from None


KIND = Kind(write, open_copy, Server(upload, connect, prune))
