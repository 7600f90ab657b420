"""An engine in memory, whose faults a test provokes, and a real gateway in front of it."""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import uvicorn
from tiny import byte_tokenizer

from appkit.config import build_run_config
from appkit.errors import RunError
from appkit.heads.choose import head_of_bundle
from appkit.heads.roles import Role
from appkit.models.chat import Chat
from appkit.plugins import load_task
from appkit.serving.engines.protocol import NULL, EngineGone, EngineSpec, Job, JobRefused, Piece, only
from appkit.serving.engines.supervised import Pool, Supervised
from appkit.serving.gateway.app import create_app
from appkit.serving.gateway.keys import Keys
from appkit.serving.gateway.metrics import Metrics
from appkit.serving.gateway.registry import Registry
from appkit.serving.gateway.serve import make_server_config
from appkit.serving.gateway.settings import settings
from appkit.serving.gateway.state import Gateway

CHAT = Chat(byte_tokenizer())
END = CHAT.tokenizer.eos_token_id
TASK, CONFIG = load_task("nl2fol"), build_run_config({"task": "nl2fol"})
STOP = CHAT.stops(["\n"])
BASE = "tiny-base"
WIDTH = 4


def in_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """A test in an event loop of its own, in half a minute at most."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), 30))

    return run


def sha(name: str) -> str:
    """As unlike as real ones are, and readable: a name in hexadecimal, filled up."""
    return (name.encode().hex() * 64)[:64]


@dataclass
class FakeDeployment:
    """A bundle as the registry gets it; nothing of it is on disk."""

    manifest: dict[str, Any]
    path: Path
    base_name: str
    dtype: str
    head: Any
    certificate: dict[str, Any] | None = field(default_factory=lambda: {"made_at": "today", "sealed": True})
    doubted: bool = False
    role: Role = "generate"
    null: Path = Path("null")
    sizes: dict[str, int] = field(default_factory=lambda: {"adapter_bytes": 4096, "base_parameters": 1000})
    virtual_tokens: int = 0
    config: Any = CONFIG
    chat: Chat = CHAT

    @property
    def name(self) -> str:
        return str(self.manifest["name"])

    @property
    def sha(self) -> str:
        return str(self.manifest["sha"])

    @property
    def ref(self) -> str:
        return f"{self.name}@{self.sha[:12]}"

    @property
    def task(self) -> Any:
        return self.head.task

    @property
    def files(self) -> Path:
        return Path("store") / self.path

    @property
    def base(self) -> Path:
        return Path("bases") / self.base_name

    @property
    def engine(self) -> EngineSpec:
        return EngineSpec(self.base, self.base_name, self.dtype, self.role, self.null, ("q_proj",))


def deployment(
    name: str = "nl2fol", version: str = "one", base: str = BASE, dtype: str = "float32", **manifest: Any
) -> Any:
    """A bundle of nl2fol; manifest: what its manifest says otherwise."""
    decoding = {"temperature": 0.0, "top_p": 1.0, "top_k": 0, "seed": 0, "stop": ["\n"], "cap": 64}
    whole = {
        "name": name,
        "sha": sha(version),
        "decoding": decoding,
        "grammar": "root ::= [^\\n]*",
        "exported": {"rank": 4},
        "metrics": {"strict": 0.5},
        "base": {
            "name": "/home/ada/bases/tiny",
            "id": "/home/ada/bases/tiny",
            "source": "directory",
            "licence": None,
        },
        "data": {
            "sources": [
                {"split": "train", "licence": "CC-BY-4.0"},
                {"split": "test", "licence": "CC0-1.0"},
            ],
            "rows": {"train": 8, "dev": 2, "test": 2},
        },
    } | manifest
    return FakeDeployment(whole, Path(version), base, dtype, head_of_bundle(whole, CONFIG, TASK, CHAT))


class FakeEngine:
    """Answers each adapter with its text of `answers` ("P(a)" if it has none), byte by byte; -0.5 nats each.

    flow: cleared, every stream waits before its next token, but for the first `free` ones. asked: the jobs.
    ended_early: jobs whose iterator was closed before the end. refuses: adapters, by path, that cannot be added.
    starts: how often it was started; fails: what the next starts raise. fault: what the next job raises.
    logits: of each adapter's head. read: adapter and tokens of what was classified or embedded; every state is the
    token's own number, WIDTH times.
    """

    name, version, max_length = "fake", "1", 512

    def __init__(self, dtype: str = "float32", role: Role = "generate") -> None:
        self.dtype, self.role = dtype, role
        self.answers: dict[str, str] = {}
        self.logits: dict[str, list[float]] = {}
        self.read: list[tuple[str, tuple[int, ...]]] = []
        self.adapters: dict[str, Path] = {}
        self.asked: list[Job] = []
        self.ended_early: asyncio.Queue[Job] = asyncio.Queue()
        self.begun: asyncio.Queue[Job] = asyncio.Queue()
        self.refuses: dict[Path, Exception] = {}
        self.fails: list[Exception] = []
        self.fault: Exception | None = None
        self.starts = self.closes = 0
        self.up = False
        self.flow = asyncio.Event()
        self.flow.set()
        self.free = 0

    async def start(self) -> None:
        assert not self.up, "started again without being closed"
        if self.fails:
            raise self.fails.pop(0)
        self.starts += 1
        self.up, self.adapters, self.down = True, {}, asyncio.Event()
        self.why = ""

    async def close(self) -> None:
        self.closes += 1
        if self.up:
            self.up = False
            self.down.set()

    def end(self, why: str = "killed by the test") -> None:
        self.up, self.why = False, why
        self.down.set()

    async def ended(self) -> str:
        await self.down.wait()
        return self.why

    def _must_be_up(self) -> None:
        if not self.up:
            raise EngineGone("the fake engine is down")

    async def add(self, adapter: str, path: Path) -> None:
        self._must_be_up()
        if fault := self.refuses.get(path):
            raise fault
        self.adapters[adapter] = path

    async def remove(self, adapter: str) -> None:
        self._must_be_up()
        del self.adapters[adapter]

    async def complete(self, job: Job) -> Piece:
        tokens: tuple[int, ...] = ()
        likely: tuple[float, ...] = ()
        async for piece in self.stream(job):
            tokens += piece.tokens
            likely += piece.log_probabilities
        return Piece(tokens, likely, piece.finish)

    async def stream(self, job: Job) -> AsyncGenerator[Piece]:
        self._must_be_up()
        if job.adapter != NULL and job.adapter not in self.adapters:
            raise JobRefused(f"no adapter {job.adapter!r}")
        self.asked.append(job)
        self.begun.put_nowait(job)
        if self.fault:
            fault, self.fault = self.fault, None
            raise fault
        told = (-0.5,) if job.log_probabilities else ()
        done = False
        try:
            for place, token in enumerate(CHAT.ids(self.answers.get(job.adapter, "P(a)")), 1):
                if place > self.free:
                    await self._flows()
                if token in job.stop:
                    break
                done = place == job.max_tokens
                yield Piece((token,), told, "length" if done else None)
                if done:
                    return
            await self._flows()
            done = True
            yield Piece((), told, "stop")
        except EngineGone:
            done = True
            raise
        finally:
            if not done:
                self.ended_early.put_nowait(job)

    async def _flows(self) -> None:
        """Wait for `flow`; raises EngineGone when the engine ends meanwhile."""
        waits = [asyncio.ensure_future(event.wait()) for event in (self.flow, self.down)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()
        self._must_be_up()

    async def score(self, adapter: str, one: Any) -> list[float]:
        raise NotImplementedError

    async def classify(self, adapter: str, tokens: Sequence[int]) -> np.ndarray:
        only(self.role, "classify", "generate")
        self._reads(adapter, tokens)
        return np.array(self.logits[adapter], np.float32)

    async def states(self, adapter: str, tokens: Sequence[int]) -> np.ndarray:
        only(self.role, "embed", "embed-unmasked")
        self._reads(adapter, tokens)
        return np.repeat(np.array(tokens, np.float32)[:, None], WIDTH, 1)

    def _reads(self, adapter: str, tokens: Sequence[int]) -> None:
        self._must_be_up()
        if adapter != NULL and adapter not in self.adapters:
            raise JobRefused(f"no adapter {adapter!r}")
        self.read.append((adapter, tuple(tokens)))
        if self.fault:
            fault, self.fault = self.fault, None
            raise fault


def supervised(engine: FakeEngine, **options: Any) -> Supervised:
    return Supervised(engine, **{"queue": 8, "first_pause_s": 0.001} | options)


async def until(true: Callable[[], Any]) -> None:
    """Where nothing can be awaited: let the loop turn until it is so."""
    while not true():
        await asyncio.sleep(0.001)


@dataclass
class Served:
    """A gateway in this event loop, its only engine, and clients without and with an admin's key."""

    url: str
    one: Gateway
    engine: FakeEngine
    root: Path
    bundles: dict[str, FakeDeployment]
    http: httpx.AsyncClient
    admin: httpx.AsyncClient

    async def ask(self, text: str = "Every dog barks.", model: str = "nl2fol", **more: Any) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": text}]} | more
        return await self.http.post("/v1/chat/completions", json=body)

    def place(self, directory: str, bundle: FakeDeployment) -> None:
        """Let `directory` below the root hold a bundle."""
        (self.root / directory).mkdir(parents=True, exist_ok=True)
        (self.root / directory / "appkit.json").write_text("{}")
        self.bundles[directory] = bundle

    async def add(self, directory: str, alias: str | None = None) -> httpx.Response:
        return await self.admin.post("/v1/bundles", json={"path": directory, "alias": alias})


def state_of(root: Path, **given: Any) -> tuple[Gateway, FakeEngine, dict[str, FakeDeployment]]:
    """A gateway's state over one fake engine. It opens what the dict names by the directory below `root`.

    given: settings. A value that is an exception is raised in place of the bundle.
    """
    engine = FakeEngine()
    bundles: dict[str, Any] = {}

    def open_bundle(path: Path) -> FakeDeployment:
        found = bundles[str(path.relative_to(root.resolve()))]
        if isinstance(found, Exception):
            raise found
        return found

    keys = given.pop("keys", None)
    chosen = settings((), **given)

    def make(spec: EngineSpec) -> FakeEngine:
        if spec.base_name != BASE:
            raise RunError(f"no weights of {spec.base_name}")
        return engine

    pool = Pool(make, most=chosen.max_engines, queue=chosen.max_queue)
    registry = Registry(pool, open_bundle, max_bundles=chosen.max_bundles, state=root / ".appkit-serve.json")
    return Gateway(chosen, Keys(keys), pool, registry, Metrics(pool), root.resolve()), engine, bundles


@asynccontextmanager
async def gateway(
    root: Path, *, secret: str | None = None, admin: str | None = None, **given: Any
) -> AsyncIterator[Served]:
    """A gateway on a real port with the bundle nl2fol@one; given: settings and `keys`, the file of secret and admin."""
    one, engine, bundles = state_of(root, **given)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server, stop = (
            uvicorn.Server(make_server_config(create_app(one), one.settings)),
            asyncio.Event(),
        )
        server.capture_signals = nullcontext  # type: ignore[method-assign]
        server.main_loop = stop.wait  # type: ignore[assignment, method-assign]  # its own looks ten times a second
        task = asyncio.create_task(server.serve(sockets=[listener]))
        await until(lambda: server.started or task.done())
        try:
            async with _client(url, secret) as http, _client(url, admin) as admins:
                served = Served(url, one, engine, root, bundles, http, admins)
                served.place("A", deployment())
                await one.registry.add(one.root / "A")
                for supervisor in one.pool.engines.values():
                    supervisor.first_pause_s = 0.001
                yield served
        finally:
            engine.flow.set()
            stop.set()
            await task
            await one.pool.close()


def _client(url: str, secret: str | None) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    # nothing is encrypted here, and reading the certificates of CAs takes time
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=20, verify=False)
