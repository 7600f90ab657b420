"""How the plug-in has vLLM start its engine, without vLLM."""

from __future__ import annotations

import os
from typing import Any

import pytest

from appkit import vllm_plugin


@pytest.mark.parametrize(
    ("bound", "method", "hooks"), [("nobind", "fork", 1), ("0,1", "spawn", 0), (None, "spawn", 0)]
)
def test_the_engine_is_forked_unless_threads_are_bound_to_cores(
    bound: str | None, method: str, hooks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vLLM sets the method itself, whenever it checks a configuration."""
    registered: list[Any] = []

    class Platform:
        @classmethod
        def check_and_update_config(cls, config: Any) -> None:
            os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "spawn"
            config.append(cls)

    monkeypatch.setenv("VLLM_WORKER_MULTIPROC_METHOD", "")
    monkeypatch.setattr(os, "register_at_fork", lambda after_in_child: registered.append(after_in_child))
    monkeypatch.delenv("VLLM_CPU_OMP_THREADS_BIND", raising=False)
    if bound:
        monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", bound)
    vllm_plugin._fork_engine(Platform)
    checked: list[type] = []
    Platform.check_and_update_config(checked)
    assert os.environ["VLLM_WORKER_MULTIPROC_METHOD"] == method
    assert checked == [Platform]
    assert registered == [vllm_plugin._end_with_parent] * hooks
