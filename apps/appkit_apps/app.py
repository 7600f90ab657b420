"""Defines apps and pages: an app builds a page; a page asks the gateway, limits its users and reports errors."""

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
"""paths of the pages that belong to no alias"""

LONGEST = 20_000
"""most characters of a row's field"""
WINDOW = 60.0
"""seconds over which a user's requests are counted"""


@dataclass(frozen=True)
class App:
    """An app makes a page for the bundles of one task pack.

    name: of the pack, and of the folder. build: puts the page's components into the Blocks that is open.
    sentence: what such a bundle does, in plain words, for its card on the home page; "": the pack's summary is shown.
    """

    name: str
    build: Callable[[Page], None]
    sentence: str = ""


class Limiter:
    """Limits the rows that each user asks in a minute: by name where people log in, else by address."""

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._requests: dict[str, deque[tuple[float, int]]] = {}
        self._lock = Lock()

    def take(self, request: gr.Request, rows: int) -> None:
        """Counts the rows. Raises gr.Error when the user has to wait."""
        user = request.username or (request.client.host if request.client else "")
        now = time.monotonic()
        with self._lock:
            for idle in [who for who, requests in self._requests.items() if requests[-1][0] < now - WINDOW]:
                del self._requests[idle]
            requests = self._requests.setdefault(user, deque())
            while requests and requests[0][0] < now - WINDOW:
                requests.popleft()
            used = sum(count for _, count in requests)
            if used and used + rows > self.per_minute:
                wait = requests[0][0] + WINDOW - now
                raise trouble(
                    f"That is more than {self.per_minute} rows a minute; try again in {wait:.0f} seconds."
                )
            requests.append((now, rows))


@dataclass(frozen=True)
class Page:
    """Holds what a page is built from."""

    blocks: gr.Blocks
    """the Blocks that holds the page, for events when the page is opened"""
    alias: str
    """the alias that the page asks"""
    about: Mapping[str, Any]
    """what `Client.describe` returned for the alias when the gallery started"""
    client: Client
    limiter: Limiter
    feedback: Feedback | None = None
    """keeps opinions; None: the page asks for none"""

    def ask(
        self, request: gr.Request, rows: Sequence[Mapping[str, Any]], **options: Any
    ) -> tuple[list[Answer], float]:
        """Asks for answers; returns them and the seconds that they took. Raises gr.Error, which says what to do.

        With `confidence`, answers of a version without calibration come without a confidence.
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
            # the version may have changed since the page was opened, or a canary answers this request
            if error.status != 400 or not options.get("confidence"):
                raise
            return self.client.task(self.alias, rows, **options | {"confidence": False})

    def tool(self, request: gr.Request, name: str, **arguments: Any) -> Any:
        """Calls a tool of the pack. Raises gr.Error, which says what to do."""
        self.limiter.take(request, 1)
        try:
            return self.client.tool(self.alias, name, **arguments)
        except GatewayError as error:
            raise trouble(refusal(error, self.alias)) from None


def place(alias: str) -> str:
    """Returns the path of an alias's page, without a slash; it is never a path of Gradio's or of the gallery's own."""
    safe = re.sub(r"[^\w.-]", "-", alias, flags=re.ASCII)
    return f"{safe}-page" if safe != alias or safe in {*INTERNAL_ROUTES, EVIDENCE, TRAIN} else safe


def trouble(message: str) -> gr.Error:
    """Makes an error message for the page; nothing goes to the server's log, since the user can mend it."""
    # Gradio shows messages as HTML, and a message may quote what the user sent
    return gr.Error(escape(message), duration=None, print_exception=False)


def refusal(error: GatewayError, alias: str = "") -> str:
    """Says why the gateway refused, with no address of the server: people see the page, not the machine behind it."""
    if error.status is None or not error.told:
        return "The gateway does not answer; it may be starting. Try again in a minute, or ask who runs it."
    if error.status in (401, 403):
        return "The gateway does not take this page's key; tell who runs the page."
    if error.status == 404 and alias:
        return f"{alias} is not served any more; the home page lists what is."
    return str(error)
