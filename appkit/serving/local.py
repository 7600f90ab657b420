"""The transformers engine: in this process, for machines without vLLM and for what vLLM cannot do.

One thread computes. It takes turns: all waiting jobs of the adapter whose first job has waited longest are answered
side by side, then the next adapter's.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from appkit.errors import RunError
from appkit.serving.engine import NULL, EngineGone, Job, JobRefused, Piece
from appkit.serving.grammar import Constraint

if TYPE_CHECKING:
    from appkit.batching import Example

__all__ = ["TransformersEngine", "version"]

log = logging.getLogger(__name__)
T = TypeVar("T")
BROKEN = "the engine failed; its log says why"


def version() -> str:
    """Of what computes, as certificates name it."""
    from importlib.metadata import version as installed

    return f"{installed('transformers')}+peft{installed('peft')}"


@dataclass
class _Waiting:
    """A job, where its pieces go, and whether somebody still wants them."""

    job: Job
    pieces: asyncio.Queue[Piece | Exception] = field(default_factory=asyncio.Queue)
    wanted: bool = True

    @property
    def kind(self) -> tuple[Any, ...]:
        """Jobs of one kind are answered side by side; a seed asks for an answer that no neighbour changes."""
        job = self.job
        alone = id(self) if job.seed is not None and job.temperature else None
        return job.adapter, job.stop, job.temperature, job.top_p, job.top_k, job.log_probabilities, alone


class TransformersEngine:
    """The base in `base`, computed in `dtype`; at most `rows` jobs are answered side by side."""

    name = "transformers"

    def __init__(self, base: Path, *, dtype: str, rows: int = 32) -> None:
        self.base, self.dtype, self.rows = base, dtype, rows
        self.version = version()
        self.max_length = 0
        self.model: Any = None
        self.tokenizer: Any = None
        self.adapters: set[str] = set()

    async def start(self) -> None:
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self.waiting: list[_Waiting] = []
        self.more = asyncio.Event()
        self.stopped: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        await self._run(self._load)
        self.turns = asyncio.create_task(self._take_turns())

    def _load(self) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        from appkit import attention

        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = AutoModelForCausalLM.from_pretrained(
            self.base, dtype=getattr(torch, self.dtype), local_files_only=True, device_map={"": self.device}
        )
        self.model.config.use_cache = False
        self.max_length = int(self.model.config.get_text_config().max_position_embeddings)
        attention.use(self.model)
        self.model.eval()

    async def close(self) -> None:
        if self.model is None:
            return
        self.turns.cancel()
        for one in self.waiting:
            one.wanted = False
        await asyncio.gather(self.turns, return_exceptions=True)
        await asyncio.to_thread(self.thread.shutdown, cancel_futures=True)
        self.model, self.adapters = None, set()

    async def ended(self) -> str:
        return await asyncio.shield(self.stopped)

    async def add(self, adapter: str, path: Path) -> None:
        if adapter not in self.adapters:
            try:
                await self._run(self._add, adapter, path)
            except EngineGone:
                raise
            except Exception as error:
                raise JobRefused(f"PEFT does not load it: {error}") from error
            self.adapters.add(adapter)

    def _add(self, adapter: str, path: Path) -> None:
        from peft import PeftModel

        from appkit.adapters.lora.fast import install

        if isinstance(self.model, PeftModel):
            self.model.load_adapter(str(path), adapter_name=adapter)
        else:
            self.model = PeftModel.from_pretrained(self.model, str(path), adapter_name=adapter)
        install(self.model)
        self.model.eval()

    async def remove(self, adapter: str) -> None:
        if adapter in self.adapters:
            self.adapters.discard(adapter)
            if self.adapters:
                await self._run(lambda: self.model.delete_adapter(adapter))
            else:  # PEFT keeps at least one
                await self._run(self._unload)

    def _unload(self) -> None:
        self.model = self.model.unload()
        self.model.eval()

    async def complete(self, job: Job) -> Piece:
        tokens: tuple[int, ...] = ()
        likely: tuple[float, ...] = ()
        async for piece in self.stream(job):
            tokens += piece.tokens
            likely += piece.log_probabilities
        return Piece(tokens, likely, piece.finish)

    async def stream(self, job: Job) -> AsyncGenerator[Piece]:
        if job.adapter != NULL and job.adapter not in self.adapters:
            raise JobRefused(f"no adapter {job.adapter!r} is loaded")
        if self.model is None:
            raise EngineGone("the engine is not running")
        one = _Waiting(job)
        self.waiting.append(one)
        self.more.set()
        try:
            while True:
                piece = await one.pieces.get()
                if isinstance(piece, Exception):
                    raise piece
                yield piece
                if piece.finish:
                    return
        finally:
            one.wanted = False

    async def score(self, adapter: str, one: Example) -> list[float]:
        return await self._run(self._score, adapter, one)

    def _score(self, adapter: str, one: Example) -> list[float]:
        import torch

        from appkit.batching import collate
        from appkit.heads import lm

        with self._using(adapter), torch.inference_mode():
            return [float(value) for value in -lm.token_losses(self.model, collate([one], self.device))]

    def _using(self, adapter: str) -> Any:
        from contextlib import nullcontext

        if adapter != NULL:
            self.model.set_adapter(adapter)
            return nullcontext()
        return self.model.disable_adapter() if self.adapters else nullcontext()

    async def _run(self, function: Callable[..., T], *arguments: Any) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self.thread, function, *arguments)
        except RuntimeError as error:
            if "shutdown" not in str(error):
                raise
            raise EngineGone("the engine was stopped") from error

    async def _take_turns(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self.waiting = [one for one in self.waiting if one.wanted]
            if not self.waiting:
                self.more.clear()
                await self.more.wait()
                continue
            kind = self.waiting[0].kind
            turn = [one for one in self.waiting if one.kind == kind][: self.rows]
            self.waiting = [one for one in self.waiting if one not in turn]
            try:
                await self._run(self._answer, turn, loop)
            except Exception as error:
                log.exception("a turn of %d jobs failed", len(turn))
                fault = error if isinstance(error, RunError) else JobRefused(BROKEN, broken=True)
                for one in turn:
                    one.pieces.put_nowait(fault)

    def _answer(self, turn: list[_Waiting], loop: asyncio.AbstractEventLoop) -> None:
        """In the thread: answer jobs of one kind, each piece sent as it comes."""
        from appkit.generate import generate

        first = turn[0].job
        constraint = self._constraint([one.job for one in turn])
        given = [0] * len(turn)

        def watch(row: int, token: int, likely: float | None) -> bool:
            one, told = turn[row], () if likely is None else (likely,)
            if constraint:
                constraint.accept(row, token)
            if token in one.job.stop:
                piece = Piece((), told, "stop")
            else:
                given[row] += 1
                piece = Piece((token,), told, "length" if given[row] == one.job.max_tokens else None)
            loop.call_soon_threadsafe(one.pieces.put_nowait, piece)
            return not one.wanted

        with self._using(first.adapter):
            generate(
                self.model,
                [one.job.tokens for one in turn],
                max_new_tokens=[one.job.max_tokens for one in turn],
                stop=first.stop,
                batch_rows=self.rows,
                temperature=first.temperature,
                top_p=first.top_p,
                top_k=first.top_k,
                seed=random.getrandbits(32) if first.seed is None else first.seed,
                log_probabilities=first.log_probabilities,
                constrain=constraint,
                watch=watch,
            )

    def _constraint(self, jobs: list[Job]) -> Constraint | None:
        """What leaves each row only the tokens that its grammar allows; None: no row has one."""
        if not any(job.grammar for job in jobs):
            return None
        if self.tokenizer is None:
            from appkit.models import load_tokenizer

            self.tokenizer = load_tokenizer(self.base)
        vocabulary = int(self.model.config.get_text_config().vocab_size)
        return Constraint([job.grammar for job in jobs], self.tokenizer, vocabulary, sorted(jobs[0].stop))
