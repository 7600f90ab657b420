"""Seals certificates with a key of this machine, so that a gateway knows which ones were made here.

A seal is an HMAC-SHA256 over the certificate, which names the payload's sha: it cannot be moved to another bundle, and
nobody without the key can make one. Machines that share the key's file accept each other's certificates.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from appkit.errors import AppkitError, ConfigError
from appkit.storage.atomic import locked, sync

__all__ = ["add_seal", "find_seal_fault", "key_file", "require_key"]

KEY_BYTES = 32


def key_file() -> Path:
    """Finds the key's file, made or not: `$APPKIT_SEAL_KEY`, else in this platform's data directory of the user."""
    import platformdirs

    configured = os.environ.get("APPKIT_SEAL_KEY")
    return (
        Path(configured).expanduser()
        if configured
        else Path(platformdirs.user_data_dir("appkit"), "seal.key")
    )


def require_key() -> bytes:
    """Reads this machine's key; makes it when there is none, one for all processes, readable by this user alone.

    Raises ConfigError where it cannot be made or read, or the file holds no key.
    """
    path = key_file()
    try:
        if not path.exists():
            with locked(path):
                if not path.exists():  # another process may have made it meanwhile
                    _write_key(path)
        return _read_key(path)
    except ConfigError:
        raise
    except (AppkitError, OSError) as error:
        raise ConfigError(
            f"the key that certificates are sealed with cannot be made or read: {error}; "
            "name a file that this user can write in APPKIT_SEAL_KEY"
        ) from None


def _write_key(path: Path) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(secrets.token_bytes(KEY_BYTES))
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(name, path)
        sync(path.parent)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _read_key(path: Path) -> bytes:
    with path.open("rb") as handle:
        key = handle.read(KEY_BYTES + 1)
    if len(key) != KEY_BYTES:
        raise ConfigError(
            f"{path} is no key of certificates: it has {'more' if len(key) > KEY_BYTES else len(key)} bytes, a key has "
            f"{KEY_BYTES}; copy it again, or remove it and certify anew: appkit recertify --all"
        )
    return key


def add_seal(certificate: Mapping[str, Any]) -> dict[str, Any]:
    """Adds the seal of this machine to a certificate's values. Raises ConfigError as `require_key`."""
    key = require_key()
    return {**certificate, "seal": {"key": _name_key(key), "hmac": _compute_hmac(certificate, key)}}


def find_seal_fault(certificate: Mapping[str, Any]) -> str | None:
    """Says why a certificate does not count as made on this machine; None: it does. Makes no key."""
    seal = certificate.get("seal")
    if seal is None:
        return "has no seal"
    try:
        key = _read_key(key_file())
    except FileNotFoundError:
        return f"was sealed with the key {seal['key']}, and this machine has none yet"
    except (OSError, ConfigError):
        return f"was sealed with the key {seal['key']}, and this machine's cannot be read"
    if not hmac.compare_digest(seal["key"], _name_key(key)):
        return f"was sealed with the key {seal['key']}, this machine's is {_name_key(key)}"
    if not hmac.compare_digest(seal["hmac"], _compute_hmac(certificate, key)):
        return "was changed after it was sealed"
    return None


def _name_key(key: bytes) -> str:
    """Names a key without telling it."""
    return hashlib.sha256(key).hexdigest()[:8]


def _compute_hmac(certificate: Mapping[str, Any], key: bytes) -> str:
    values = {name: value for name, value in certificate.items() if name != "seal"}
    content = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hmac.new(key, content.encode(), "sha256").hexdigest()
