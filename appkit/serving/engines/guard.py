"""Runs a command and ends it, with all its processes, when the process that asked for it is gone.

    python -m appkit.serving.engines.guard COMMAND...

Standard input is a pipe whose other end the gateway holds. It closes however the gateway ends, by kill -9 too, and an
engine of several processes must never be left behind. A byte that comes through it is a ctrl-C for the command, which
ends in its own way: unlike a signal it cannot come before the guard is there to pass it on.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

GRACE_S = 10.0


def main() -> int:
    """Runs the command; returns its exit code, or 128 + the signal that ended it."""
    # a shell's background job ignores ctrl-C, and so would all that it starts
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # not in the handler itself: it would interrupt the wait, and wait for it
        signal.signal(number, lambda *_: threading.Thread(target=_end, args=(child,), daemon=True).start())
    threading.Thread(target=_watch_stdin, args=(child,), daemon=True).start()
    code = child.wait()
    _signal(child, signal.SIGKILL)  # processes that it started and left behind
    return code if code >= 0 else 128 - code


def _watch_stdin(child: subprocess.Popen[bytes]) -> None:
    while os.read(0, 1):
        _signal(child, signal.SIGINT)
    _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    _signal(child, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    _signal(child, signal.SIGKILL)


def _signal(child: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, number)


if __name__ == "__main__":
    sys.exit(main())
