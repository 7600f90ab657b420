"""Bases makes random matrices from a seed whenever they are needed, a few at a time, the same on every device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

__all__ = ["Bases", "Mixture", "splitmix64"]

CHUNK = 1 << 20
"""numbers that exist at a time, or one basis where that is more"""
# the constants of splitmix64, as signed numbers
GOLDEN, FIRST, SECOND = (
    constant - (1 << 64) for constant in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


@dataclass(frozen=True)
class Bases:
    """K matrices, uniform in ±1 / sqrt(K), of which nothing but this record is stored."""

    seed: int
    """0 to 2^62"""
    count: int
    """K"""
    shape: tuple[int, int]
    """of each"""

    def combine(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Compute sum_k c_k W_k, of this shape: coefficients c (K,) in fp32."""
        total = coefficients.new_zeros(self.shape[0] * self.shape[1])
        for first, chunk in self._chunks(coefficients.device):
            total += coefficients[first : first + len(chunk)] @ chunk
        return total.view(self.shape)

    def project(self, matrix: torch.Tensor) -> torch.Tensor:
        """Compute <W_k, matrix> for each basis, (K,): matrix of this shape."""
        flat = matrix.flatten()
        return torch.cat([chunk @ flat for _, chunk in self._chunks(matrix.device)])

    def _chunks(self, device: torch.device) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield bases in turn: the number of the first, and (some of K, rows x columns)."""
        size = self.shape[0] * self.shape[1]
        words = (size + 1) // 2  # 64 bits make two numbers
        step = max(1, CHUNK // size)
        for first in range(0, self.count, step):
            last = min(first + step, self.count)
            bits = splitmix64(torch.arange(first * words, last * words, device=device), self.seed)
            numbers = bits.view(torch.int32).view(last - first, 2 * words)[:, :size].float()
            yield first, numbers.mul_(2**-31 / self.count**0.5)


class Mixture(torch.autograd.Function):
    """Gives `value`, which is sum_k c_k W_k plus a constant, the gradient of c (K,): the bases are made once more."""

    @staticmethod
    def forward(ctx: Any, coefficients: torch.Tensor, bases: Bases, value: torch.Tensor) -> torch.Tensor:
        ctx.bases = bases
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return ctx.bases.project(gradients[0]), None, None


def splitmix64(index: torch.Tensor, seed: int) -> torch.Tensor:
    """Compute the 64 random bits of each index (n,) int64 in the stream of a seed, by splitmix64.

    Integers wrap alike on every device; torch's own generators differ between CPU and GPU.
    """
    bits = (index + 1) * GOLDEN + seed
    bits = (bits ^ _shift_right(bits, 30)) * FIRST
    bits = (bits ^ _shift_right(bits, 27)) * SECOND
    return bits ^ _shift_right(bits, 31)


def _shift_right(bits: torch.Tensor, places: int) -> torch.Tensor:
    """Shift as if the numbers had no sign."""
    return (bits >> places) & ((1 << (64 - places)) - 1)
