"""Stores search vectors: FAISS, Qdrant or Chroma in this process, or a server of the latter two."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import numpy as np

from appkit.errors import AppkitError, ConfigError

__all__ = ["NAMES", "Kind", "Server", "Store", "find", "gone", "key", "parsed", "unanswered"]

NAMES = ("faiss", "qdrant", "chroma")


class Store(Protocol):
    """Vectors that can be searched."""

    def search(self, vector: np.ndarray, k: int) -> list[tuple[int, float]]:
        """Find the k rows nearest to vector (d,), of length 1; return (row, inner product), nearest first."""
        ...


@dataclass(frozen=True)
class Server:
    """The functions of a store that runs as a server; each takes its address first."""

    upload: Callable[[str, str, np.ndarray], None]
    """(address, collection, vectors (N, d)): creates the collection, unless it exists and is complete"""
    connect: Callable[[str, str, int], Store]
    """(address, collection, rows) -> the store; raises AppkitError when it does not hold so many rows"""
    prune: Callable[[str, str, str], None]
    """(address, prefix, keep): removes the collections with the prefix, except `keep`"""


@dataclass(frozen=True)
class Kind:
    """The functions of a store."""

    write: Callable[[Path, np.ndarray], None]
    """(a version's directory, vectors (N, d)): writes the store's files"""
    open: Callable[[Path, np.ndarray], Store]
    """(a version's directory, its vectors) -> the store"""
    server: Server | None = None
    """None: it cannot run as a server"""


def parsed(text: str) -> tuple[str, str | None]:
    """Parse `qdrant=http://host:6333` into a store's name and address; the address is None for one in this process.

    Raises ConfigError for an unknown name or an invalid address.
    """
    name, separator, address = text.partition("=")
    if name not in NAMES:
        raise ConfigError(f"vectors are stored by {', '.join(NAMES)}, got {text!r}; choose one with --store")
    if not separator:
        return name, None
    if name == "faiss":
        raise ConfigError(f"faiss has no server, got {text!r}; leave out the address")
    shape = ConfigError(f"the address of a store is like {name}=http://host:6333, got {text!r}")
    try:
        url = urlsplit(address)
        _ = url.port
    except ValueError:
        raise (
            shape if "@" not in address else ConfigError(f"the address of {name} cannot be read")
        ) from None
    if "@" in url.netloc:  # a secret would be written into the index; the message must not repeat it
        raise ConfigError(f"the address of {name} holds a name or key; put the key into {_variable(name)}")
    if url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment:
        raise shape
    return name, address.rstrip("/")


def find(name: str) -> Kind:
    """Find the store of a name; its functions raise AppkitError when its package is missing."""
    kind: Kind = import_module(f"appkit.rag.stores.{name}").KIND
    return kind


def _variable(name: str) -> str:
    return f"{name.upper()}_API_KEY"


def key(name: str) -> str | None:
    """Read the API key of a server, from the environment alone."""
    return os.environ.get(_variable(name)) or None


def gone(collection: str, address: str) -> AppkitError:
    """Make the error for a collection that is missing or incomplete."""
    return AppkitError(
        f"{address} does not hold the whole of {collection}; open the index anew if it was made again meanwhile, "
        "else run `appkit rag index` again"
    )


def unanswered(name: str, address: str, error: Exception) -> AppkitError:
    """Make the error for a server that does not answer, or refuses."""
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return AppkitError(
        f"{name} at {address} does not do what it is asked ({reason}); "
        f"check that it runs, the address, and {_variable(name)}"
    )
