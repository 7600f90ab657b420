"""Gradio without work at the start that nothing needs: with it a gallery takes twice as long to open."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

__all__ = ["no_app_yet", "no_stubs"]


@contextmanager
def no_stubs() -> Iterator[None]:
    """Within it `import gradio` takes half the time.

    Gradio reads the source of each component that is imported, parses it, and writes a stub for editors into its own
    folder, each time anew. It leaves out the classes whose file is not found, and within this none is.
    """
    found = inspect.getfile

    def getfile(of: Any) -> str:
        if (getattr(of, "__module__", None) or "").startswith("gradio."):
            raise OSError("no stub is wanted")
        return found(of)

    with patch.object(inspect, "getfile", getfile):
        yield


@contextmanager
def no_app_yet() -> Iterator[None]:
    """Within it Blocks are built without a FastAPI app: each page would make one, and `launch` makes its own."""
    from gradio.routes import App

    with patch.object(App, "create_app", lambda *given, **named: None):
        yield
