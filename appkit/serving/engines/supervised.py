"""Starts engines when they are first needed, watches them, and starts them again whenever they end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from appkit.errors import AppkitError
from appkit.heads.roles import Role
from appkit.serving.engines.protocol import Conflict, Engine, EngineGone, EngineSpec, Job, JobRefused, Piece

if TYPE_CHECKING:
    import numpy as np


__all__ = ["Busy", "Pool", "Supervised"]

log = logging.getLogger(__name__)

LONGEST_PAUSE_S = 30.0
SETTLED_S = 60.0  # an engine that ran this long begins with a short pause again


class Busy(AppkitError):
    """Says that the queue is full; `retry_after` is the recent duration of a request, in seconds."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Supervised:
    """Keeps an engine running: starts it again whenever it ends, with the adapters that it had loaded.

    state: "new", "starting", "ready", "restarting", "stopped". running: requests that it has accepted.
    failed: adapter -> why it could not be loaded again.
    """

    def __init__(self, engine: Engine, *, queue: int, first_pause_s: float = 1.0) -> None:
        self.engine, self.queue, self.first_pause_s = engine, queue, first_pause_s
        self.state = "new"
        self.adapters: dict[str, Path] = {}
        self.failed: dict[str, str] = {}
        self.running = 0
        self.restarts = 0
        self.request_s = 1.0
        self._lock = asyncio.Lock()
        self._watch: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        return self.state == "ready"

    async def start(self) -> None:
        """Starts the engine, once. Raises RunError when it does not start."""
        async with self._lock:
            if self.state != "new":
                return
            self.state = "starting"
            try:
                await self.engine.start()
            except BaseException:
                self.state = "new"
                raise
            self.state = "ready"
            self._watch = asyncio.create_task(self._keep_alive())

    async def close(self) -> None:
        self.state = "stopped"
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        await self.engine.close()

    async def _keep_alive(self) -> None:
        pause = self.first_pause_s
        while True:
            began = time.monotonic()
            why = await self.engine.ended()
            if time.monotonic() - began > SETTLED_S:
                pause = self.first_pause_s
            log.error("engine %s: %s; starting it again", self.engine.name, why)
            self.state = "restarting"
            # before the lock: whoever loads an adapter holds it, and may wait for an answer of a core that is gone
            await self.engine.close()
            async with self._lock:
                while self.state == "restarting":
                    await self.engine.close()  # also what a failed start left behind
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, LONGEST_PAUSE_S)
                    try:
                        await self._start_again()
                    except Exception as error:  # whatever failed, the next try may succeed
                        log.error(
                            "engine %s does not start: %s; next try in %.0f s", self.engine.name, error, pause
                        )

    async def _start_again(self) -> None:
        await self.engine.start()
        self.failed = {}
        for adapter, path in list(self.adapters.items()):
            try:
                await self.engine.add(adapter, path)
            except JobRefused as error:  # the others go on
                self.failed[adapter] = str(error)
                log.error("adapter %s: %s", adapter[:12], error)
        self.restarts += 1
        self.state = "ready"
        log.warning("engine %s answers again", self.engine.name)

    async def add(self, adapter: str, path: Path) -> None:
        """Loads an adapter. Raises JobRefused when the engine does not take it, EngineGone when it is not running."""
        self._must_be_ready()  # before the lock, which a restart holds
        async with self._lock:
            self._must_be_ready()
            await self.engine.add(adapter, path)
            self.adapters[adapter] = path
            self.failed.pop(adapter, None)

    async def remove(self, adapter: str) -> None:
        if self.adapters.pop(adapter, None) is not None and self.ready:
            with suppress(EngineGone):  # a restarted engine will not load it
                await self.engine.remove(adapter)

    @contextmanager
    def admitted(self, requests: int) -> Iterator[None]:
        """Takes places in the queue for so many requests. Raises Busy when it is full, EngineGone when nothing runs."""
        self._must_be_ready()
        if self.running + requests > self.queue:
            raise Busy(
                f"the queue is full: {self.running} requests are accepted, the limit is {self.queue} "
                "(serve.max_queue); try again later",
                self.request_s,
            )
        self.running += requests
        began = time.monotonic()
        try:
            yield
            self.request_s += 0.1 * (time.monotonic() - began - self.request_s)
        finally:
            self.running -= requests

    def _must_be_ready(self) -> None:
        if not self.ready:
            raise EngineGone(f"the engine is not ready ({self.state}); try again in some seconds")

    def _must_have(self, adapter: str) -> None:
        self._must_be_ready()
        if adapter in self.failed:
            raise JobRefused(f"the bundle could not be loaded again: {self.failed[adapter]}", broken=True)

    async def complete(self, job: Job) -> Piece:
        self._must_have(job.adapter)
        return await self.engine.complete(job)

    async def classify(self, adapter: str, tokens: Sequence[int]) -> np.ndarray:
        self._must_have(adapter)
        return await self.engine.classify(adapter, tokens)

    async def states(self, adapter: str, tokens: Sequence[int]) -> np.ndarray:
        self._must_have(adapter)
        return await self.engine.states(adapter, tokens)

    def stream(self, job: Job) -> AsyncGenerator[Piece]:
        self._must_have(job.adapter)
        return self.engine.stream(job)


class Pool:
    """Holds one engine for each base, dtype and role; `make(spec)` makes it for the first bundle that needs it."""

    def __init__(self, make: Callable[[EngineSpec], Engine], *, most: int, queue: int) -> None:
        self._make, self.most, self.queue = make, most, queue
        self.engines: dict[tuple[Path, str, Role], Supervised] = {}

    async def engine(self, spec: EngineSpec, bundle: str) -> Supervised:
        """Starts the engine of a bundle, unless it runs; bundle: its `name@sha`, for the message.

        Raises Conflict at the ceiling, RunError when it does not start.
        """
        key = spec.base, spec.dtype, spec.role
        if key not in self.engines:
            if len(self.engines) >= self.most:
                raise Conflict(
                    f"{bundle} needs an engine of its own ({spec.base_name}, {spec.dtype}, {spec.role}), and "
                    f"there are {self.most}; raise serve.max_engines"
                )
            self.engines[key] = Supervised(self._make(spec), queue=self.queue)
        try:
            await self.engines[key].start()
        except BaseException:
            del self.engines[key]
            raise
        return self.engines[key]

    @property
    def ready(self) -> bool:
        return all(engine.ready for engine in self.engines.values())

    async def close(self) -> None:
        await asyncio.gather(*(engine.close() for engine in self.engines.values()))
