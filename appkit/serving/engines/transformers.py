"""Runs the transformers engine in this process, for machines without vLLM and for what vLLM cannot do.

One thread computes. It takes turns: all waiting jobs of the adapter whose first job has waited longest are answered
side by side, then the next adapter's. In the roles that read (classify, embed) a turn is one pass over all its texts.
"""

from __future__ import annotations

import asyncio
import logging
import random
import tempfile
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from appkit.errors import ConfigError, RunError
from appkit.heads.roles import Role
from appkit.models.grammar import Constraint
from appkit.serving.engines.protocol import NULL, EngineGone, Job, JobRefused, Piece, only

if TYPE_CHECKING:
    import numpy as np

    from appkit.models.batch import Example
    from appkit.models.segments import VirtualTokens

__all__ = ["TransformersEngine", "version"]

log = logging.getLogger(__name__)
T = TypeVar("T")
BROKEN = "the engine failed; its log says why"


def version() -> str:
    """Names the versions of transformers and PEFT, as certificates do."""
    from importlib.metadata import version as installed

    return f"{installed('transformers')}+peft{installed('peft')}"


@dataclass
class _TextJob:
    """Holds a job that waits for its turn or is being answered."""

    job: Job
    pieces: asyncio.Queue[Piece | Exception] = field(default_factory=asyncio.Queue)
    """where its answer goes"""
    wanted: bool = True
    """somebody still reads the answer"""

    @property
    def group(self) -> tuple[Any, ...]:
        """Is equal for jobs that are answered side by side; no neighbour may change a seeded answer."""
        job = self.job
        alone = id(self) if job.seed is not None and job.temperature else None
        return job.adapter, job.stop, job.temperature, job.top_p, job.top_k, job.log_probabilities, alone

    def fail(self, error: RunError) -> None:
        self.pieces.put_nowait(error)


@dataclass(eq=False)
class _ReadJob:
    """Holds a text that waits for an adapter to read it."""

    adapter: str
    tokens: tuple[int, ...]
    result: asyncio.Future[np.ndarray]
    """where logits or states go"""

    @property
    def wanted(self) -> bool:
        return not self.result.done()

    @property
    def group(self) -> str:
        return self.adapter

    def give(self, result: np.ndarray) -> None:
        if self.wanted:
            self.result.set_result(result)

    def fail(self, error: RunError) -> None:
        if self.wanted:
            self.result.set_exception(error)


class TransformersEngine:
    """Computes the base in `base` in `dtype`; answers at most `rows` jobs side by side."""

    name = "transformers"

    def __init__(self, base: Path, *, dtype: str, rows: int = 32, role: Role = "generate") -> None:
        self.base, self.dtype, self.rows, self.role = base, dtype, rows, role
        self.version = version()
        self.max_length = 0
        self.model: Any = None
        self.tokenizer: Any = None
        self.adapters: set[str] = set()
        self.heads: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
        self.parameters: dict[str, Any] = {}  # the base's own, by name; PEFT wraps them and keeps them
        self.weights: dict[str, dict[str, Any]] = {}  # of each adapter that changes the base's weights
        self.virtual: dict[str, VirtualTokens] = {}  # of each adapter that puts them before the rows

    async def start(self) -> None:
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self.waiting: list[Any] = []  # _TextJob or _ReadJob: an engine has one role
        self.more = asyncio.Event()
        self.stopped: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        await self._run(self._load)
        self.turns = asyncio.create_task(self._take_turns())

    def _load(self) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        from appkit.models import attention

        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = AutoModelForCausalLM.from_pretrained(
            self.base, dtype=getattr(torch, self.dtype), local_files_only=True, device_map={"": self.device}
        )
        self.model.config.use_cache = False
        self.max_length = int(self.model.config.get_text_config().max_position_embeddings)
        attention.use(self.model)
        self.model.eval()
        self.parameters = dict(self.model.named_parameters())

    async def close(self) -> None:
        if self.model is None:
            return
        self.turns.cancel()
        for job in self.waiting:
            job.fail(EngineGone("the engine was stopped"))
        await asyncio.gather(self.turns, return_exceptions=True)
        await asyncio.to_thread(self.thread.shutdown, cancel_futures=True)
        self.model, self.adapters, self.heads = None, set(), {}
        self.parameters, self.weights, self.virtual = {}, {}, {}

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
        """Loads an adapter, in the thread. The model is the causal LM in every role, so a head is kept beside it."""
        from appkit.serving.engines.views import read_head, without_head

        if self.role == "generate":
            self._load_adapter(adapter, path)
            return
        head = read_head(path) if self.role == "classify" else None
        with tempfile.TemporaryDirectory(prefix="appkit-adapter-") as folder:
            self._load_adapter(adapter, without_head(path, Path(folder) / "adapter"))
        if head is not None:
            self.heads[adapter] = head

    def _load_adapter(self, adapter: str, path: Path) -> None:
        from peft import PeftModel
        from safetensors.torch import load_file

        from appkit.adapters.low_rank import install
        from appkit.adapters.virtual_tokens import EMBEDDINGS, Sizes, split
        from appkit.serving.engines.compatibility import read_adapter

        form = read_adapter(path).form
        if form in ("full", "prefix"):
            stored = load_file(path / "adapter_model.safetensors", device=str(self.device))
        if form == "prefix":
            self.virtual[adapter] = split(stored[EMBEDDINGS], Sizes.of(self.model), self.model.dtype)
            return
        if form == "full":
            base_weights = self.parameters
            self.weights[adapter] = {
                name: weight.to(base_weights[name].dtype) for name, weight in stored.items()
            }
            return
        if isinstance(self.model, PeftModel):
            self.model.load_adapter(str(path), adapter_name=adapter)
        else:
            self.model = PeftModel.from_pretrained(self.model, str(path), adapter_name=adapter)
        install(self.model)
        self.model.eval()

    async def remove(self, adapter: str) -> None:
        if adapter in self.adapters:
            self.adapters.discard(adapter)
            self.heads.pop(adapter, None)
            if self.weights.pop(adapter, None) is not None or self.virtual.pop(adapter, None) is not None:
                return
            if self._in_layers:
                await self._run(lambda: self.model.delete_adapter(adapter))
            else:  # PEFT keeps at least one
                await self._run(self._unload)

    @property
    def _in_layers(self) -> set[str]:
        """The adapters that PEFT keeps in the model's layers."""
        return self.adapters - self.weights.keys() - self.virtual.keys()

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

    def _must_know(self, adapter: str) -> None:
        if adapter != NULL and adapter not in self.adapters:
            raise JobRefused(f"no adapter {adapter!r} is loaded")
        if self.model is None:
            raise EngineGone("the engine is not running")

    async def stream(self, job: Job) -> AsyncGenerator[Piece]:
        only(self.role, "generate")
        self._must_know(job.adapter)
        text_job = _TextJob(job)
        self.waiting.append(text_job)
        self.more.set()
        try:
            while True:
                piece = await text_job.pieces.get()
                if isinstance(piece, Exception):
                    raise piece
                yield piece
                if piece.finish:
                    return
        finally:
            text_job.wanted = False

    async def classify(self, adapter: str, tokens: Sequence[int]) -> np.ndarray:
        only(self.role, "classify")
        if adapter == NULL:
            raise JobRefused("the base has no label head; ask for an adapter")
        return await self._wait(adapter, tokens)

    async def states(self, adapter: str, tokens: Sequence[int]) -> np.ndarray:
        only(self.role, "embed", "embed-unmasked")
        return await self._wait(adapter, tokens)

    async def _wait(self, adapter: str, tokens: Sequence[int]) -> np.ndarray:
        self._must_know(adapter)
        room = self.max_length
        if virtual := self.virtual.get(adapter):
            room -= virtual[0][0].shape[2]
        if not 0 < len(tokens) <= room:
            raise JobRefused(f"a text must have 1 to {room} tokens, got {len(tokens)}")
        read_job = _ReadJob(adapter, tuple(tokens), asyncio.get_running_loop().create_future())
        self.waiting.append(read_job)
        self.more.set()
        return await read_job.result

    async def score(self, adapter: str, example: Example) -> list[float]:
        only(self.role, "generate")
        return await self._run(self._score, adapter, example)

    def _score(self, adapter: str, example: Example) -> list[float]:
        import torch

        from appkit.heads.lm import loss as lm_loss
        from appkit.models.batch import collate

        with self._using(adapter), torch.inference_mode():
            return [
                float(value) for value in -lm_loss.token_losses(self.model, collate([example], self.device))
            ]

    def _using(self, adapter: str) -> Any:
        from contextlib import ExitStack, nullcontext

        from appkit.adapters.whole import swapped
        from appkit.models.forward import prepended

        if adapter != NULL and adapter not in self.weights and adapter not in self.virtual:
            self.model.set_adapter(adapter)
            return nullcontext()
        stack = ExitStack()
        if self._in_layers:
            stack.enter_context(self.model.disable_adapter())
        if adapter in self.weights:
            stack.enter_context(swapped(self.parameters, self.weights[adapter]))
        if (tokens := self.virtual.get(adapter)) is not None:
            stack.enter_context(prepended(self.model, lambda: tokens))
        return stack

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
            self.waiting = [job for job in self.waiting if job.wanted]
            if not self.waiting:
                self.more.clear()
                await self.more.wait()
                continue
            group = self.waiting[0].group
            turn = [job for job in self.waiting if job.group == group][: self.rows]
            self.waiting = [job for job in self.waiting if job not in turn]
            try:
                await self._run(self._answer if self.role == "generate" else self._read, turn, loop)
            except Exception as error:
                log.exception("a turn of %d jobs failed", len(turn))
                fault = error if isinstance(error, RunError) else JobRefused(BROKEN, broken=True)
                for job in turn:
                    job.fail(fault)

    def _read(self, turn: list[_ReadJob], loop: asyncio.AbstractEventLoop) -> None:
        """Reads, in the thread, the texts of one adapter in one pass, laid end to end."""
        import torch

        from appkit.models.batch import collate_texts
        from appkit.models.forward import states

        batch = collate_texts([job.tokens for job in turn], self.device, causal=self.role != "embed-unmasked")
        segments = batch.segments
        with self._using(turn[0].adapter), torch.inference_mode():
            hidden = states(self.model, batch)
        # (P, d), (L, d) of each text
        shared, *own = torch.split(hidden.float().cpu(), [segments.prefix, *segments.lengths.tolist()])
        for job, seen in zip(turn, own, strict=True):
            if self.role == "classify":
                weight, bias = self.heads[job.adapter]
                result = weight @ seen[-1].numpy() + (0 if bias is None else bias)
            else:
                result = torch.cat([shared, seen]).numpy()
            loop.call_soon_threadsafe(job.give, result)

    def _answer(self, turn: list[_TextJob], loop: asyncio.AbstractEventLoop) -> None:
        """Answers, in the thread, jobs of one group; sends each piece as it comes."""
        from appkit.models.generate import generate

        first = turn[0].job
        constraint = self._constraint([text_job.job for text_job in turn])
        counts = [0] * len(turn)

        def watch(row: int, token: int, likely: float | None) -> bool:
            text_job, log_probabilities = turn[row], () if likely is None else (likely,)
            if constraint:
                constraint.accept(row, token)
            if token in text_job.job.stop:
                piece = Piece((), log_probabilities, "stop")
            else:
                counts[row] += 1
                piece = Piece(
                    (token,), log_probabilities, "length" if counts[row] == text_job.job.max_tokens else None
                )
            loop.call_soon_threadsafe(text_job.pieces.put_nowait, piece)
            return not text_job.wanted

        with self._using(first.adapter):
            generate(
                self.model,
                [text_job.job.tokens for text_job in turn],
                max_new_tokens=[text_job.job.max_tokens for text_job in turn],
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
        """Makes the constraint that leaves each row the tokens its grammar allows; None: no row has a grammar."""
        if not any(job.grammar for job in jobs):
            return None
        if self.tokenizer is None:
            from appkit.models.files import load_tokenizer

            self.tokenizer = load_tokenizer(self.base)
        vocabulary = int(self.model.config.get_text_config().vocab_size)
        try:
            return Constraint([job.grammar for job in jobs], self.tokenizer, vocabulary, sorted(jobs[0].stop))
        except ConfigError as error:
            raise JobRefused(str(error)) from None
