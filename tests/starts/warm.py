"""Starts the commands of appkit and of vLLM as forks of a process that has imported all they need.

A small command takes 10 to 20 s, of which all but one are imports. The first process of a session keeps a socket for
each kind of command (`Sockets`); whoever asks there first starts the kind's server (this file, run). In a process that
is about to become such a command, sitecustomize calls `relay`: it sends its words, directory, environment and standard
streams to the server, stands for the child that this forks (signals go on to it, its end is theirs both), and is its
life line: without it the child is killed.

A test whose subject is the start itself takes APPKIT_WARM out of the environment.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

APPKIT = "from appkit.cli.main import main; main()"
VLLM = "vllm.entrypoints.openai.api_server"
HEAVY = {
    "appkit": "bitsandbytes datasketch fastapi gradio matplotlib.pyplot pandas peft plotly pyarrow.parquet "
    "scipy.stats sklearn.feature_extraction.text sklearn.linear_model sqlite3 starlette.testclient uvicorn xgrammar z3 "
    "transformers.models.llama.modeling_llama transformers.generation.utils transformers.trainer",
    "vllm": f"{VLLM} vllm.v1.engine.core vllm.v1.worker.cpu_worker vllm.model_executor.models.llama vllm.lora.layers "
    "vllm.model_executor.model_loader.default_loader appkit.vllm_plugin.grouped appkit.vllm_plugin.door",
}
SETTLED = ("HF_", "HOME", "LC_", "LANG", "TRANSFORMERS_", "XDG_", "GRADIO_", "PYTHONUTF8", "PYTHONIOENCODING")
"""Variables that are read while something is imported: where they differ, a process starts by itself."""
OURS = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "True",
    "TRANSFORMERS_VERBOSITY": "error",
}
"""of these, what appkit's commands and pages set themselves, before they import what reads it"""


def kind_of(words: list[str]) -> str | None:
    """The server that has what `python WORDS` needs; None: it starts by itself."""
    if words[:1] == ["-P"]:
        words = words[1:]
    if words[:2] == ["-m", VLLM]:
        return "vllm"
    is_command = words[:2] == ["-c", APPKIT] or (
        words and words[0] == str(Path(sys.executable).with_name("appkit"))
    )
    is_code = os.environ.get("APPKIT_WARM_CODE") == "1" and words and words[0] != "-m"
    return "appkit" if is_command or is_code else None


# --- the command that is asked for -----------------------------------------------------------------------


def relay(kind: str, place: Path) -> None:
    """Stands for the child that the server forks, and ends as it does; returns when there is none."""
    line = socket.socket(socket.AF_UNIX)
    try:
        line.connect(str(place / kind))
        request = {"words": sys.orig_argv, "cwd": os.getcwd(), "env": dict(os.environ)}
        data = json.dumps(request).encode()
        socket.send_fds(line, [len(data).to_bytes(8, "big")], [0, 1, 2])
        line.sendall(data)
        answers = line.makefile("r")
        pid = json.loads(answers.readline())
    except (OSError, ValueError):
        return
    if not pid:
        return
    null = os.open(os.devnull, os.O_RDWR)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: pass_on(pid, number))
    for stream in (0, 1, 2):
        os.dup2(null, stream)  # the child's end is the only one: who reads it sees when it closes
    end = answers.readline()
    code = json.loads(end) if end else -signal.SIGKILL
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        os.kill(os.getpid(), -code)
    os._exit(code)


def pass_on(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


# --- the session -----------------------------------------------------------------------------------------


class Sockets:
    """The sockets of a session; a server starts when its socket is first asked, and ends with this process."""

    def __init__(self) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="appkit-warm-"))
        self.servers: list[subprocess.Popen[bytes]] = []
        for kind in HEAVY:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(self.place / kind))
            listener.listen(64)
            threading.Thread(target=self._wait, args=(kind, listener), daemon=True).start()

    def _wait(self, kind: str, listener: socket.socket) -> None:
        with selectors.DefaultSelector() as first_request:
            first_request.register(listener, selectors.EVENT_READ)
            first_request.select()
        environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        environment |= {"HF_HUB_OFFLINE": "1"} if kind == "vllm" else OURS
        command = [sys.executable, "-P", __file__, kind, str(listener.fileno())]
        self.servers.append(
            subprocess.Popen(
                command, stdin=subprocess.PIPE, pass_fds=[listener.fileno()], env=environment, stdout=2
            )
        )
        listener.close()

    def close(self) -> None:
        for server in self.servers:
            server.stdin.close()  # type: ignore[union-attr]
            server.wait()


# --- the server ------------------------------------------------------------------------------------------


class Server:
    """Forks a child for each request; one thread, so that a fork finds no lock taken."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.selector = selectors.DefaultSelector()
        self.children: dict[int, tuple[socket.socket, int]] = {}

    def serve(self) -> dict[str, Any] | None:
        """In the child: what it is to become. In the server: None, at its end."""
        self.selector.register(0, selectors.EVENT_READ, self._end)
        self.selector.register(self.listener, selectors.EVENT_READ, self._accept)
        while True:
            for key, _ in self.selector.select():
                with suppress(EndOfSession):
                    request = key.data(key.fileobj)
                    if request:
                        return request  # type: ignore[no-any-return]
                    continue
                for pid in self.children:
                    os.kill(pid, signal.SIGKILL)
                return None

    def _end(self, stdin: int) -> None:
        if not os.read(stdin, 1):
            raise EndOfSession

    def _accept(self, listener: socket.socket) -> dict[str, Any] | None:
        line, _ = listener.accept()
        streams: list[int] = []
        try:
            head, streams, _, _ = socket.recv_fds(line, 8, 3)
            request = json.loads(receive(line, int.from_bytes(head, "big")))
            differing = settled_otherwise(request["env"])
            if differing:
                print(f"started cold, for {', '.join(differing)}: {request['words'][1:6]}", file=sys.stderr)
                line.sendall(b"0\n")
        except (OSError, ValueError):  # who asked has ended
            differing = ["all"]
        if differing:
            line.close()
        elif not (pid := os.fork()):
            self._leave(line, streams)
            return request  # type: ignore[no-any-return]
        else:
            handle = os.pidfd_open(pid)
            self.children[pid] = line, handle
            self.selector.register(handle, selectors.EVENT_READ, lambda _: self._ended(pid))
            self.selector.register(line, selectors.EVENT_READ, lambda _: self._left(pid))
            with suppress(OSError):
                line.sendall(f"{pid}\n".encode())
        # whoever reads their other ends waits until all of these are closed
        for stream in streams:
            os.close(stream)
        return None

    def _leave(self, line: socket.socket, streams: list[int]) -> None:
        """In the child: take the streams, and close what is the server's."""
        os.setsid()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        for other, handle in self.children.values():
            other.close()
            os.close(handle)
        line.close()
        self.listener.close()
        self.selector.close()

    def _ended(self, pid: int) -> None:
        line, handle = self.children.pop(pid)
        self.selector.unregister(handle)
        os.close(handle)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with suppress(KeyError):
            self.selector.unregister(line)
        with suppress(OSError):
            line.sendall(f"{code}\n".encode())
        line.close()

    def _left(self, pid: int) -> None:
        """Who asked for the child was killed."""
        self.selector.unregister(self.children[pid][0])
        os.kill(pid, signal.SIGKILL)


class EndOfSession(Exception):
    pass


def receive(line: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = line.recv(size - len(data))
        if not part:
            raise OSError("the command has ended")
        data += part
    return data


def settled_otherwise(environment: dict[str, str]) -> list[str]:
    """The variables for which what was imported here would not have been the same there."""
    names = {name for name in (*environment, *os.environ) if name.startswith(SETTLED)} - OURS.keys()
    differing = sorted(name for name in names if environment.get(name) != os.environ.get(name))
    theirs = environment.get("PYTHONPATH", "").split(os.pathsep)
    missing = set(os.environ.get("PYTHONPATH", "").split(os.pathsep)) - set(theirs)
    return differing + (["PYTHONPATH"] if missing else [])


def become(request: dict[str, Any]) -> None:
    """Runs the words as Python would have run them."""
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False, errors="backslashreplace")  # noqa: SIM115
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]
    ours = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    own = {name: os.environ[name] for name in OURS if name in os.environ}
    os.environ.clear()
    os.environ.update(own | request["env"])
    os.chdir(request["cwd"])
    more = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path not in ours]
    sys.path[:0] = more
    sys.orig_argv = request["words"]
    words = request["words"][1:]
    torch = sys.modules["torch"]
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0))))
    unsafe = words[0] != "-P"
    words = words if unsafe else words[1:]
    space: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
    sys.modules["__main__"].__dict__.update(space)
    if words[0] == "-m":
        import runpy

        sys.argv = ["-m", *words[2:]]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        sys.path[:0] = [""] if unsafe else []
        exec(compile(words[1], "<string>", "exec"), space)
    else:
        import runpy

        sys.argv = list(words)
        sys.path[:0] = [str(Path(words[0]).resolve().parent)] if unsafe else []
        runpy.run_path(words[0], run_name="__main__")


def end(command: Callable[[], None]) -> NoReturn:
    """Runs it and ends as Python does, without taking apart the modules: it was not this process that made them."""
    code: Any = 0
    try:
        command()
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
        code = 1
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]  # waits for those that are no daemons
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit((code or 0) & 0xFF)


def warm_up(kind: str) -> None:
    import importlib
    import pkgutil

    import appkit

    for name in HEAVY[kind].split():
        with suppress(ImportError):
            importlib.import_module(name)
    if kind == "appkit":
        import appkit_apps
        import appkit_tasks
        import matplotlib

        matplotlib.use("Agg")
        for package in (appkit, appkit_tasks, appkit_apps):
            for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
                if "vllm_plugin" not in module.name and ".tests" not in module.name:
                    importlib.import_module(module.name)
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    warm_up(sys.argv[1])
    command = Server(socket.socket(fileno=int(sys.argv[2]))).serve()
    if not command:
        os._exit(0)
    end(lambda: become(command))
