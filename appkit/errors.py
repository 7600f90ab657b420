"""Errors holds every error that a user can cause, in one tree.

The command line prints such an error as one line and exits with code 2; anything else is a bug.
"""

import reprlib

__all__ = [
    "AppkitError",
    "BundleError",
    "ConfigError",
    "DataError",
    "GatewayError",
    "Interrupted",
    "ModelError",
    "RunError",
    "shortened",
]


class AppkitError(Exception):
    """Says in one line what is wrong, the value received, and the remedy."""


class ConfigError(AppkitError):
    """A key, a value or a preset does not exist or does not fit."""


class DataError(AppkitError):
    """Rows cannot be read, do not fit the task's schema, or would be cut."""


class ModelError(AppkitError):
    """A base model is missing, gated, corrupted or too large."""


class BundleError(AppkitError):
    """A bundle's files, base or schema version do not fit."""


class RunError(AppkitError):
    """A run directory is busy, unfinished or damaged."""


class GatewayError(AppkitError):
    """A gateway refused, or could not be reached (`status` None).

    told: the message is the gateway's own, not made by the client from another server's answer, such as a proxy's.
    """

    def __init__(self, message: str, *, status: int | None = None, told: bool = True) -> None:
        super().__init__(message)
        self.status, self.told = status, told


class Interrupted(AppkitError):
    """The user stopped the command; what a run had done is saved, and the message says how to go on."""


def shortened(value: object) -> str:
    """Write a value in one line of about 80 characters; cuts it before quoting, since it may be megabytes."""
    text = repr(value[:80]) if isinstance(value, str) else reprlib.repr(value)
    cut = len(text) > 80 or (isinstance(value, str) and len(value) > 80)
    return f"{text[:80]}…" if cut else text
