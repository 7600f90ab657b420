"""The command line in forked processes, so that the heavy imports are paid once.

`Commands` starts this file as a server. It imports what a run needs, computes nothing, and forks a child for
each command; the child is `appkit.cli.main.main` with its own arguments, directory and standard streams. A child
can be killed at a time, at a file operation, or in the middle of a write, and its disk can be full.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NO_MOUNT = 77
"""Exit code of a child that may not mount a file system of its own."""


@dataclass(frozen=True)
class Done:
    """How a command ended: its exit code, or the negative number of the signal that ended or stopped it."""

    code: int
    stdout: str
    stderr: str
    seconds: float
    pid: int


class Commands:
    """The client. Options of `run` (all but cwd may be absent):

    stdin: text. env: more variables. sites: directories before Python's path. after: seconds until SIGKILL.
    at: {"path": regex, "nth": from 1, "do": ...}, what to do at the n-th file operation (`open x`,
    `os.rename x y`, ...) that the regex finds: kill, interrupt, stop, or fill (the disk of `folder`, but for
    `leave` bytes).
    file_bytes: the process dies in the write that passes this size.
    disk: {"path": mount a small file system there, "bytes": its size, "copy": where its files go at the end}.
    """

    def __init__(self, cache: Path, threads: int = 1) -> None:
        self.server = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ
            | {
                "APPKIT_CACHE": str(cache),
                "OMP_NUM_THREADS": str(threads),
                "TOKENIZERS_PARALLELISM": "false",
            },
        )

    def run(self, *args: str, cwd: Path, **options: Any) -> Done:
        return self._ask({"args": args, "cwd": str(cwd), **options})

    def go_on(self, pid: int) -> Done:
        """Let a stopped child run to its end."""
        return self._ask({"go_on": pid})

    def _ask(self, request: dict[str, Any]) -> Done:
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        answer = self.server.stdout.readline()
        if not answer:
            raise RuntimeError("the server of forked commands died")
        return Done(**json.loads(answer))

    def close(self) -> None:
        assert self.server.stdin is not None
        self.server.stdin.close()
        self.server.wait(30)


# --- the server ------------------------------------------------------------------------------------------


def _warm_up() -> None:
    import matplotlib

    matplotlib.use("Agg")
    import appkit_tasks.nl2fol  # noqa: F401
    import bitsandbytes  # noqa: F401
    import datasketch  # noqa: F401
    import matplotlib.pyplot
    import peft  # noqa: F401
    import z3  # noqa: F401
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, Trainer  # noqa: F401
    from transformers.models.llama import modeling_llama  # noqa: F401

    gc.freeze()  # children need not look through all of this again


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _warm_up()
    folder = Path(tempfile.mkdtemp(prefix="forked-"))
    streams: dict[int, tuple[Path, float]] = {}
    try:
        for number, line in enumerate(sys.stdin):
            request = json.loads(line)
            if "go_on" in request:
                pid = request["go_on"]
                os.kill(pid, signal.SIGCONT)
            else:
                place, began = folder / str(number), time.monotonic()
                place.mkdir()
                (place / "stdin").write_text(request.get("stdin") or "")
                for name in ("stdout", "stderr"):
                    (place / name).touch()
                pid = os.fork()
                if not pid:
                    _child(request, place)
                streams[pid] = place, began
            code = _wait(pid, request.get("after"))
            place, began = streams[pid]
            texts = [(place / name).read_text(errors="replace") for name in ("stdout", "stderr")]
            done = Done(code, *texts, time.monotonic() - began, pid)
            answers.write(json.dumps(vars(done)) + "\n")
            answers.flush()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(pid: int, after: float | None) -> int:
    if after is not None:
        end = time.monotonic() + after
        while time.monotonic() < end:
            found, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
            if found:
                return _code(status)
            time.sleep(0.002)
        os.kill(pid, signal.SIGKILL)
    return _code(os.waitpid(pid, os.WUNTRACED)[1])


def _code(status: int) -> int:
    return -os.WSTOPSIG(status) if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)


# --- the child -------------------------------------------------------------------------------------------


def _child(request: dict[str, Any], place: Path) -> None:
    code = 1
    try:
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            flags = os.O_RDONLY if name == "stdin" else os.O_WRONLY | os.O_APPEND
            os.dup2(os.open(place / name, flags), number)
        sys.stdin, sys.stdout, sys.stderr = (os.fdopen(n, mode) for n, mode in ((0, "r"), (1, "w"), (2, "w")))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.update(request.get("env") or {})
        sys.path[:0] = request.get("sites") or []
        os.chdir(request["cwd"])
        code = _on_disk(request)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _on_disk(request: dict[str, Any]) -> int:
    disk = request.get("disk")
    if not disk:
        return _command(request)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x00020000 | (0 if os.geteuid() == 0 else 0x10000000)):  # CLONE_NEWNS, CLONE_NEWUSER
        return NO_MOUNT
    path = disk["path"].encode()
    libc.mount(None, b"/", None, 0x4000 | 0x40000, None)  # MS_REC | MS_PRIVATE: nobody else sees it
    if libc.mount(b"tmpfs", path, b"tmpfs", 0, f"size={disk['bytes']}".encode()):
        return NO_MOUNT
    try:
        return _command(request)
    finally:
        (Path(disk["path"]) / "filler").unlink(missing_ok=True)
        shutil.copytree(disk["path"], disk["copy"], dirs_exist_ok=True)


def _command(request: dict[str, Any]) -> int:
    from appkit.cli.main import main

    if "at" in request:
        sys.addaudithook(_Watch(**request["at"]))
    if "file_bytes" in request:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_bytes"],) * 2)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    sys.argv = ["appkit", *request["args"]]
    try:
        main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    return 0


class _Watch:
    """An audit hook that acts at the n-th file operation of a kind."""

    EVENTS = (
        "open",
        "os.rename",
        "os.remove",
        "os.rmdir",
        "os.mkdir",
        "os.chmod",
        "os.listdir",
        "shutil.rmtree",
    )

    def __init__(self, path: str, nth: int, do: str, leave: int = 0, folder: str = ".") -> None:
        self.path, self.left, self.do, self.leave, self.folder = (
            re.compile(path),
            nth,
            do,
            leave,
            Path(folder),
        )

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if event not in self.EVENTS or not self.left:
            return
        names = " ".join(os.fsdecode(arg) for arg in args if isinstance(arg, (str, bytes, os.PathLike)))
        if not self.path.search(f"{event} {names}"):
            return
        self.left -= 1
        if not self.left:
            getattr(self, self.do)()

    def kill(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def interrupt(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    def stop(self) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)

    def fill(self) -> None:
        free = shutil.disk_usage(self.folder).free - self.leave
        (self.folder / "filler").write_bytes(bytes(free))


if __name__ == "__main__":
    _serve()
