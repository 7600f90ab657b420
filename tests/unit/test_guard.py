"""The guard ends a command, and all that it started, when whoever asked for it is gone."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import psutil

# a command with a child of its own, which both ignore the polite signal when told so
FAMILY = """
import os, signal, subprocess, sys, time
if sys.argv[1] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(os.getpid(), child.pid, flush=True)
if sys.argv[1] == "short":
    sys.exit(3)
time.sleep(600)
"""


def guarded(how: str) -> tuple[subprocess.Popen[bytes], list[int]]:
    """The guard's process, and the two that it guards."""
    guard = subprocess.Popen(
        [sys.executable, "-m", "appkit.serving.engines.guard", sys.executable, "-c", FAMILY, how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # as in `appkit serve ... &`
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # type: ignore[arg-type, return-value]
    )
    assert guard.stdout is not None
    return guard, [int(pid) for pid in guard.stdout.readline().split()]


def gone(pids: list[int], within: float) -> bool:
    def alive(pid: int) -> bool:
        return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE

    deadline = time.monotonic() + within
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(alive, pids))


def closed(guard: subprocess.Popen[bytes]) -> None:
    assert guard.stdin is not None
    guard.stdin.close()


def terminated(guard: subprocess.Popen[bytes]) -> None:
    os.kill(guard.pid, signal.SIGTERM)


def interrupted(guard: subprocess.Popen[bytes]) -> None:
    assert guard.stdin is not None
    guard.stdin.write(b"\x03")
    guard.stdin.flush()


def ended(how: str, end: Callable[[subprocess.Popen[bytes]], None], within: float) -> int:
    guard, pids = guarded(how)
    end(guard)
    assert gone(pids, within)
    return guard.wait(60)


def test_the_pipe_closes() -> None:
    assert ended("patient", closed, 60) == 128 + signal.SIGTERM


def test_the_guard_is_told_to_end() -> None:
    assert ended("patient", terminated, 60) == 128 + signal.SIGTERM


def test_a_stubborn_command_is_killed() -> None:
    assert ended("stubborn", closed, 60) == 128 + signal.SIGKILL


def test_the_command_ends_by_itself_and_leaves_a_child() -> None:
    assert ended("short", lambda guard: None, 60) == 3


def test_a_byte_is_a_ctrl_c_that_the_command_takes_in_its_own_way() -> None:
    assert ended("patient", interrupted, 60) == 1 + 129  # python ends by the signal itself
