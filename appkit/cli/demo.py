"""`appkit demo` finds bundles, starts a gateway for them unless one is named, and opens the gallery."""

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
# -P: Python must not import from the working directory
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
    """Shows a gallery until ctrl-C.

    task: the newest bundle of this pack; root: every bundle below; neither: the newest of each task below runs/.
    gateway: show what this one serves instead. rag: words `rag=INDEX` and `rag.KEY=VALUE` for the gateway that is
    started. Without a bundle of `task`, a page offers to train one.

    Raises ConfigError for an unknown task or a host that takes passwords, BundleError without bundles, RunError when a
    port is taken or the gateway does not start.
    """
    gallery = _load_gallery()
    if auth is None and not is_loopback(host):
        raise ConfigError(
            f"--host {host} lets other machines in, which takes passwords: --auth-file FILE with name:password lines"
        )
    if task is not None:
        load_task(task)
    store = Feedback(feedback, days=days) if feedback else None
    if store:
        store.expire()
    page_options = {"host": host, "port": port, "auth": auth, "say": say}
    launch_options: dict[str, Any] = {
        "apps": find_app,
        "key": key,
        "per_minute": per_minute,
        "feedback": store,
        **page_options,
    }
    if gateway is not None:
        if rag:
            raise ConfigError(
                f"{rag[0]} belongs to the gateway; give it to appkit serve, not beside --gateway"
            )
        if root is not None:
            raise ConfigError(
                f"--bundles {root} and --gateway {gateway} (or APPKIT_URL) exclude each other: give one of them"
            )
        gallery.launch(gateway, **launch_options)
        return
    bundle_root, every = root or Path("runs"), root is not None
    bundles = find_newest(bundle_root, task, every=every)
    if not bundles:
        if task is None:
            raise BundleError(f"no bundle below {bundle_root}; make one: appkit train task=nl2fol")
        command = ["appkit", "train", f"task={task}"]
        if every:  # the bundle is searched for below this directory afterwards
            command.append(f"run_dir={bundle_root / task / time.strftime('%Y%m%d-%H%M%S')}")
        say(f"no bundle of task {task} below {bundle_root}; make one: {' '.join(command)}   or in the page:")
        gallery.offer(command, lambda: run_command(command[1:]), **page_options)
        bundles = find_newest(bundle_root, task, every=every)
        if not bundles:
            raise BundleError(f"the training ended, but there is no bundle below {bundle_root}")
    # with a login, others open the page too: then its gateway has no admin key
    with run_gateway(bundles, engine, say, bundle_root, admin=auth is None, rag=rag) as (url, admin_key):
        gallery.launch(url, **launch_options | {"key": admin_key})


def _load_gallery() -> Any:
    """Loads the gallery's module. Raises AppkitError when it is not installed."""
    for entry in entry_points(group="appkit.gallery"):
        try:
            return entry.load()
        except ModuleNotFoundError as error:
            raise AppkitError(f"{error.name} is not installed; pip install 'appkit[apps]'") from None
    raise AppkitError("no gallery is installed; pip install 'appkit[apps]'")


def find_app(task: str) -> Any:
    """Finds the app of a task pack; None if it has none of its own."""
    return load_app(task) if task in modules("appkit.apps") else None


def find_newest(root: Path, task: str | None, *, every: bool = False) -> list[Path]:
    """Finds the newest bundle of each task (or of `task` alone) below `root`; with `every`, all bundles."""
    from appkit.bundles.manifest import find_bundles

    bundles: dict[str, list[Path]] = {}
    for path in find_bundles(root) if root.is_dir() else ():
        try:
            name = manifests.read_manifest(path, verify=False)["task"]["name"]
        except BundleError:
            continue  # half a run, or another's file of that name
        if task in (None, name):
            bundles.setdefault(name, []).append(path)
    return [path for paths in bundles.values() for path in (paths if every else paths[-1:])]


def run_command(words: Sequence[str]) -> Iterator[str]:
    """Runs an `appkit` command and yields its lines. Raises RunError with its last line when it fails."""
    process = _start_guarded(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
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
def run_gateway(
    bundles: Sequence[Path], engine: str, say: Say, bundle_root: Path, *, admin: bool, rag: Sequence[str] = ()
) -> Iterator[tuple[str, str | None]]:
    """Runs a gateway with these bundles, certified or not, until the context or this process ends.

    Yields its address and its admin key, None without `admin`. bundle_root: where the admin key may train and serve
    more. Raises RunError when it does not start.
    """
    words = ["serve", *map(str, bundles), *rag, "--port", "0", "--uncertified", "--engine", engine]
    with tempfile.TemporaryDirectory(prefix="appkit-demo-") as folder:
        key = add_key(Path(folder) / "keys.json", "demo", admin=True) if admin else None
        if admin:
            words += ["--more", str(bundle_root), "--keys", str(Path(folder) / "keys.json")]
        with _start_gateway(words, Path(folder) / "address", say) as url:
            yield url, key


@contextmanager
def _start_gateway(words: Sequence[str], address: Path, say: Say) -> Iterator[str]:
    """Starts a gateway and yields its address, which it writes to the file `address` once it answers."""
    process = _start_guarded([*words, "--address-file", str(address)], stderr=subprocess.PIPE)
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
        _forward_stderr(process)
        yield address.read_text(encoding="utf-8")
    finally:
        process.terminate()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()


def _start_guarded(
    words: Sequence[str], *, stdout: int | None = None, stderr: int | None = None
) -> subprocess.Popen[str]:
    """Starts an appkit command that ends when this process does, even by kill -9; ctrl-C does not reach it."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "appkit.serving.engines.guard", *APPKIT, *words],
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        start_new_session=True,
    )


def _forward_stderr(process: subprocess.Popen[str]) -> None:
    """Forwards the gateway's stderr from a thread: a full pipe would stop it."""

    def pass_on() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            sys.stderr.write(line)

    threading.Thread(target=pass_on, daemon=True).start()
