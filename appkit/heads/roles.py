"""Defines the roles of engines, the jobs they do, and what a head needs of an engine."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np

    from appkit.models.batch import Example
    from appkit.task import HeadSpec

__all__ = ["MOST_LABELS", "NULL", "Asked", "Checked", "Job", "Matrix", "Piece", "Role", "role_of"]

Role = Literal["generate", "classify", "embed", "embed-unmasked"]
"""What an engine computes, fixed at its start. generate: answers in words; classify: logits of sequence heads at the
last token; embed, embed-unmasked: final hidden states of every token, under causal or unmasked attention."""

NULL = "null"
"""The adapter that changes nothing: base traffic goes through it, see `engines.vllm.null_adapter`."""

Matrix = tuple["np.ndarray", "np.ndarray | None"]
"""a label head's weight (C, d), and its bias (C,) if it has one"""

MOST_LABELS = 1000
"""rows of a sequence head in the classifying engine: it reserves as many for each adapter in a batch"""


def role_of(spec: HeadSpec) -> Role:
    """Chooses the role of the engine that serves a label head.

    vLLM's classifiers pool the last causal state only; all else is pooled by us, from hidden states.
    """
    if spec.attention == "unmasked":
        return "embed-unmasked"
    if not spec.of_words and spec.pooling == "last" and spec.outputs <= MOST_LABELS:
        return "classify"
    return "embed"


@dataclass(frozen=True)
class Job:
    """Holds one prompt to continue."""

    adapter: str
    """a name that the engine knows; `NULL` is the base"""
    tokens: tuple[int, ...]
    """the prompt's ids"""
    max_tokens: int
    stop: frozenset[int] = frozenset()
    """ids that end the answer"""
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    """None: another draw each time"""
    grammar: str | None = None
    """EBNF that the answer keeps to"""
    log_probabilities: bool = False


@dataclass(frozen=True)
class Piece:
    """Holds the next part of an answer, or all of it."""

    tokens: tuple[int, ...]
    """without the one that ended it"""
    log_probabilities: tuple[float, ...] = ()
    """in nats, of each token and of the one that ended it; empty unless asked for"""
    finish: Literal["stop", "length"] | None = None
    """None while more is to come; "length" when it was cut"""


class Asked(Protocol):
    """Describes an engine, supervised or not, as heads use it. See `engines.protocol.Engine`."""

    async def complete(self, job: Job) -> Piece:
        """Returns the whole answer."""

    def stream(self, job: Job) -> AsyncGenerator[Piece]:
        """Yields the answer as it comes; closing the iterator ends the work."""

    async def classify(self, adapter: str, tokens: Sequence[int]) -> np.ndarray:
        """Returns logits (C,) float32 of the adapter's head at the last token."""

    async def states(self, adapter: str, tokens: Sequence[int]) -> np.ndarray:
        """Returns final hidden states (T, d) float32."""


class Checked(Asked, Protocol):
    """Describes an engine as certificates use it."""

    async def score(self, adapter: str, example: Example) -> list[float]:
        """Returns the log-probability in nats of each answered token of `example`."""
