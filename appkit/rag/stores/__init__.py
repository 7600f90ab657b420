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

__all__ = ["NAMES", "Address", "Kind", "Server", "Store", "find", "gone", "parsed", "unanswered"]

NAMES = ("faiss", "qdrant", "chroma")


class Store(Protocol):
    """Vectors that can be searched."""

    def search(self, vector: np.ndarray, k: int) -> list[tuple[int, float]]:
        """Find the k rows nearest to vector (d,), of length 1; return (row, inner product), nearest first."""
        ...


@dataclass(frozen=True)
class Address:
    """Where a server is, and whether it gets this machine's key: an index may come from a stranger."""

    store: str
    """name of the store"""
    url: str
    named: bool
    """the user named the address, with --store or in the environment, and not only the index"""

    @classmethod
    def of_index(cls, store: str, url: str, given: str | None = None) -> Address:
        """Make the address that an index names. given: the one that the user has just named, if any."""
        environment = os.environ.get(f"{store.upper()}_URL")
        return cls(store, url, any(_is_same(url, other) for other in (given, environment) if other))

    @property
    def key(self) -> str | None:
        """The server's API key, from the environment alone; None for an address that only the index names."""
        return (os.environ.get(_variable(self.store)) or None) if self.named else None

    def __str__(self) -> str:
        return self.url


def _is_same(url: str, other: str) -> bool:
    try:
        return _split(url) == _split(other)
    except ValueError:
        return False


def _split(url: str) -> tuple[str, str | None, int | None, str]:
    parts = urlsplit(url.strip())
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname, port, parts.path.rstrip("/")


@dataclass(frozen=True)
class Server:
    """The functions of a store that runs as a server; each takes its address first."""

    upload: Callable[[Address, str, np.ndarray], None]
    """(address, collection, vectors (N, d)): creates the collection, unless it exists and is complete"""
    connect: Callable[[Address, str, int], Store]
    """(address, collection, rows) -> the store; raises AppkitError when it does not hold so many rows"""
    prune: Callable[[Address, str, str], None]
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


def gone(collection: str, address: Address | None) -> AppkitError:
    """Make the error for a collection that is missing or incomplete."""
    return AppkitError(
        f"{address} does not hold the whole of {collection}; open the index anew if it was made again meanwhile, "
        "else run `appkit rag index` again"
    )


def unanswered(address: Address, error: Exception) -> AppkitError:
    """Make the error for a server that does not answer, or refuses."""
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    name, variable = address.store, _variable(address.store)
    withheld = (
        f"; {variable} was not sent, since only the index names this address: "
        f"set {name.upper()}_URL={address} if it is yours"
    )
    return AppkitError(
        f"{name} at {address} does not do what it is asked ({reason}); "
        f"check that it runs, the address, and {variable}{'' if address.named else withheld}"
    )
