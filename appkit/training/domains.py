"""Domains keeps the loss of a step by the domain of its rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch

__all__ = ["DomainLosses"]


class DomainLosses:
    """Sums of losses and numbers of targets, by domain; nothing is kept of rows that all lack one."""

    def __init__(self) -> None:
        self.sums: dict[str | None, torch.Tensor] = {}
        self.targets: dict[str | None, int] = defaultdict(int)

    def add(self, examples: Sequence[Any], losses: torch.Tensor) -> None:
        """Add a batch: examples, with `targets` and `domain`; losses (L,), of their targets in order."""
        if all(example.domain is None for example in examples):
            return
        parts = torch.split(losses.detach(), [example.targets for example in examples])
        for example, part in zip(examples, parts, strict=True):
            self.sums[example.domain] = self.sums.get(example.domain, 0) + part.sum()
            self.targets[example.domain] += example.targets

    def means(self) -> dict[str, float]:
        """Compute the mean loss of each domain, in nats for each target; "" for rows of none."""
        return {name or "": float(total) / self.targets[name] for name, total in self.sums.items()}
