"""An app builds a page; a page asks the gateway, limits its users and tells what went wrong."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from threading import Lock
from typing import Any

import gradio as gr
from gradio.routes import INTERNAL_ROUTES

from appkit.client import Answer, Client
from appkit.data.feedback import Feedback
from appkit.errors import GatewayError

__all__ = ["EVIDENCE", "LONGEST", "TRAIN", "App", "Limiter", "Page", "place", "refusal", "trouble"]

EVIDENCE, TRAIN = "evidence-of-all", "train-a-specialist"
"""where the pages are that belong to no alias"""

LONGEST = 20_000
"""characters of a row's field"""
WINDOW = 60.0
"""seconds over which a user's requests are counted"""


@dataclass(frozen=True)
class App:
    """A page for the bundles of one task pack.

    name: the pack's, and the folder's. build: puts the page's components into the Blocks that is open.
    """

    name: str
    build: Callable[[Page], None]


class Limiter:
    """Limits each user to so many rows a minute: by name where people log in, else by address."""

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._seen: dict[str, deque[tuple[float, int]]] = {}
        self._lock = Lock()

    def take(self, request: gr.Request, rows: int) -> None:
        """Raises gr.Error when the user has to wait."""
        user = request.username or (request.client.host if request.client else "")
        now = time.monotonic()
        with self._lock:
            for gone in [who for who, seen in self._seen.items() if seen[-1][0] < now - WINDOW]:
                del self._seen[gone]
            seen = self._seen.setdefault(user, deque())
            while seen and seen[0][0] < now - WINDOW:
                seen.popleft()
            used = sum(count for _, count in seen)
            if used and used + rows > self.per_minute:
                wait = seen[0][0] + WINDOW - now
                raise trouble(
                    f"That is more than {self.per_minute} rows a minute; try again in {wait:.0f} seconds."
                )
            seen.append((now, rows))


@dataclass(frozen=True)
class Page:
    """Holds what a page is built from."""

    blocks: gr.Blocks
    """the Blocks it is in, for what happens when the page is opened"""
    alias: str
    """who is asked"""
    about: Mapping[str, Any]
    """what `Client.describe` said of the alias when the gallery was started"""
    client: Client
    limiter: Limiter
    feedback: Feedback | None = None
    """where opinions go; None: nowhere"""

    def ask(
        self, request: gr.Request, rows: Sequence[Mapping[str, Any]], **options: Any
    ) -> tuple[list[Answer], float]:
        """Asks for answers; returns them and the seconds that they took. Raises gr.Error with what to do.

        With `confidence`, the answers of a version that has none come without.
        """
        for row in rows:
            for name, value in row.items():
                if isinstance(value, str) and len(value) > LONGEST:
                    raise trouble(
                        f"{name} has {len(value):,} characters, the limit here is {LONGEST:,}; send less at once."
                    )
        if not rows or any(not str(row.get(self.about["input"]) or "").strip() for row in rows):
            raise trouble(f"Nothing to answer: write something into {self.about['input']}.")
        self.limiter.take(request, len(rows))
        began = time.monotonic()
        try:
            answers = self._answers(rows, **options)
        except GatewayError as error:
            raise trouble(refusal(error, self.alias)) from None
        return answers, time.monotonic() - began

    def _answers(self, rows: Sequence[Mapping[str, Any]], **options: Any) -> list[Answer]:
        try:
            return self.client.task(self.alias, rows, **options)
        except GatewayError as error:
            # which version answers may have changed since the page was opened, and a canary answers some of the time
            if error.status != 400 or not options.get("confidence"):
                raise
            return self.client.task(self.alias, rows, **options | {"confidence": False})

    def tool(self, request: gr.Request, name: str, **arguments: Any) -> Any:
        """Calls a function of the pack. Raises gr.Error with what to do."""
        self.limiter.take(request, 1)
        try:
            return self.client.tool(self.alias, name, **arguments)
        except GatewayError as error:
            raise trouble(refusal(error, self.alias)) from None


def place(alias: str) -> str:
    """Names the path of an alias's page, without a slash, and never one of Gradio's or the gallery's own."""
    safe = re.sub(r"[^\w.-]", "-", alias, flags=re.ASCII)
    return f"{safe}-page" if safe != alias or safe in {*INTERNAL_ROUTES, EVIDENCE, TRAIN} else safe


def trouble(message: str) -> gr.Error:
    """Makes a message in the page; nothing in the server's log, since it is the user's to mend."""
    # shown as HTML, and a message may quote what the user sent
    return gr.Error(escape(message), duration=None, print_exception=False)


def refusal(error: GatewayError, alias: str = "") -> str:
    """Says what the gateway refused, with no address of the server: people see the page, not the machine behind it."""
    if error.status is None or not error.told:
        return "The gateway does not answer; it may be starting. Try again in a minute, or ask who runs it."
    if error.status in (401, 403):
        return "The gateway does not take this page's key; tell who runs the page."
    if error.status == 404 and alias:
        return f"{alias} is not served any more; the home page lists what is."
    return str(error)
