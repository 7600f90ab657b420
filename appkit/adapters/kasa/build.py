"""Builds a KaSA model: an update with singular values of its own, where the weight's smallest ones were."""

from __future__ import annotations

from typing import Any

import torch

from appkit.adapters.carrier import carrier
from appkit.adapters.factors import ADAPTER, drive, keep, layers, pair, require_rank, weight
from appkit.adapters.kasa.config import KasaOptions
from appkit.errors import ConfigError
from appkit.method import Training

__all__ = ["build", "penalty"]


def build(base: Any, options: KasaOptions) -> Any:
    """Build it. Raises ConfigError when a layer does not have more singular vectors than the rank."""
    model = carrier(base, options)
    r = options.rank
    require_rank(model, r)
    _require_remainder(model, r)
    for _, layer in layers(model):
        U, S, Vh = torch.linalg.svd(weight(layer), full_matrices=False)  # the largest first
        keep(layer, "A0", Vh[-r:], train=False)
        keep(layer, "B0", U[:, -r:] * S[-r:], train=False)
        # B is zero, so any numbers will do; drawn on the CPU, they are the same on every device
        keep(layer, "sigma", torch.randn(r).to(S.device), train=True)
    drive(model, product)
    return model


def product(layer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the factors, of rank 2r, of s B diag(σ) A - B0 A0, where B0 A0 are the weight's smallest components."""
    A, B = pair(layer)
    own = B * (layer.lora_sigma * layer.scaling[ADAPTER])
    return torch.cat([A, layer.lora_A0]), torch.cat([own, -layer.lora_B0], dim=1)


def penalty(model: Any, batch: Any, training: Training) -> torch.Tensor:
    """Return β |σ|² + γ (|B^T B - I| + |A A^T - I|) in nats, Frobenius norms, a mean over the layers."""
    terms = []
    for _, layer in layers(model):
        A, B = pair(layer)
        identity = torch.eye(len(A), device=A.device)
        turned = torch.linalg.norm(B.T @ B - identity) + torch.linalg.norm(A @ A.T - identity)
        terms.append(
            training.options.beta * layer.lora_sigma.square().sum() + training.options.gamma * turned
        )
    return torch.stack(terms).mean()


def _require_remainder(model: Any, rank: int) -> None:
    """Raise ConfigError when a layer has no more than `rank` singular vectors: nothing of its weight would be left."""
    for name, layer in layers(model):
        most = min(layer.in_features, layer.out_features)
        if rank == most:
            raise ConfigError(
                f"method.rank is {rank}, all singular vectors that {name} ({layer.out_features} x "
                f"{layer.in_features}) has: nothing of its weight would be left; use method.rank={most - 1} or less, "
                "or other method.targets"
            )
