"""Stores rank passages by their vectors: FAISS, Qdrant or Chroma in this process, or a server of the latter two."""

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
    """Vectors that are open for search."""

    def search(self, vector: np.ndarray, k: int) -> list[tuple[int, float]]:
        """vector (d,), of length 1 -> the k nearest rows with their inner products, nearest first."""
        ...


@dataclass(frozen=True)
class Server:
    """The functions of a store that runs elsewhere; an address and a collection come first.

    upload: makes the collection of vectors (N, d), unless it is there and whole. connect: raises AppkitError when it
    does not hold the number of rows. prune: removes the collections with a prefix, but for one.
    """

    upload: Callable[[str, str, np.ndarray], None]
    connect: Callable[[str, str, int], Store]
    prune: Callable[[str, str, str], None]


@dataclass(frozen=True)
class Kind:
    """The functions of a store. write: vectors (N, d) into a version's directory. open: that directory, and vectors."""

    write: Callable[[Path, np.ndarray], None]
    open: Callable[[Path, np.ndarray], Store]
    server: Server | None = None


def parsed(text: str) -> tuple[str, str | None]:
    """`qdrant=http://host:6333` -> its name and its address, None for the one in this process.

    Raises ConfigError for another name, or an address that cannot be one.
    """
    name, given, address = text.partition("=")
    if name not in NAMES:
        raise ConfigError(f"vectors are stored by {', '.join(NAMES)}, got {text!r}; choose one with --store")
    if not given:
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
    if "@" in url.netloc:  # it would be written into the index; and the message repeats no secret
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
    """For a collection that is not there, or not whole."""
    return AppkitError(
        f"{address} does not hold the whole of {collection}; open the index anew if it was made again meanwhile, "
        "else run `appkit rag index` again"
    )


def unanswered(name: str, address: str, error: Exception) -> AppkitError:
    """For a server that does not answer, or refuses."""
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return AppkitError(
        f"{name} at {address} does not do what it is asked ({reason}); "
        f"check that it runs, the address, and {_variable(name)}"
    )
