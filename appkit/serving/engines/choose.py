"""Chooses the engine that answers on this machine, and names its version as certificates do."""

from __future__ import annotations

__all__ = ["engine_name", "engine_version"]


def engine_name(engine: str) -> str:
    """Names the engine to use; "auto" is vLLM if it is installed."""
    from appkit.serving.engines.vllm import installed_version

    return ("vllm" if installed_version() else "transformers") if engine == "auto" else engine


def engine_version(engine: str) -> str:
    """Names an engine's version as certificates do. Raises RunError when vLLM is asked for and not installed."""
    if engine == "transformers":
        from appkit.serving.engines.transformers import version as transformers_version

        return transformers_version()
    from appkit.serving.engines.vllm import version as vllm_version

    return vllm_version()
