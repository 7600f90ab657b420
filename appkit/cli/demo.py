"""`appkit demo`: find the bundles, start a gateway for them unless there is one, and open the gallery."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from appkit.bundles import manifest as manifests
from appkit.data.feedback import Feedback
from appkit.errors import AppkitError, BundleError, ConfigError, RunError
from appkit.loopback import is_loopback
from appkit.plugins import load_app, load_task, modules
from appkit.serving.gateway.keys import add_key

__all__ = ["demo"]

Say = Callable[[str], None]
# -P: what lies in the working directory is no module of ours
APPKIT = (sys.executable, "-P", "-c", "from appkit.cli.main import main; main()")


def demo(
    task: str | None = None,
    *,
    root: Path | None = None,
    gateway: str | None = None,
    key: str | None = None,
    host: str = "127.0.0.1",
    port: int = 7860,
    auth: Path | None = None,
    feedback: Path | None = None,
    days: int = 90,
    per_minute: int = 600,
    engine: str = "auto",
    rag: Sequence[str] = (),
    say: Say = print,
) -> None:
    """Show a gallery until ctrl-C.

    task: the newest bundle of this pack; root: every bundle below; neither: the newest of each task below runs/.
    gateway: show what this one serves instead. rag: words `rag=INDEX` and `rag.KEY=VALUE` for the gateway that is
    started. Without a bundle of `task`, a page offers to train one.

    Raises ConfigError for an unknown task or a host that takes passwords, BundleError without bundles, RunError when a
    port is taken or the gateway does not start.
    """
    gallery = _gallery()
    if auth is None and not is_loopback(host):
        raise ConfigError(
            f"--host {host} lets other machines in, which takes passwords: --auth-file FILE with name:password lines"
        )
    if task is not None:
        load_task(task)
    store = Feedback(feedback, days=days) if feedback else None
    if store:
        store.expire()
    shown = {"host": host, "port": port, "auth": auth, "say": say}
    given: dict[str, Any] = {"apps": app_of, "key": key, "per_minute": per_minute, "feedback": store, **shown}
    if gateway is not None:
        if rag:
            raise ConfigError(
                f"{rag[0]} belongs to the gateway; give it to appkit serve, not beside --gateway"
            )
        if root is not None:
            raise ConfigError(
                f"--bundles {root} and --gateway {gateway} (or APPKIT_URL) exclude each other: give one of them"
            )
        gallery.launch(gateway, **given)
        return
    below, every = root or Path("runs"), root is not None
    found = newest(below, task, every=every)
    if not found:
        if task is None:
            raise BundleError(f"no bundle below {below}; make one: appkit train task=nl2fol")
        command = ["appkit", "train", f"task={task}"]
        if every:  # where it is looked for afterwards
            command.append(f"run_dir={below / task / time.strftime('%Y%m%d-%H%M%S')}")
        say(f"no bundle of task {task} below {below}; make one: {' '.join(command)}   or in the page:")
        gallery.offer(command, lambda: trained(command[1:]), **shown)
        found = newest(below, task, every=every)
        if not found:
            raise BundleError(f"the training ended, but there is no bundle below {below}")
    # its gateway has an admin key only where nobody but who sits at this machine opens the page
    with serving(found, engine, say, below, admin=auth is None, rag=rag) as (url, own):
        gallery.launch(url, **given | {"key": own})


def _gallery() -> Any:
    """The gallery's module. Raises AppkitError when it is not installed."""
    for entry in entry_points(group="appkit.gallery"):
        try:
            return entry.load()
        except ModuleNotFoundError as error:
            raise AppkitError(f"{error.name} is not installed; pip install 'appkit[apps]'") from None
    raise AppkitError("no gallery is installed; pip install 'appkit[apps]'")


def app_of(task: str) -> Any:
    """The app of a task pack, None if it has none of its own."""
    return load_app(task) if task in modules("appkit.apps") else None


def newest(root: Path, task: str | None, *, every: bool = False) -> list[Path]:
    """Bundles below `root`: of each task (or of `task` alone) the newest, or all of them."""
    from appkit.bundles.manifest import find_bundles

    found: dict[str, list[Path]] = {}
    for path in find_bundles(root) if root.is_dir() else ():
        try:
            name = manifests.read_manifest(path, verify=False)["task"]["name"]
        except BundleError:
            continue  # half a run, or another's file of that name
        if task in (None, name):
            found.setdefault(name, []).append(path)
    return [path for paths in found.values() for path in (paths if every else paths[-1:])]


def trained(words: Sequence[str]) -> Iterator[str]:
    """The lines of an `appkit` command as it runs. Raises RunError with its last line when it fails."""
    process = _guarded(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    last = ""
    try:
        for line in process.stdout:
            if line.strip():
                last = line.strip()
                yield last
        if process.wait():
            raise RunError(last or f"it ended with status {process.returncode}")
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


@contextmanager
def serving(
    found: Sequence[Path], engine: str, say: Say, below: Path, *, admin: bool, rag: Sequence[str] = ()
) -> Iterator[tuple[str, str | None]]:
    """The address of a gateway with these bundles, certified or not; it ends with the context, and with this process.

    below: where it may train and serve more, for the admin key that comes with the address; None without `admin`.
    Raises RunError when it does not start.
    """
    words = ["serve", *map(str, found), *rag, "--port", "0", "--uncertified", "--engine", engine]
    with tempfile.TemporaryDirectory(prefix="appkit-demo-") as folder:
        key = add_key(Path(folder) / "keys.json", "demo", admin=True) if admin else None
        if admin:
            words += ["--more", str(below), "--keys", str(Path(folder) / "keys.json")]
        with _gateway(words, Path(folder) / "address", say) as url:
            yield url, key


@contextmanager
def _gateway(words: Sequence[str], address: Path, say: Say) -> Iterator[str]:
    """Starts a gateway; yields the address, which it writes into a file once it answers, before it says so."""
    process = _guarded([*words, "--address-file", str(address)], stderr=subprocess.PIPE)
    assert process.stderr is not None
    last = "it printed nothing"
    try:
        for line in process.stderr:
            if address.exists():
                break
            last = line.rstrip()
            say(last)
        else:
            process.wait()
            raise RunError(f"the gateway did not start: {last}")
        _drained(process)
        yield address.read_text(encoding="utf-8")
    finally:
        process.terminate()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()


def _guarded(
    words: Sequence[str], *, stdout: int | None = None, stderr: int | None = None
) -> subprocess.Popen[str]:
    """An appkit command that ends when this process does, however it ends; ctrl-C in the terminal does not reach it."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "appkit.serving.engines.guard", *APPKIT, *words],
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        start_new_session=True,
    )


def _drained(process: subprocess.Popen[str]) -> None:
    """Pass on what the gateway says from now on: a full pipe would stop it."""

    def pass_on() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            sys.stderr.write(line)

    threading.Thread(target=pass_on, daemon=True).start()
