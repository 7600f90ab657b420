"""The cache: whole directories or none, one writer at a time, clear errors."""

import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from appkit.errors import AppkitError
from appkit.storage import atomic, cache


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("APPKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def make(kind: str, name: str, size: int = 10, age_days: float = 0.0) -> Path:
    path = atomic.cache_dir() / kind / name
    with atomic.staged(path) as stage:
        (stage / "file").write_bytes(b"x" * size)
    then = time.time() - age_days * 86400
    os.utime(path, (then, then))
    return path


def hidden(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.name.endswith(".tmp"))


def test_cache_dir_follows_the_environment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert atomic.cache_dir() == root
    monkeypatch.delenv("APPKIT_CACHE")
    assert atomic.cache_dir().name == "appkit"
    assert atomic.cache_dir() != root


def test_staged_appears_only_when_the_block_ends(root: Path) -> None:
    target = root / "models" / "a"
    with atomic.staged(target) as stage:
        (stage / "sub").mkdir()
        (stage / "sub" / "file").write_text("whole")
        assert not target.exists()
    assert (target / "sub" / "file").read_text() == "whole"
    assert hidden(target.parent) == []


def test_staged_leaves_nothing_after_a_failure_and_keeps_the_old(root: Path) -> None:
    target = make("models", "a")

    def fail() -> None:
        with atomic.staged(target) as stage:
            (stage / "half").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [p.name for p in target.iterdir()] == ["file"]
    assert hidden(target.parent) == []


def test_staged_replaces_the_old_as_a_whole(root: Path) -> None:
    target = make("models", "a")
    with atomic.staged(target) as stage:
        (stage / "new").write_text("new")
    assert [p.name for p in target.iterdir()] == ["new"]
    assert hidden(target.parent) == []


def test_staged_files_get_the_permissions_of_the_cache(root: Path) -> None:
    root.mkdir()
    root.chmod(0o755)
    target = root / "a"
    with atomic.staged(target) as stage:
        (stage / "private").write_text("x")
        (stage / "private").chmod(0o600)
    assert (target / "private").stat().st_mode & 0o777 == 0o644
    assert target.stat().st_mode & 0o777 == 0o755


def test_leftovers_of_dead_processes_go_and_those_of_living_ones_stay(root: Path) -> None:
    parent = root / "models"
    code = (
        "import os, pathlib; from appkit.storage import atomic; import signal\n"
        f"with atomic.staged(pathlib.Path({str(parent / 'a')!r})) as stage:\n"
        "    (stage / 'half').write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert len(hidden(parent)) == 1
    assert not (parent / "a").exists()
    with atomic.staged(parent / "a"):
        alive = hidden(parent)
        assert len(alive) == 1  # the dead one's is gone, ours is there
        with atomic.staged(parent / "a") as second:
            (second / "file").write_text("x")
        assert hidden(parent) == alive
    assert hidden(parent) == []


def test_too_little_space_names_needed_and_free_bytes(root: Path) -> None:
    message = r"999,999,999,999,999 bytes needed, [\d,]+ bytes free"
    with pytest.raises(AppkitError, match=message), atomic.staged(root / "a", need=999_999_999_999_999):
        pytest.fail("not reached")


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("I/O: No space left on device")]
)
def test_a_disk_that_fills_up_is_one_clear_line(root: Path, error: Exception) -> None:
    with pytest.raises(AppkitError, match=r"no space for .*bytes free"), atomic.staged(root / "models" / "a"):
        raise error
    assert hidden(root / "models") == []


@pytest.mark.parametrize(
    ("error", "here", "elsewhere"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "`appkit cache prune`", "`appkit runs prune`"),
        (PermissionError(errno.EACCES, "denied"), "set APPKIT_CACHE to one", "this user, or choose one"),
    ],
)
def test_the_remedy_fits_the_place(
    root: Path, tmp_path: Path, error: Exception, here: str, elsewhere: str
) -> None:
    for path, remedy, other in (
        (root / "models" / "a", here, elsewhere),
        (tmp_path / "runs" / "a", elsewhere, here),
    ):
        with pytest.raises(AppkitError) as caught, atomic.explained(path):
            raise error
        assert remedy in str(caught.value)
        assert other not in str(caught.value)


def test_other_errors_pass_unchanged(root: Path) -> None:
    with pytest.raises(ZeroDivisionError), atomic.staged(root / "models" / "a"):
        raise ZeroDivisionError


def test_an_unusable_cache_is_one_clear_line(root: Path) -> None:
    root.write_text("a file where a directory should be")  # also holds for root, unlike permissions
    with pytest.raises(AppkitError, match="APPKIT_CACHE"), atomic.staged(root / "models" / "a"):
        pytest.fail("not reached")
    with pytest.raises(AppkitError, match="APPKIT_CACHE"), atomic.locked(root / "models" / "a"):
        pytest.fail("not reached")


def test_the_lock_lets_one_in_and_the_other_says_it_waits(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = root / "models" / "a"
    order: list[str] = []

    def second() -> None:
        with atomic.locked(target):
            order.append("second")

    thread = threading.Thread(target=second)
    with atomic.locked(target):
        thread.start()
        deadline = time.time() + 10
        while "waiting for process" not in caplog.text and time.time() < deadline:
            time.sleep(0.01)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    assert f"waiting for process {os.getpid()}" in caplog.text


def test_write_text_replaces_at_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = root / "x.json"
    atomic.write_text(file, "old")

    def refuse(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(ZeroDivisionError):
        atomic.write_text(file, "new")
    assert file.read_text() == "old"
    assert [p.name for p in root.iterdir()] == ["x.json"]


def test_entries_are_listed_least_recently_used_first(root: Path) -> None:
    assert cache.entries() == []
    make("models", "new", size=5)
    old = make("views", "old", size=7, age_days=10)
    (root / "models" / ".hidden.tmp").mkdir()
    assert [(e.kind, e.name, e.bytes) for e in cache.entries()] == [("views", "old", 7), ("models", "new", 5)]
    cache.mark_used(old)
    assert [e.name for e in cache.entries()] == ["new", "old"]


def test_prune_by_age_and_by_name(root: Path) -> None:
    make("models", "new")
    make("models", "old", age_days=10)
    make("models", "older", age_days=20)
    assert [e.name for e in cache.prune(older_than_days=5, names={"older", "new"})] == ["older"]
    assert [e.name for e in cache.prune(older_than_days=5)] == ["old"]
    assert [e.name for e in cache.entries()] == ["new"]
    assert [e.name for e in cache.prune(names={"new"})] == ["new"]
    assert cache.entries() == []
    assert hidden(root / "models") == []
