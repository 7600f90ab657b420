"""Files opens the files of a bundle, which may come from a stranger: no links, no devices, no unbounded JSON.

Each part of a name is opened relative to its directory, so that no link leads out of the bundle, not even one that is
put there between a check and the reading.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

from appkit.data.objects import DuplicateKeyError, make_object
from appkit.errors import BundleError, shortened

__all__ = ["escape", "hash_file", "open_file", "read_bytes", "read_object"]

DEPTH = 24
"""brackets inside brackets, at most; a manifest of ours has eight"""
LONGEST_TEXT = 8_000_000
"""characters of one text"""
LARGEST_INTEGER = 2**53
"""integers that every reader of JSON reads alike"""
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def escape(text: str) -> str:
    """Write a text in one line: control characters, and bytes of a name that are no UTF-8, as escapes."""
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


@contextmanager
def open_file(folder: Path, name: str) -> Iterator[BufferedReader]:
    """Open a file of the directory `folder`; name: parts below it, separated by "/".

    Raises FileNotFoundError (or NotADirectoryError) when it is not there, BundleError when it, or a directory on the
    way below `folder`, is a link, or when it is no regular file.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in name.split("/"):
        parent = descriptor
        try:
            descriptor = os.open(part, _FLAGS, dir_fd=parent)
        except OSError:
            if (folder / name).is_symlink() or (folder / name).parent.is_symlink():
                raise BundleError(
                    f"{folder / name} is a link, which is not followed; copy the bundle instead"
                ) from None
            raise
        finally:
            os.close(parent)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BundleError(f"{folder / name} is no regular file; copy the bundle again")
    with os.fdopen(descriptor, "rb") as handle:
        yield handle


def hash_file(folder: Path, name: str, most: int) -> str | None:
    """Compute the SHA-256 of a file, in hexadecimal; None where it has more than `most` bytes.

    Raises as `open_file`.
    """
    with open_file(folder, name) as handle:
        # before it is read: a sparse one takes no room on the disk, and hours to hash
        if os.fstat(handle.fileno()).st_size > most:
            return None
        return hashlib.file_digest(handle, "sha256").hexdigest()


def read_bytes(folder: Path, name: str, most: int) -> bytes | None:
    """Read a file of at most so many bytes; None where it is larger. Raises as `open_file`."""
    with open_file(folder, name) as handle:
        content = handle.read(most + 1)
    return content if len(content) <= most else None


def read_object(folder: Path, name: str, most: int) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Raises as `open_file`, and BundleError for more than `most` bytes, for what is no JSON in UTF-8, for a key that
    comes twice, numbers that are not finite or too large, texts that are too long or hold half a character, and deep
    nesting.
    """
    path = folder / name
    content = read_bytes(folder, name, most)
    if content is None:
        raise BundleError(f"{path} has more than {most} bytes, which no bundle needs; copy the bundle again")
    try:
        value = json.loads(
            content.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=make_object
        )
        _check_values(value)
    except DuplicateKeyError as error:
        raise BundleError(
            f"{path} cannot be read: the key {escape(shortened(error.key))} comes twice; copy the bundle again"
        ) from None
    except RecursionError:
        raise BundleError(
            f"{path} cannot be read: it is nested deeper than {DEPTH}; copy the bundle again"
        ) from None
    except ValueError as error:
        raise BundleError(f"{path} cannot be read: {escape(str(error))}; copy the bundle again") from None
    if not isinstance(value, dict):
        raise BundleError(f"{path} is damaged: it holds no object; copy the bundle again")
    return value


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")


def _check_values(value: Any) -> None:
    """Raise ValueError for what pydantic's models do not look at wherever it stands."""
    waiting: list[tuple[Any, int]] = [(value, 1)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, dict | list):
            if depth > DEPTH:
                raise ValueError(f"it is nested deeper than {DEPTH}")
            inner = [*value, *value.values()] if isinstance(value, dict) else value
            waiting.extend((item, depth + 1) for item in inner)
        elif isinstance(value, str):
            if len(value) > LONGEST_TEXT:
                raise ValueError(f"a text has {len(value)} characters, at most {LONGEST_TEXT} are read")
            if any("\ud800" <= character <= "\udfff" for character in value):
                raise ValueError(f"{shortened(value)} holds half a character")
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError("a number is too large")
        elif isinstance(value, int) and abs(value) > LARGEST_INTEGER:
            raise ValueError(f"the number {shortened(value)} is too large")
