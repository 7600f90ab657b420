"""vLLM engines that the tests of a session share: a start takes half a minute, adding an adapter a moment."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import threading
from collections.abc import AsyncGenerator, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from appkit.heads.roles import Role
from appkit.serving.engines.protocol import NULL, Job, Piece
from appkit.serving.engines.vllm import Room, VllmEngine

T = TypeVar("T")
TARGETS = ("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj")
LENGTH = 1024
"""tokens of a request to an unmasked engine, which has memory for one of this length"""
LABELS = 256
"""the most of a head, as `appkit serve` has room for"""
MOST = 3
"""engines at a time, each some 2 GB; the one that was asked for longest ago ends for another"""


def roomy(room: Room, role: Role) -> Room:
    """Room for what any test asks of this role."""
    folds = "lm_head" in room.targets
    return replace(
        room,
        rank=128 if folds else 32,
        targets=(*TARGETS, "lm_head") if folds else TARGETS,
        slots=5,
        adapters=8,
        labels=LABELS,
        length=LENGTH if role == "embed-unmasked" else None,
    )


class Engines:
    """The engines by base, dtype, role and whether heads fold; each runs from when it is first started to the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.loop = asyncio.new_event_loop()
        self.running: dict[tuple[str, ...], VllmEngine] = {}  # the last asked for is the last
        self.names = itertools.count()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def vllm(
        self, base: Path, *, dtype: str, null: Path, room: Room, log: Path, role: Role = "generate"
    ) -> Shared:
        """Takes the place of `VllmEngine`: the same words, an engine that others use as well."""
        return Shared(self, VllmEngine(base, dtype=dtype, null=null, room=room, log=log, role=role))

    def start(self, wanted: VllmEngine) -> VllmEngine:
        """The engine that has room for what is wanted, started if it is not running."""
        room = roomy(wanted.room, wanted.role)
        assert wanted.room.rank <= room.rank, wanted.room
        assert wanted.room.labels <= room.labels, wanted.room
        assert set(wanted.room.targets) <= set(room.targets), wanted.room
        key = (str(wanted.base.resolve()), wanted.dtype, wanted.role, str("lm_head" in room.targets))
        if key in self.running:
            self.running[key] = self.running.pop(key)
        else:
            while len(self.running) >= MOST:
                self.wait(self.running.pop(next(iter(self.running))).close())
            place = self.folder / str(next(self.names))
            shutil.copytree(wanted.null, place / "null")  # the caller's may be gone when vLLM reads it again
            engine = VllmEngine(
                wanted.base,
                dtype=wanted.dtype,
                null=place / "null",
                room=room,
                log=place / "log",
                role=wanted.role,
            )
            self.wait(engine.start())
            self.running[key] = engine
        return self.running[key]

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` gives in the engines' own event loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(600)

    def close(self) -> None:
        """End every engine; one that is asked for afterwards starts anew."""
        while self.running:
            self.wait(self.running.popitem()[1].close())


class Shared:
    """An `Engine` over one that is shared, which knows this one's adapters by names of its own."""

    name = "vllm"

    def __init__(self, engines: Engines, wanted: VllmEngine) -> None:
        self.engines, self.wanted = engines, wanted
        self.role, self.dtype, self.version = wanted.role, wanted.dtype, wanted.version
        self.room, self.base = wanted.room, wanted.base
        self.max_length = 0
        self.adapters: dict[str, str] = {}
        self.engine: VllmEngine | None = None

    async def start(self) -> None:
        await asyncio.to_thread(self.wanted._list_role_words)  # what refuses a base refuses it here too
        self.engine = await asyncio.to_thread(self.engines.start, self.wanted)
        self.max_length = self.engine.max_length

    async def close(self) -> None:
        for adapter in tuple(self.adapters):
            await self.remove(adapter)
        self.engine = None

    async def ended(self) -> str:
        """It never ends by itself while a test uses it."""
        await asyncio.Event().wait()
        raise AssertionError

    async def add(self, adapter: str, path: Path) -> None:
        unique = f"{adapter}-{next(self.engines.names)}"
        await self._there(self._running.add(unique, path))
        self.adapters[adapter] = unique

    async def remove(self, adapter: str) -> None:
        await self._there(self._running.remove(self.adapters.pop(adapter)))

    async def complete(self, job: Job) -> Piece:
        return await self._there(self._running.complete(replace(job, adapter=self._name(job.adapter))))

    async def stream(self, job: Job) -> AsyncGenerator[Piece]:
        """The whole answer in one piece: what streams is tested with `appkit serve`."""
        yield await self.complete(job)

    async def score(self, adapter: str, one: Any) -> list[float]:
        return await self._there(self._running.score(self._name(adapter), one))

    async def classify(self, adapter: str, tokens: Sequence[int]) -> Any:
        return await self._there(self._running.classify(self._name(adapter), tokens))

    async def states(self, adapter: str, tokens: Sequence[int]) -> Any:
        return await self._there(self._running.states(self._name(adapter), tokens))

    @property
    def _running(self) -> VllmEngine:
        assert self.engine is not None, "start it first"
        return self.engine

    def _name(self, adapter: str) -> str:
        return adapter if adapter == NULL else self.adapters.get(adapter, adapter)

    async def _there(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self.engines.loop))
