"""What all routes share: who asks, what answers, what an error looks like, and when to stop working."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from appkit.serving.gateway.faults import Fault, error_body, fault_of, response
from appkit.serving.gateway.keys import Key
from appkit.serving.gateway.registry import Target
from appkit.serving.gateway.state import Gateway

__all__ = [
    "STREAMED",
    "Admin",
    "Caller",
    "EventStream",
    "One",
    "check_batch",
    "gathered",
    "in_use",
    "log_texts",
    "merged",
    "room_for",
    "told",
    "until_gone",
    "within_time",
]

log = logging.getLogger(__name__)
T = TypeVar("T")


def gateway(request: Request) -> Gateway:
    """A route's dependency."""
    found: Gateway = request.app.state.gateway
    return found


def caller(request: Request) -> Key:
    """Whose request it is. Raises Fault 401 without a key, 429 above its rate."""
    return _known(request, admin=False)


def admin(request: Request) -> Key:
    """The same, 403 without the right."""
    return _known(request, admin=True)


def _known(request: Request, *, admin: bool) -> Key:
    one = gateway(request)
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    key = one.keys.who(secret.strip() if scheme.lower() == "bearer" else None)
    if key is None:
        raise Fault(401, "no or an unknown API key; send Authorization: Bearer KEY", code="invalid_api_key")
    request.state.key = key.name
    if admin and not key.admin:
        raise Fault(
            403,
            "this needs an admin key; make one with appkit keys add FILE NAME --admin and start the gateway with "
            "--keys FILE",
        )
    if wait := one.keys.seconds_to_wait(key):
        raise Fault(
            429,
            f"key {key.name!r} may send {key.per_minute} requests a minute; wait {wait:.1f} s",
            code="rate_limit_exceeded",
            retry_after=wait,
        )
    return key


One = Annotated[Gateway, Depends(gateway)]
Caller = Annotated[Key, Depends(caller)]
Admin = Annotated[Key, Depends(admin)]
"""The parameters of routes."""


STREAMED: dict[int | str, dict[str, Any]] = {
    200: {"description": "the answer; with `stream` as events", "content": {"text/event-stream": {}}}
}
"""For a route's documentation: either form comes."""


async def within_time(one: Gateway, work: Awaitable[T]) -> T:
    """Raises TimeoutError when it takes longer than a request may."""
    async with asyncio.timeout(one.settings.timeout_s):
        return await work


async def until_gone(request: Request, work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled when the client hangs up: nobody would read it."""
    task = asyncio.ensure_future(work)

    async def hung_up() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    watch = asyncio.create_task(hung_up())
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Fault(499, "the client hung up")
        return task.result()
    finally:
        for one in (task, watch):
            one.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)


async def merged(sources: list[AsyncGenerator[T]]) -> AsyncGenerator[tuple[int, T]]:
    """The items of several iterators as they come, each with the number of its source. An error ends them all."""
    queue: asyncio.Queue[tuple[int, T] | Exception | None] = asyncio.Queue()

    async def drain(number: int, source: AsyncGenerator[T]) -> None:
        try:
            async for item in source:
                queue.put_nowait((number, item))
            queue.put_nowait(None)
        except Exception as error:
            queue.put_nowait(error)
        finally:
            await source.aclose()

    tasks = [asyncio.create_task(drain(number, source)) for number, source in enumerate(sources)]
    try:
        left = len(tasks)
        while left:
            found = await queue.get()
            if found is None:
                left -= 1
            elif isinstance(found, Exception):
                raise found
            else:
                yield found
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def room_for(one: Gateway, target: Target, tokens: Sequence[int], wanted: int | None, default: int) -> int:
    """The most tokens of an answer: `wanted` by the caller (None: `default`), the limit, what is left of the context.

    Raises Fault where the caller asked for more.
    """
    left = target.engine.engine.max_length - len(tokens)
    if left < 1 or (wanted is not None and wanted > left):
        raise Fault(
            400,
            f"the context has {target.engine.engine.max_length} tokens; the prompt has {len(tokens)}"
            + (f", {wanted} were asked for" if wanted else "")
            + "; shorten the prompt or ask for fewer",
            code="context_length_exceeded",
        )
    limit = one.settings.max_tokens
    if wanted is not None and wanted > limit:
        raise Fault(400, f"max_tokens is limited to {limit} here (serve.max_tokens), got {wanted}")
    return min(wanted or default, left, limit)


def check_batch(one: Gateway, number: int, what: str) -> None:
    """Raises Fault for more rows or answers than one request may have."""
    if number > one.settings.max_batch:
        raise Fault(
            400, f"{number} {what} in one request, the limit is {one.settings.max_batch} (serve.max_batch)"
        )


async def gathered(work: Sequence[Any]) -> list[Any]:
    """All results; the first failure cancels the rest."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except ExceptionGroup as several:
        raise several.exceptions[0] from None
    return [task.result() for task in tasks]


class EventStream(StreamingResponse):
    """Server-sent events from JSON-able objects, `[DONE]` at the end, and an error as an event of its own.

    Made by `begin`, which waits for the first event, so that what fails at once is told by a status.
    """

    lines: AsyncGenerator[str]
    events: AsyncGenerator[dict[str, Any]]

    @classmethod
    async def begin(cls, events: AsyncGenerator[dict[str, Any]], timeout_s: float) -> EventStream:
        deadline = asyncio.get_running_loop().time() + timeout_s
        first = await _next(events, deadline)
        lines = _lines(first, events, deadline)
        stream = cls(lines, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        stream.lines, stream.events = lines, events
        return stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:  # a client that hung up leaves the iterator suspended: its work has to end now
            await self.lines.aclose()
            await self.events.aclose()  # lines that were never begun do not close them


async def _next(events: AsyncGenerator[dict[str, Any]], deadline: float) -> dict[str, Any] | None:
    """None: there are no more. Item by item, since the first is taken in another task than the rest."""
    async with asyncio.timeout_at(deadline):
        return await anext(events, None)


async def _lines(
    event: dict[str, Any] | None, events: AsyncGenerator[dict[str, Any]], deadline: float
) -> AsyncGenerator[str]:
    try:
        while event is not None:
            yield _line(event)
            event = await _next(events, deadline)
    except Exception as error:
        yield _line(error_body(fault_of(error)))
    else:
        yield "data: [DONE]\n\n"
    finally:
        await events.aclose()


def _line(event: dict[str, Any]) -> str:
    # in ASCII: readers of lines, httpx's among them, take U+2028 for the end of one
    return f"data: {json.dumps(event, separators=(',', ':'))}\n\n"


@contextmanager
def in_use(one: Gateway, request: Request, target: Target, requests: int) -> Iterator[None]:
    """While a request is worked on: a place in its engine's queue, and its version kept. Raises Busy, EngineGone."""
    request.state.bundle = target.ref
    with target.used(), target.engine.admitted(requests), one.metrics.timed(target.ref):
        yield


def log_texts(one: Gateway, target: Target, prompt: Sequence[int], text: str) -> None:
    """Only where the operator asked for it: prompts are users' property."""
    if one.settings.log_prompts:
        log.info("%s: %r -> %r", target.ref, target.chat.decode(prompt), text)


def told(request: Request, error: Exception) -> JSONResponse:
    """FastAPI's handler of every error of ours."""
    return response(fault_of(error))
