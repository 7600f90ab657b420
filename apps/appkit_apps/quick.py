"""Gradio without work at the start that nothing needs: with it a gallery takes twice as long to open."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

__all__ = ["no_app_yet", "quickly"]


@contextmanager
def quickly() -> Iterator[None]:
    """Within it `import gradio` takes less than half the time. A program that serves MCP with Gradio imports it first.

    On each import Gradio reads the source of its components, parses it, and writes stubs for editors into its own
    folder; it leaves out the classes whose file is not found, and within this none is. It imports `mcp` where that is
    installed (vLLM brings it), for a server that a gallery does not have.
    """
    found, absent = inspect.getfile, "mcp" not in sys.modules

    def getfile(of: Any) -> str:
        if (getattr(of, "__module__", None) or "").startswith("gradio."):
            raise OSError("no stub is wanted")
        return found(of)

    if absent:
        sys.modules["mcp"] = None  # type: ignore[assignment]
    try:
        with patch.object(inspect, "getfile", getfile):
            yield
    finally:
        if absent:
            del sys.modules["mcp"]


@contextmanager
def no_app_yet() -> Iterator[None]:
    """Within it Blocks are built without a FastAPI app: each page would make one, and `launch` makes its own."""
    from gradio.routes import App

    with patch.object(App, "create_app", lambda *given, **named: None):
        yield
