"""Defines what a running gateway holds."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from appkit.serving.engines.protocol import EngineGone
from appkit.serving.engines.supervised import Pool
from appkit.serving.gateway.keys import Key, Keys
from appkit.serving.gateway.registry import Registry, Target, Unknown
from appkit.serving.gateway.settings import Settings

if TYPE_CHECKING:
    from appkit.rag.rows import AtHand
    from appkit.serving.gateway.metrics import Metrics
    from appkit.serving.gateway.trainer import Trainer

__all__ = ["Gateway"]


@dataclass
class Gateway:
    """Holds the parts of a running gateway."""

    settings: Settings
    keys: Keys
    pool: Pool
    """the engines"""
    registry: Registry
    """bundles and aliases that are served"""
    metrics: Metrics
    root: Path | None = None
    """directory below which bundles may be added, and trained; None: nowhere"""
    trainer: Trainer | None = None
    """trains below `root`"""
    rag: AtHand | None = None
    """documents at hand"""
    starting: list[str] = field(default_factory=list)
    """directories of bundles that are still being loaded"""
    refused: dict[str, str] = field(default_factory=dict)
    """directory -> why the bundle in it is not served"""
    tools: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(os.cpu_count() or 1))
    """limits packs' tools that compute at once"""

    @property
    def ready(self) -> bool:
        return not self.starting and bool(self.pool.engines) and self.pool.ready

    def find(self, model: str, key: Key, draw: Callable[[], float] = random.random) -> Target:
        """Finds what answers `model` for this key; a key without that alias does not learn that it exists."""
        if not key.may_use(model):
            raise Unknown(f"no model {model!r} for the key {key.name!r}; GET /v1/models lists its own")
        try:
            return self.registry.resolve(model, draw)
        except Unknown:
            if self.starting:
                raise EngineGone(f"{model!r} may still be loading; try again in some seconds") from None
            raise
