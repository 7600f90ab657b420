"""Every error that a user can cause, in one tree.

The command line prints such an error as one line and exits with code 2; anything else is a bug.
"""

__all__ = [
    "AppkitError",
    "BundleError",
    "ConfigError",
    "DataError",
    "GatewayError",
    "Interrupted",
    "ModelError",
    "RunError",
]


class AppkitError(Exception):
    """One clear line: what is wrong, the value received, the remedy."""


class ConfigError(AppkitError):
    """A key, a value or a preset that does not exist or does not fit."""


class DataError(AppkitError):
    """Rows that cannot be read, do not fit the task's schema, or would be cut."""


class ModelError(AppkitError):
    """A base model that is missing, gated, corrupted or too large."""


class BundleError(AppkitError):
    """A bundle whose files, base or schema version do not fit."""


class RunError(AppkitError):
    """A run directory that is busy, unfinished or damaged."""


class GatewayError(AppkitError):
    """What a gateway answered instead, or that it could not be reached (`status` None).

    told: whether the message is the gateway's own, and not what was made of another's answer, a proxy's for example.
    """

    def __init__(self, message: str, *, status: int | None = None, told: bool = True) -> None:
        super().__init__(message)
        self.status, self.told = status, told


class Interrupted(AppkitError):
    """The user stopped the command; what a run had done is saved, and the message says how to go on."""
