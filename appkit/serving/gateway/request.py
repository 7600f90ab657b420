"""Shares among routes: keys of callers, batches and streams of work, time limits, and errors."""

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
    "RunningGateway",
    "answer_error",
    "check_batch",
    "check_work",
    "gathered",
    "in_use",
    "log_texts",
    "merged",
    "require_admin",
    "require_key",
    "room_for",
    "until_gone",
    "within_time",
]

log = logging.getLogger(__name__)
T = TypeVar("T")


def get_gateway(request: Request) -> Gateway:
    """Returns the gateway of a request, as a route's dependency."""
    gateway: Gateway = request.app.state.gateway
    return gateway


def require_key(request: Request) -> Key:
    """Returns the key of a request. Raises Fault 401 without a known key, 429 above its rate."""
    return _require_key(request, admin=False)


def require_admin(request: Request) -> Key:
    """Returns the key of a request. Raises Fault as `require_key`, and 403 for a key without the admin right."""
    return _require_key(request, admin=True)


def _require_key(request: Request, *, admin: bool) -> Key:
    """Checks the key of a request once: the route does it before the body is read, and then its dependency."""
    caller: Key | None = getattr(request.state, "caller", None)
    if caller and (caller.admin or not admin):
        return caller
    gateway = get_gateway(request)
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    key = gateway.keys.who(secret.strip() if scheme.lower() == "bearer" else None)
    if key is None:
        raise Fault(401, "no or an unknown API key; send Authorization: Bearer KEY", code="invalid_api_key")
    request.state.key = key.name
    if admin and not key.admin:
        raise Fault(
            403,
            "this needs an admin key; make one with appkit keys add FILE NAME --admin and start the gateway with "
            "--keys FILE",
        )
    if wait := gateway.keys.seconds_to_wait(key):
        raise Fault(
            429,
            f"key {key.name!r} may send {key.per_minute} requests a minute; wait {wait:.1f} s",
            code="rate_limit_exceeded",
            retry_after=wait,
        )
    request.state.caller = key
    return key


RunningGateway = Annotated[Gateway, Depends(get_gateway)]
Caller = Annotated[Key, Depends(require_key)]
Admin = Annotated[Key, Depends(require_admin)]
"""parameters of routes"""


STREAMED: dict[int | str, dict[str, Any]] = {
    200: {"description": "the answer; with `stream` as events", "content": {"text/event-stream": {}}}
}
"""documents a route that answers in either form"""


async def within_time(gateway: Gateway, work: Awaitable[T]) -> T:
    """Awaits work. Raises TimeoutError when it takes longer than a request may."""
    async with asyncio.timeout(gateway.settings.timeout_s):
        return await work


async def until_gone(request: Request, work: Awaitable[T]) -> T:
    """Awaits work, and cancels it when the client hangs up: nobody would read the result."""
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
        for pending in (task, watch):
            pending.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)


async def merged(sources: list[AsyncGenerator[T]]) -> AsyncGenerator[tuple[int, T]]:
    """Yields items of several iterators as they come, each with the number of its source. An error ends them all."""
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
            item = await queue.get()
            if item is None:
                left -= 1
            elif isinstance(item, Exception):
                raise item
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def room_for(
    gateway: Gateway, target: Target, tokens: Sequence[int], requested: int | None, default: int
) -> int:
    """Computes the most tokens of an answer, at most the gateway's limits and what is left of the context.

    requested: by the caller; None: `default`. Raises Fault where the caller asked for more.
    """
    context = target.context
    most = min(context, gateway.settings.max_context)
    left = most - len(tokens)
    if left < 1 or (requested is not None and requested > left):
        room = (
            f"the context has {context} tokens"
            if most == context
            else f"a prompt and its answer may have {most} tokens here (serve.max_context)"
        )
        raise Fault(
            400 if most == context else 413,
            f"{room}; the prompt has {len(tokens)}"
            + (f", {requested} were asked for" if requested else "")
            + "; shorten the prompt or ask for fewer",
            code="context_length_exceeded",
        )
    limit = gateway.settings.max_tokens
    if requested is not None and requested > limit:
        raise Fault(400, f"max_tokens is limited to {limit} here (serve.max_tokens), got {requested}")
    return min(requested or default, left, limit)


def check_batch(gateway: Gateway, number: int, what: str) -> None:
    """Raises Fault for more rows or answers than one request may have."""
    if number > gateway.settings.max_batch:
        raise Fault(
            400,
            f"{number} {what} in one request, the limit is {gateway.settings.max_batch} (serve.max_batch)",
        )


def check_work(gateway: Gateway, tokens: int) -> None:
    """Raises Fault for a request that reads and may write more tokens, all rows or answers together, than one may."""
    if tokens > gateway.settings.max_work:
        raise Fault(
            413,
            f"the request takes up to {tokens} tokens, prompts and answers of all its parts together, the limit is "
            f"{gateway.settings.max_work} (serve.max_work); send it in parts, or ask for fewer tokens",
        )


async def gathered(work: Sequence[Any]) -> list[Any]:
    """Awaits all work and returns the results; the first failure cancels the rest."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(job) for job in work]
    except ExceptionGroup as several:
        raise several.exceptions[0] from None
    return [task.result() for task in tasks]


class EventStream(StreamingResponse):
    """Streams JSON objects as server-sent events, `[DONE]` at the end, and an error as an event of its own.

    `begin` makes it and waits for the first event, so that what fails at once is answered by a status.
    """

    lines: AsyncGenerator[str]
    events: AsyncGenerator[dict[str, Any]]

    @classmethod
    async def begin(cls, events: AsyncGenerator[dict[str, Any]], timeout_s: float) -> EventStream:
        deadline = asyncio.get_running_loop().time() + timeout_s
        first = await _next_event(events, deadline)
        lines = _write_lines(first, events, deadline)
        stream = cls(lines, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        stream.lines, stream.events = lines, events
        return stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:  # a client that hung up leaves the iterator suspended: its work has to end now
            await self.lines.aclose()
            await self.events.aclose()  # lines that were never begun do not close them


async def _next_event(events: AsyncGenerator[dict[str, Any]], deadline: float) -> dict[str, Any] | None:
    """Returns the next event; None at the end. Item by item, since the first is taken in another task."""
    async with asyncio.timeout_at(deadline):
        return await anext(events, None)


async def _write_lines(
    event: dict[str, Any] | None, events: AsyncGenerator[dict[str, Any]], deadline: float
) -> AsyncGenerator[str]:
    try:
        while event is not None:
            yield _write_line(event)
            event = await _next_event(events, deadline)
    except Exception as error:
        yield _write_line(error_body(fault_of(error)))
    else:
        yield "data: [DONE]\n\n"
    finally:
        await events.aclose()


def _write_line(event: dict[str, Any]) -> str:
    # in ASCII: readers of lines, httpx's among them, take U+2028 for the end of one
    return f"data: {json.dumps(event, separators=(',', ':'))}\n\n"


@contextmanager
def in_use(gateway: Gateway, request: Request, target: Target, requests: int) -> Iterator[None]:
    """Holds a place in the engine's queue and keeps the version loaded during a request. Raises Busy, EngineGone."""
    request.state.bundle = target.ref
    with target.used(), target.engine.admitted(requests), gateway.metrics.timed(target.ref):
        yield


def log_texts(gateway: Gateway, target: Target, prompt: Sequence[int], text: str) -> None:
    """Logs prompt and answer, only where the operator asked for it: prompts are users' property."""
    if gateway.settings.log_prompts:
        log.info("%s: %r -> %r", target.ref, target.chat.decode(prompt), text)


def answer_error(request: Request, error: Exception) -> JSONResponse:
    """Answers every error of ours, as FastAPI's handler."""
    return response(fault_of(error))
