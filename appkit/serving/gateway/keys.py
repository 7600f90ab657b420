"""Holds API keys, hashed at rest, each with the aliases it may use and its rate.

The file is JSON: {"keys": [{"name", "sha256", "admin", "aliases", "per_minute"}]}. A key is 32 random bytes, so that a
plain hash is enough: there is nothing to guess. The file is read again when it changes: a key is revoked by a line.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from appkit.arguments import list_words
from appkit.errors import ConfigError

__all__ = ["OPEN", "Key", "Keys", "add_key", "read_keys"]

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Key:
    """Describes a caller and its rights."""

    name: str
    sha256: str
    """of the secret, in hex"""
    admin: bool = False
    """may add, move and remove bundles, and train"""
    aliases: tuple[str, ...] | None = None
    """that it may use; None: all"""
    per_minute: int | None = None
    """requests, 1 or more; None: as many as the engines take"""

    def may_use(self, alias: str) -> bool:
        return self.aliases is None or alias in self.aliases


OPEN = Key("open", "")
"""every caller of a gateway that was started without keys, on loopback; never an admin"""


def read_keys(path: Path) -> list[Key]:
    """Reads the keys of a file. Raises ConfigError when it is missing, broken, or holds two keys of a name."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["keys"]
        keys = [_parse_key(entry) for entry in entries]
    except FileNotFoundError:
        raise ConfigError(f"no key file {path}; make one: appkit keys add {path} NAME") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is no key file: {error}; make one: appkit keys add FILE NAME") from None
    names = [key.name for key in keys]
    if double := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"{path} holds two keys called {double!r}; rename one")
    return keys


def _parse_key(entry: Any) -> Key:
    if not isinstance(entry, dict):
        raise TypeError(f"a key is an object, got {type(entry).__name__}")
    aliases = entry.get("aliases")
    if not (
        aliases is None or (isinstance(aliases, list) and all(isinstance(alias, str) for alias in aliases))
    ):
        raise ValueError(f"key {entry.get('name')!r}: aliases must be a list of names or null")
    key = Key(**{**entry, "aliases": None if aliases is None else tuple(aliases)})
    if not isinstance(key.name, str):
        raise ValueError(f"a key's name is a text, got {key.name!r}")
    if not isinstance(key.admin, bool):  # "false" would be a right
        raise ValueError(f"key {key.name!r}: admin must be true or false, got {key.admin!r}")
    if not re.fullmatch(r"[0-9a-f]{64}", key.sha256):
        raise ValueError(f"key {key.name!r} has no sha256")
    if key.per_minute is not None and key.per_minute < 1:
        raise ValueError(f"key {key.name!r}: per_minute must be 1 or more, got {key.per_minute}")
    return key


def add_key(
    path: Path,
    name: str,
    *,
    admin: bool = False,
    aliases: str | Sequence[str] | None = None,
    per_minute: int | None = None,
) -> str:
    """Adds a key to the file, made if missing, which only this user may read; returns the secret, stored nowhere.

    Raises ConfigError for a name that is taken or odd.
    """
    from appkit.storage.atomic import locked, write_text

    if not NAME.fullmatch(name):
        raise ConfigError(f"a key's name is made of a-z, 0-9, '.', '_' and '-', got {name!r}")
    if per_minute is not None and per_minute < 1:
        raise ConfigError(f"per_minute must be 1 or more, got {per_minute}")
    with locked(path):
        keys = read_keys(path) if path.exists() else []
        if name in [key.name for key in keys]:
            raise ConfigError(f"{path} already has a key {name!r}; choose another name, or remove its line")
        secret = f"ak-{secrets.token_urlsafe(32)}"
        new_key = Key(
            name, _hash(secret), admin, None if aliases is None else tuple(list_words(aliases)), per_minute
        )
        text = json.dumps({"keys": [asdict(key) for key in [*keys, new_key]]}, indent=1)
        write_text(path, text + "\n")
        os.chmod(path, 0o600)
    return secret


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


@dataclass
class Keys:
    """Holds the keys of a running gateway, and how fast each is used."""

    path: Path | None
    """the key file; None: there are no keys, everybody is `OPEN`"""
    clock: Callable[[], float] = time.monotonic
    """seconds"""
    _keys: list[Key] = field(default_factory=list)
    _stamp: tuple[int, int] = (0, 0)
    _left: dict[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.path is not None:
            # the stamp comes first: a change before the read is then seen at the next request
            self._stamp = self._stat()
            self._keys = read_keys(self.path)

    def _stat(self) -> tuple[int, int]:
        assert self.path is not None
        try:
            status = self.path.stat()
        except OSError:
            return (0, 0)
        return (status.st_mtime_ns, status.st_ino)

    def who(self, secret: str | None) -> Key | None:
        """Finds the key of a secret; None: there is none. A file that became unreadable changes nothing."""
        if self.path is None:
            return OPEN
        if (stamp := self._stat()) != self._stamp:
            self._stamp = stamp
            try:
                self._keys = read_keys(self.path)
            except ConfigError:
                import logging

                logging.getLogger(__name__).exception(
                    "the key file cannot be read; the earlier keys still hold"
                )
        match, secret_hash = None, _hash(secret or "")
        for key in self._keys:  # all of them, so that timing reveals nothing
            if hmac.compare_digest(secret_hash, key.sha256):
                match = key
        return match if secret else None

    def seconds_to_wait(self, key: Key) -> float:
        """Returns 0 and counts a request if the key may ask now; else the seconds until it may.

        A bucket of `per_minute` requests that fills evenly.
        """
        if key.per_minute is None:
            return 0.0
        now = self.clock()
        left, updated_at = self._left.get(key.name, (float(key.per_minute), now))
        left = min(float(key.per_minute), left + (now - updated_at) * key.per_minute / 60)
        if left < 1:
            self._left[key.name] = (left, now)
            return (1 - left) * 60 / key.per_minute
        self._left[key.name] = (left - 1, now)
        return 0.0
