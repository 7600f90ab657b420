"""Builds a BA-LoRA model, which is PiSSA's, and computes its regularizers for each micro-batch."""

from __future__ import annotations

import math
from typing import Any

import torch

from appkit.adapters.ba_lora import terms
from appkit.adapters.ba_lora.config import BaLoraOptions
from appkit.adapters.pissa import build as pissa
from appkit.adapters.pissa.config import PissaOptions
from appkit.method import Training
from appkit.models.batch import Batch
from appkit.models.forward import decoder, states, without_wrapper
from appkit.models.label_head import apply, pooled

__all__ = ["build", "compute_weights", "regularize", "release", "watch"]


def build(base: Any, options: BaLoraOptions) -> Any:
    """Build it. Raises ConfigError when a layer has fewer singular vectors than the rank."""
    return pissa.build(base, _without_regularizers(options))


class _Watch:
    """Holds the decoder's final states (T, d) of the loss's own forward: one more forward would cost as much again."""

    def __init__(self, module: Any) -> None:
        self.states: torch.Tensor | None = None
        self.hook = module.register_forward_hook(self._on_forward)

    def _on_forward(self, module: Any, inputs: Any, output: Any) -> None:
        if torch.is_grad_enabled():
            self.states = output.last_hidden_state[0]

    def take(self) -> torch.Tensor | None:
        """Return the states, once."""
        taken, self.states = self.states, None
        return taken


def watch(model: Any, training: Training) -> None:
    """Begin to hold the decoder's states, until `release`."""
    release(model, training)
    model.ba_lora_watch = _Watch(decoder(model))


def release(model: Any, training: Training) -> None:
    """Leave the decoder as it was: the base has no hook but during a step."""
    if watched := vars(model).pop("ba_lora_watch", None):
        watched.hook.remove()


def regularize(model: Any, batch: Batch, training: Training) -> torch.Tensor:
    """Compute the three terms with their weights, in nats; the reference is the model with its adapter off."""
    options, pooling = training.options, getattr(training.loss, "pooling", None)
    of_tokens = pooling is None  # else they are of labels
    consistency, diversity, concentration = compute_weights(options, training.step, training.steps)
    watched = vars(model).get("ba_lora_watch")
    hidden = watched.take() if watched else None
    total = torch.zeros((), device=batch.tokens.device)
    if not (consistency or diversity or concentration):
        return total
    logits = _apply_head(model, states(model, batch) if hidden is None else hidden, batch, pooling)
    if consistency:
        with torch.no_grad(), model.disable_adapter():
            reference = _apply_head(model, states(model, batch), batch, pooling)
        if of_tokens:
            total = total + consistency * terms.compute_divergence(logits, reference, options.temperature)
        else:
            total = total + consistency * terms.compute_drift(logits, reference)
    if diversity and of_tokens:
        total = total - diversity * terms.compute_entropy(logits, options.top_k)
    elif diversity:
        total = total + diversity * terms.compute_correlation(logits)
    if concentration:
        sample = _spread_evenly(logits, options.svd_rows)
        total = total - concentration * terms.compute_concentration(sample, options.svd_k)
    return total


def compute_weights(options: BaLoraOptions, step: int, steps: int) -> tuple[float, float, float]:
    """Compute lambda1, lambda2 and lambda3 of step `step` (from 0) of `steps`, as the authors' runs have them."""
    if options.schedule == "constant":
        return options.lambda1, options.lambda2, options.lambda3
    fall = 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / steps))
    begin, ramp = int(0.2 * steps), max(int(0.05 * steps), 1)
    rise = min(max((step - begin) / ramp, 0.0), 1.0)
    return options.lambda1 * fall, options.lambda2 * rise, options.lambda3 * rise


def _without_regularizers(options: BaLoraOptions) -> PissaOptions:
    return PissaOptions(rank=options.rank, alpha=options.alpha, targets=options.targets, niter=options.niter)


def _apply_head(model: Any, hidden: torch.Tensor, batch: Batch, pooling: str | None) -> torch.Tensor:
    """Compute fp32 logits (L, C) of states (T, d): of the next tokens, or with a pooling of the trained label head."""
    base = without_wrapper(model)
    if pooling is None:
        logits: torch.Tensor = base.get_output_embeddings()(hidden[batch.label_positions]).float()
        cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
        return cap * torch.tanh(logits / cap) if cap else logits
    # the reference is seen through the trained head too, since the original is random
    return apply(model, pooled(hidden.float(), batch, pooling))


def _spread_evenly(logits: torch.Tensor, most: int) -> torch.Tensor:
    """Take at most `most` rows, from the first to the last at even distances."""
    rows = len(logits)
    if rows <= most:
        return logits
    return logits[torch.linspace(0, rows - 1, most, device=logits.device).long()]
