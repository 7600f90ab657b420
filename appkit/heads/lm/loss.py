"""Computes the loss of the language-model head: next-token cross-entropy at supervised positions only."""

from __future__ import annotations

from typing import Any

import torch

from appkit.models.batch import Batch
from appkit.models.forward import states, without_wrapper

__all__ = ["loss", "losses", "token_losses"]


class _FrozenVocabularyLoss(torch.autograd.Function):
    """Computes cross-entropy through a frozen output layer.

    The gradient with respect to the logits is softmax minus one-hot, known as soon as the loss is; computing
    it in place in the forward pass saves two passes over the (L, V) matrix and all its copies.
    """

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        logits = (hidden @ weight.T).float()  # (L, V)
        peak = logits.amax(1, keepdim=True)
        at_label = logits.gather(1, labels[:, None])
        logits.sub_(peak).exp_()
        total = logits.sum(1, keepdim=True)
        losses = (total.log() + peak - at_label)[:, 0]
        logits.mul_(1 / total)
        logits.scatter_add_(1, labels[:, None], logits.new_full((len(labels), 1), -1.0))
        ctx.save_for_backward(logits.to(hidden.dtype) @ weight)  # (L, C)
        return losses

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (hidden_gradient,) = ctx.saved_tensors
        return hidden_gradient * gradients[0].to(hidden_gradient.dtype)[:, None], None, None


def losses(model: Any, batch: Batch) -> torch.Tensor:
    """Computes the negative log-likelihood of each labelled token in nats, (L,), with gradients."""
    hidden = states(model, batch)[batch.label_positions]  # (L, d)
    layer = without_wrapper(model).get_output_embeddings()
    if (
        type(layer) is torch.nn.Linear
        and layer.bias is None
        and not layer.weight.requires_grad
        and not _read_softcap(model)
    ):
        each: torch.Tensor = _FrozenVocabularyLoss.apply(hidden, layer.weight, batch.labels)
        return each
    return torch.nn.functional.cross_entropy(
        _cap_logits(model, layer(hidden)).float(), batch.labels, reduction="none"
    )


def loss(model: Any, batch: Batch) -> torch.Tensor:
    """Sums the negative log-likelihood of labelled tokens, in nats (not yet divided by their number)."""
    return losses(model, batch).sum()


@torch.no_grad()
def token_losses(model: Any, batch: Batch) -> torch.Tensor:
    """Computes the negative log-likelihood of each labelled token in nats, (L,)."""
    hidden = states(model, batch)[batch.label_positions]  # (L, d)
    logits = _cap_logits(model, without_wrapper(model).get_output_embeddings()(hidden)).float()
    return torch.nn.functional.cross_entropy(logits, batch.labels, reduction="none")


def _read_softcap(model: Any) -> float | None:
    config = model.config.get_text_config()
    return getattr(config, "final_logit_softcapping", None)


def _cap_logits(model: Any, logits: torch.Tensor) -> torch.Tensor:
    cap = _read_softcap(model)
    return logits if not cap else cap * torch.tanh(logits / cap)
