"""Atomic writes files and directories whole or not at all: they are staged, synced and renamed."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appkit.errors import AppkitError

__all__ = ["cache_dir", "explained", "file_sha256", "locked", "staged", "sync", "write_text"]


log = logging.getLogger(__name__)


FOREIGN_STALE_S = 24 * 3600.0
"""seconds after which another host's leftovers are removed: whether its process lives cannot be checked"""


def cache_dir() -> Path:
    """Find the cache: `$APPKIT_CACHE`, else this platform's cache directory of the user. It may not exist yet."""
    import platformdirs

    configured = os.environ.get("APPKIT_CACHE")
    return Path(configured).expanduser() if configured else Path(platformdirs.user_cache_dir("appkit"))


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Hold the inter-process lock of `target`; log a warning when it has to wait.

    The kernel frees the lock when its process ends, however it ends. Not re-entrant.
    Raises AppkitError when the directory cannot be written.
    """
    with explained(target, need=0):
        target.parent.mkdir(parents=True, exist_ok=True)
        handle = (target.parent / f".{target.name}.lock").open("a+")
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            log.warning("waiting for process %s, which is preparing %s", handle.read() or "?", target)
            fcntl.flock(handle, fcntl.LOCK_EX)
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield


@contextmanager
def staged(target: Path, *, need: int = 0) -> Iterator[Path]:
    """Yield an empty directory that becomes `target` when the block ends well, and vanishes otherwise.

    An older `target` is replaced. `need` is the space in bytes that must be free beforehand.
    Leftovers of dead processes are removed first. Raises AppkitError when there is no space or no permission.
    """
    with explained(target, need):
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(target)
        free = shutil.disk_usage(target.parent).free
        if free < need:
            raise AppkitError(_explain_no_space(target, need, free))
        prefix = f".{target.name}.{socket.gethostname()}.{os.getpid()}."
        stage = Path(tempfile.mkdtemp(prefix=prefix, suffix=".tmp", dir=target.parent))
    try:
        with explained(target, need):
            yield stage
            _open_and_sync(stage, mode=target.parent.stat().st_mode & 0o777)
            if target.exists():
                # A directory cannot replace a full one in one step; a reader of the old files keeps them open.
                os.rename(target, stage.with_suffix(".old.tmp"))
            os.rename(stage, target)
            sync(target.parent)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        shutil.rmtree(stage.with_suffix(".old.tmp"), ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Replace a file's whole content at once: a reader sees the old text or the new."""
    with explained(path, need=len(text)):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
                handle.write(text)
                handle.flush()
                os.fsync(handle.fileno())
            os.chmod(name, 0o644)  # mkstemp's 0600 would hide results from colleagues
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


@contextmanager
def explained(path: Path, need: int = 0) -> Iterator[None]:
    """Raises AppkitError with one clear line for 'no space' and 'no permission' inside the block."""
    try:
        yield
    except AppkitError:
        raise
    except Exception as error:
        # safetensors and torch.save report a full disk in their own exceptions' texts, without an errno.
        texts = ("No space left", "inline_container", "PytorchStreamWriter")
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        full = full or any(text in str(error) for text in texts)
        if full:
            raise AppkitError(
                _explain_no_space(path, need, shutil.disk_usage(_find_existing(path)).free)
            ) from error
        if (
            isinstance(error, PermissionError | NotADirectoryError)
            or getattr(error, "errno", 0) == errno.EROFS
            or (isinstance(error, FileExistsError) and Path(error.filename).is_file())
        ):
            raise AppkitError(
                f"cannot use {path}: {error}; give the directory to this user, or "
                + ("set APPKIT_CACHE to" if _in_cache(path) else "choose")
                + " one that can be written"
            ) from error
        raise


def _explain_no_space(path: Path, need: int, free: int) -> str:
    needed = f"{need:,} bytes needed" if need else "more needed"
    remedy = (
        "free some, run `appkit cache prune`, or set APPKIT_CACHE to another disk"
        if _in_cache(path)
        else "free some there, run `appkit runs prune`, or choose a directory on another disk (run_dir=)"
    )
    return f"no space for {path}: {needed}, {free:,} bytes free; {remedy}"


def _in_cache(path: Path) -> bool:
    return path.resolve().is_relative_to(cache_dir().resolve())


def _find_existing(path: Path) -> Path:
    """Find the nearest ancestor that exists."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _remove_stale(target: Path) -> None:
    """Delete the stages that interrupted processes left while preparing `target`."""
    for leftover in target.parent.glob(f".{target.name}.*.tmp"):
        pid = leftover.name.removeprefix(f".{target.name}.{socket.gethostname()}.").split(".")[0]
        old = time.time() - leftover.stat().st_mtime > FOREIGN_STALE_S
        stale = not _is_alive(int(pid)) if pid.isdigit() else old
        if stale:
            shutil.rmtree(leftover, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's process
        return True
    return True


def _open_and_sync(directory: Path, mode: int) -> None:
    """Give a tree its parent's permissions (those of mkdtemp and safetensors exclude other users) and sync it."""
    for root, _, names in os.walk(directory):
        for name in names:
            Path(root, name).chmod(mode & 0o666)
            sync(Path(root, name))
        Path(root).chmod(mode)
        sync(Path(root))


def sync(path: Path) -> None:
    """Sync a file's content, or a directory's names, to the disk, so that they survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_sha256(path: Path) -> str:
    """Compute the sha256 (hex) of a file's content."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
