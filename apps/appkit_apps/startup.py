"""Starts Gradio without work that nothing needs, which would double the time until a gallery opens."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

__all__ = ["fast_import", "without_app"]


@contextmanager
def fast_import() -> Iterator[None]:
    """Halves the time of `import gradio` within it. A program that serves MCP with Gradio must import Gradio first.

    On each import Gradio reads the source of its components, parses it, and writes stubs for editors into its own
    folder. It skips classes whose file is not found; within this context it finds none. It also imports `mcp` where
    that is installed (vLLM brings it), for a server that a gallery does not have.
    """
    real_getfile, absent = inspect.getfile, "mcp" not in sys.modules

    def getfile(item: Any) -> str:
        if (getattr(item, "__module__", None) or "").startswith("gradio."):
            raise OSError("no stub is wanted")
        return real_getfile(item)

    if absent:
        sys.modules["mcp"] = None  # type: ignore[assignment]
    try:
        with patch.object(inspect, "getfile", getfile):
            yield
    finally:
        if absent:
            del sys.modules["mcp"]


@contextmanager
def without_app() -> Iterator[None]:
    """Builds Blocks without a FastAPI app within it: each page would make one, and `launch` makes its own."""
    from gradio.routes import App

    with patch.object(App, "create_app", lambda *_, **__: None):
        yield
