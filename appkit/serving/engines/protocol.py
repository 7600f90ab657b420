"""Defines the engine protocol: one base and many adapters, asked by token ids, from certificates and gateway alike."""

from __future__ import annotations

import shutil
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from appkit.config import ModelConfig, QuantConfig
from appkit.errors import AppkitError, ModelError, RunError
from appkit.heads.roles import NULL, Job, Piece, Role

if TYPE_CHECKING:
    import numpy as np

    from appkit.models.batch import Example

__all__ = [
    "NULL",
    "Conflict",
    "Engine",
    "EngineGone",
    "EngineSpec",
    "Job",
    "JobRefused",
    "Piece",
    "only",
    "served_base",
]


class EngineGone(RunError):
    """Says that the engine ended before it had answered."""


class Conflict(AppkitError):
    """Says that a ceiling or a name in use does not allow the change."""


class JobRefused(RunError):
    """Says that the engine runs, but does not do what a job asks. broken: the engine failed, the job is sound."""

    def __init__(self, message: str, *, broken: bool = False) -> None:
        super().__init__(message)
        self.broken = broken


def only(role: Role, *allowed: Role) -> None:
    """Raises JobRefused when an engine of this role is asked for what only others do."""
    if role not in allowed:
        raise JobRefused(
            f"an engine with role={role!r} does not do this; ask one with role={' or '.join(allowed)}"
        )


@dataclass(frozen=True)
class EngineSpec:
    """Holds what an engine is started with; bundles of one base, dtype and role share an engine."""

    base: Path
    """directory of the weights"""
    base_name: str
    """as callers know it; no path"""
    dtype: str
    """float32 or bfloat16"""
    role: Role
    """what it computes"""
    null: Path
    """directory of an adapter of zeros that fits the base"""
    targets: tuple[str, ...]
    """names of the layers that adapters may change"""


class Engine(Protocol):
    """Describes an engine over one base. Every method but `start` and `close` raises EngineGone when it has ended.

    Raises JobRefused for what another role does: only a generate engine has `complete`, `stream` and `score`.
    """

    name: str
    role: Role
    version: str
    dtype: str
    max_length: int
    """tokens of prompt and answer together"""

    async def start(self) -> None:
        """Starts the engine, again too. Raises RunError when it does not start; then nothing is left of it."""

    async def close(self) -> None:
        """Ends the engine; waits until nothing is left of it."""

    async def ended(self) -> str:
        """Waits until the engine ends without being asked to; returns the reason."""

    async def add(self, adapter: str, path: Path) -> None:
        """Loads the adapter in `path` under a name.

        path: in PEFT's form, never changed or removed afterwards. adapter: a name that never means another adapter.
        Raises JobRefused when the engine does not take it; the other adapters go on.
        A classify engine takes adapters with a sequence head, embedding engines `views.without_head`, and a generate
        engine of vLLM with room for lm_head also `views.folded`.
        """

    async def remove(self, adapter: str) -> None:
        """Forgets an adapter that nobody asks any more."""

    async def complete(self, job: Job) -> Piece:
        """Returns the whole answer. Raises JobRefused for a job that the engine cannot do."""

    def stream(self, job: Job) -> AsyncGenerator[Piece]:
        """Yields the answer as it comes; closing the iterator ends the work."""

    async def score(self, adapter: str, example: Example) -> list[float]:
        """Returns the log-probability in nats of each answered token of `example`."""

    async def classify(self, adapter: str, tokens: Sequence[int]) -> np.ndarray:
        """Returns logits (C,) float32 of the adapter's head at the last token.

        A generate engine returns log-probabilities for a folded adapter, which are logits up to a constant.
        """

    async def states(self, adapter: str, tokens: Sequence[int]) -> np.ndarray:
        """Returns final hidden states (T, d) float32 of an embedding engine, normed as a head sees them."""


def served_base(model: ModelConfig, quant: QuantConfig, path: Path) -> Path:
    """Finds the directory that an engine loads: the base's own, or its NF4 weights as plain bf16, made in the cache.

    What is served is what was trained on: the dequantized weights are bf16 values whatever the compute dtype, so
    nothing is rounded again. Raises ModelError for int8, whose activations are quantized too.
    """
    if quant.name == "none":
        return path
    if quant.name == "int8":
        raise ModelError(
            "a bundle trained over quant=int8 cannot be certified: its base multiplies in 8 bits, engines do not; "
            "train with quant=nf4 or quant=none"
        )
    import torch

    from appkit.models.fingerprint import weights_hash
    from appkit.models.quantize import load_quantized, nf4_kind
    from appkit.storage import atomic, cache

    target = atomic.cache_dir() / "served" / f"{path.name}-{nf4_kind(quant)}-{weights_hash(path)[:16]}"
    with atomic.locked(target):
        if (target / "config.json").is_file():
            cache.mark_used(target)
            return target
        plain = quant.model_copy(update={"dequantize": "always"})
        rounded, _ = load_quantized(path, plain, torch.bfloat16, torch.device("cpu"))
        with atomic.staged(target) as stage:
            rounded.save_pretrained(stage)
            for file in path.iterdir():
                if file.is_file() and file.suffix != ".safetensors" and not (stage / file.name).exists():
                    shutil.copyfile(file, stage / file.name)
            (stage / "manifest.json").unlink(missing_ok=True)
    return target
