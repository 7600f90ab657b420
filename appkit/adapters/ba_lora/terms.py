"""Terms computes the regularizers of BA-LoRA from logits (L, C), a row for each supervised token or label."""

from __future__ import annotations

import torch
from torch.nn.functional import kl_div, log_softmax, mse_loss, normalize

__all__ = [
    "compute_concentration",
    "compute_correlation",
    "compute_divergence",
    "compute_drift",
    "compute_entropy",
]

TINY = 1e-7
"""share of the squares below which a singular value is noise of fp32 and has no gradient"""


def compute_divergence(logits: torch.Tensor, reference: torch.Tensor, temperature: float) -> torch.Tensor:
    """Compute KL(reference, logits) in nats, both at a temperature T, as a mean over rows, times T^2."""
    own = log_softmax(logits / temperature, dim=-1)
    its = log_softmax(reference / temperature, dim=-1)
    return kl_div(own, its, reduction="batchmean", log_target=True) * temperature**2


def compute_entropy(logits: torch.Tensor, top_k: int) -> torch.Tensor:
    """Compute the entropy in nats among the `top_k` likeliest columns (0: all), as a mean over rows."""
    if 0 < top_k < logits.shape[1]:
        logits = logits.topk(top_k).values
    log_p = log_softmax(logits, dim=-1)
    return -(log_p.exp() * log_p).sum(-1).mean()


def compute_concentration(logits: torch.Tensor, k: int) -> torch.Tensor:
    """Compute the sum of the k largest singular values over the root of the sum of all their squares."""
    rows, columns = logits.shape
    gram = logits @ logits.T if rows <= columns else logits.T @ logits
    energy = gram.trace().clamp_min(TINY)
    squares = torch.linalg.eigvalsh(gram)[-k:]  # of singular values, ascending
    concentration: torch.Tensor = (squares / energy).clamp_min(TINY).sqrt().sum()
    return concentration


def compute_drift(logits: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Compute the mean squared difference of the rows, each with norm 1."""
    return mse_loss(normalize(logits, dim=-1), normalize(reference, dim=-1))


def compute_correlation(logits: torch.Tensor) -> torch.Tensor:
    """Compute the sum of squared covariances between different columns, over the number of columns; of one row, 0."""
    rows, columns = logits.shape
    centered = logits - logits.mean(0)
    covariance = centered.T @ centered / max(rows - 1, 1)
    return (covariance - torch.diag(covariance.diagonal())).square().sum() / columns
