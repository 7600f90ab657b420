"""Reads the bodies of requests: after the key was checked, in time, and as JSON that means one thing."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from appkit.data.objects import DuplicateKeyError, make_object
from appkit.errors import shortened
from appkit.serving.gateway.request import require_admin, require_key

__all__ = ["BadBody", "BodyReader", "CheckedRoute"]

PATIENCE_S = 20.0
"""seconds to wait for the next part of a body"""
DRAIN_S = 2.0
"""seconds to wait for the rest of a body that nobody reads"""
SURROGATE = re.compile(r"[\ud800-\udfff]")


class BadBody(HTTPException):
    """Says why a body is not read; answered without the route."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(status, message)


class CheckedRoute(APIRoute):
    """Answers a caller whose key does not allow the route before anything of the body is read."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()
        needed = set(_list_calls(self.dependant))

        async def check_and_answer(request: Request) -> Response:
            if require_admin in needed:
                require_admin(request)
            elif require_key in needed:
                require_key(request)
            return await answer(_JsonRequest(request.scope, request.receive))

        return check_and_answer


def _list_calls(dependant: Dependant) -> list[Any]:
    """Lists the functions that a route depends on, at any depth."""
    return [call for below in dependant.dependencies for call in (below.call, *_list_calls(below)) if call]


class _JsonRequest(Request):
    """Reads JSON strictly. Raises BadBody, and JSONDecodeError where it is none at all."""

    async def json(self) -> Any:
        body = await self.body()
        try:
            return _read_json(body)
        except json.JSONDecodeError:
            raise
        except DuplicateKeyError as error:  # readers differ in which counts
            raise BadBody(f"body: the key {_show(error.key)} occurs twice in one object; keep one") from None
        except RecursionError:
            raise BadBody("body: it is nested too deeply; flatten it") from None
        except UnicodeDecodeError as error:
            raise BadBody(f"body: it is not UTF-8 (byte {error.start}); send JSON in UTF-8") from None
        except ValueError as error:
            raise BadBody(f"body: it cannot be read: {error}") from None


def _read_json(body: bytes) -> Any:
    # json.loads itself would let half a surrogate pair in raw bytes through
    text = body.decode(json.detect_encoding(body))
    values = json.loads(text, object_pairs_hook=make_object, parse_constant=_refuse_constant)
    if "\\u" in text:  # raw bytes cannot hold one
        _refuse_surrogates(values)
    return values


def _refuse_constant(name: str) -> Any:
    raise BadBody(f"body: {name} is no number in JSON; leave it out, or send null")


def _refuse_surrogates(value: Any) -> None:
    """Raises BadBody for half a surrogate pair in a text or key: no such text can be tokenized, kept or sent on."""
    if isinstance(value, str):
        if match := SURROGATE.search(value):
            raise BadBody(
                f"body: a text has half a surrogate pair, \\u{ord(match[0]):04x}, at character {match.start()}, "
                f"got {_show(value)}; take it out"
            )
    elif isinstance(value, dict):
        for key, part in value.items():
            _refuse_surrogates(key)
            _refuse_surrogates(part)
    elif isinstance(value, list):
        for part in value:
            _refuse_surrogates(part)


def _show(text: str) -> str:
    return shortened(text).encode("utf-8", "backslashreplace").decode()


class BodyReader:
    """Passes on the parts of a body, which may have `most` bytes and take `seconds`.

    Raises BadBody with 413 or 408, the latter also when a part does not come within `PATIENCE_S`.
    """

    def __init__(self, receive: Receive, *, most: int, too_large: str, seconds: float, begun: bool) -> None:
        self._receive, self.most, self.too_large, self.seconds = receive, most, too_large, seconds
        self.left = begun
        """more of the body is to come"""
        self.read = 0
        """bytes so far"""
        self._deadline: float | None = None

    async def receive(self) -> Message:
        if not self.left:
            return await self._receive()  # a disconnect, whenever it comes
        now = asyncio.get_running_loop().time()
        self._deadline = self._deadline or now + self.seconds
        try:
            async with asyncio.timeout_at(min(self._deadline, now + PATIENCE_S)):
                message = await self._receive()
        except TimeoutError:
            raise BadBody("body: it did not come in time; send it again, at once", 408) from None
        self.read += len(message.get("body", b""))
        self.left = bool(message.get("more_body"))
        if self.read > self.most:
            raise BadBody(self.too_large, 413)
        return message

    async def drain(self) -> None:
        """Reads what is left of the body, for `DRAIN_S` at most; a client that still sends reads no answer."""
        try:
            async with asyncio.timeout(DRAIN_S):
                while self.left:
                    self.left = bool((await self._receive()).get("more_body"))
        except TimeoutError:
            return
