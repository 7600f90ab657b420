"""Computes label heads: a linear layer on final hidden states, of sequences or of words (LS-LLaMA, arXiv 2310.01208).

The model is transformers' own `…ForSequenceClassification` or `…ForTokenClassification` around the base's decoder, so
that PEFT saves the head as it always does; what is computed here is the same, over rows laid end to end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from appkit.errors import ModelError
from appkit.models.batch import Batch
from appkit.models.forward import states
from appkit.models.label_head import apply, pooled, trained_head

__all__ = ["LabelLoss", "apply", "attach", "logits", "pooled", "trained_head"]


def attach(base: Any, kind: str, outputs: int) -> Any:
    """Puts a fresh fp32 head of `outputs` rows on the base's decoder; the base's own output layer is left out.

    The head's weights come from torch's global generator: seed it first.
    Raises ModelError for an architecture that transformers has no such class for.
    """
    from transformers import (
        MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
        MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    )

    mapping = (
        MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
        if kind == "sequence"
        else MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING
    )
    if type(base.config) not in mapping:
        raise ModelError(
            f"transformers has no {kind} head for {type(base).__name__}; choose a base of another architecture"
        )
    prefix = base.base_model_prefix
    config = type(base.config).from_dict(base.config.to_dict())
    config.num_labels = outputs
    with torch.device("meta"):
        model = mapping[type(base.config)](config)
    if not hasattr(model, prefix) or not isinstance(getattr(model, "score", None), torch.nn.Linear):
        raise ModelError(
            f"{type(model).__name__} keeps its head elsewhere than in `score`; choose another base"
        )
    setattr(model, prefix, getattr(base, prefix))
    width = model.score.in_features
    model.score = torch.nn.Linear(width, outputs, bias=model.score.bias is not None, device=base.device)
    # as transformers initializes it: small, so that training starts from even odds
    torch.nn.init.normal_(model.score.weight, std=config.get_text_config().initializer_range)
    if model.score.bias is not None:
        torch.nn.init.zeros_(model.score.bias)
    model.is_quantized = getattr(base, "is_quantized", False)
    return model.eval()


def logits(model: Any, batch: Batch, pooling: str) -> torch.Tensor:
    """Computes logits (L, C) of a batch."""
    return apply(model, pooled(states(model, batch).float(), batch, pooling))


@dataclass(frozen=True)
class LabelLoss:
    """Computes (model, batch) -> the sum over sequences or words of their loss (not yet divided by their number)."""

    problem: str
    """single: cross-entropy in nats; multi: binary cross-entropy, mean over classes; regression: squared error of
    standardized numbers"""
    pooling: str
    """last, mean or max; none for words"""
    dropout: float = 0.0
    """probability, 0 to 1, on what the head sees"""
    smoothing: float = 0.0
    """share of the target, 0 to 1, that is spread over all labels"""
    weights: tuple[float, ...] | None = None
    """(C,) of the classes, mean 1 over the training set; None: all alike"""

    def __call__(self, model: Any, batch: Batch) -> torch.Tensor:
        return self.each(model, batch).sum()

    def each(self, model: Any, batch: Batch) -> torch.Tensor:
        """Computes the loss of each sequence or word, (L,)."""
        seen = pooled(states(model, batch).float(), batch, self.pooling)
        seen = functional.dropout(seen, self.dropout, training=model.training)
        return self.of_logits(apply(model, seen), batch.labels)

    def of_logits(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Computes the losses (L,) of logits (L, C) and labels (L,) or (L, C)."""
        weights = None if self.weights is None else logits.new_tensor(self.weights)
        if self.problem == "regression":
            return functional.mse_loss(logits[:, 0], labels, reduction="none")
        if self.problem == "multi":
            smooth = labels * (1 - self.smoothing) + 0.5 * self.smoothing
            each = functional.binary_cross_entropy_with_logits(
                logits, smooth, pos_weight=weights, reduction="none"
            )
            return each.mean(1)
        return functional.cross_entropy(
            logits, labels, weight=weights, label_smoothing=self.smoothing, reduction="none"
        )
