"""How the plug-in has vLLM start its engine, without vLLM."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from appkit import vllm_plugin


@pytest.mark.parametrize(
    ("bound", "backend", "method"),
    [
        ("nobind", "uni", "fork"),
        ("nobind", "mp", "spawn"),
        ("nobind", None, "spawn"),
        ("0,1", "uni", "spawn"),
        (None, "uni", "spawn"),
    ],
)
def test_the_engine_is_forked_if_it_has_one_process_and_free_threads(
    bound: str | None, backend: str | None, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vLLM sets the method itself, whenever it checks a configuration."""
    registered: list[Any] = []
    checked: list[Any] = []

    class Platform:
        @classmethod
        def check_and_update_config(cls, config: Any) -> None:
            os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "spawn"
            checked.append((cls, config))

    monkeypatch.setenv("VLLM_WORKER_MULTIPROC_METHOD", "")
    monkeypatch.setattr(os, "register_at_fork", lambda after_in_child: registered.append(after_in_child))
    monkeypatch.delenv("VLLM_CPU_OMP_THREADS_BIND", raising=False)
    if bound:
        monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", bound)
    vllm_plugin._fork_engine(Platform)
    config = SimpleNamespace(parallel_config=SimpleNamespace(distributed_executor_backend=backend))
    Platform.check_and_update_config(config)
    assert os.environ["VLLM_WORKER_MULTIPROC_METHOD"] == method
    assert checked == [(Platform, config)]
    assert registered == ([vllm_plugin._end_with_parent] if bound == "nobind" else [])
