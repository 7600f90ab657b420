"""`appkit serve` as a process of its own, or in a thread of this one, whose engines then can be the tests' own."""

import asyncio
import os
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def cold() -> Iterator[None]:
    """What is started meanwhile starts as a user starts it, with processes that are each other's children."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("APPKIT_WARM", raising=False)
        yield


@contextmanager
def running(*words: str, cwd: Path, env: Mapping[str, str] | None = None) -> Iterator[str]:
    """The URL of a gateway on a free port, once it is ready; afterwards it has ended well and in time."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from appkit.cli.main import main; main()", "serve", *words, "--port", "0"],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stderr=subprocess.PIPE,
        text=True,
    )
    said = ""
    try:
        assert process.stderr is not None
        for line in process.stderr:
            said += line
            if "ready after" in line:
                break
        found = re.search(r"http://[\d.]+:\d+", said)
        assert process.poll() is None, said
        assert found, said
        yield found[0]
    finally:
        process.terminate()
        rest = process.communicate(timeout=60)[1]
    assert process.returncode == 0, said + rest


@contextmanager
def in_thread(*words: str, **given: Any) -> Iterator[str]:
    """The URL of a gateway on a free port, once it is ready; it is ended as by SIGTERM."""
    from appkit.serving.gateway.serve import serve

    said: queue.Queue[str | BaseException] = queue.Queue()
    ends = []

    def run() -> None:
        try:
            serve(words, port=0, say=said.put, **given)
        except BaseException as error:
            said.put(error)

    def catch(loop: asyncio.AbstractEventLoop, number: int, end: Any) -> None:
        ends.append((loop, end))  # only a process's first thread may have signals

    lines = []
    thread = threading.Thread(target=run, daemon=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio.SelectorEventLoop, "add_signal_handler", catch)
        thread.start()
        while "ready after" not in "".join(lines):
            line = said.get(timeout=600)
            if isinstance(line, BaseException):
                raise line
            lines.append(line)
        found = re.search(r"http://[\d.]+:\d+", "".join(lines))
        assert found, lines
        try:
            yield found[0]
        finally:
            loop, end = ends[0]
            loop.call_soon_threadsafe(end)
            thread.join(60)
    assert not thread.is_alive()
