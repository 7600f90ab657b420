"""Builds a prefix-tuned model, its virtual tokens trained as they are or through an MLP."""

from __future__ import annotations

from typing import Any

import torch

from appkit.adapters.gradients import watched_layers
from appkit.adapters.prefix.config import PrefixOptions
from appkit.adapters.virtual_tokens import Prefixed, Sizes, Table, flatten
from appkit.method import Training
from appkit.models.forward import decoder
from appkit.models.kv_cache import Cache
from appkit.models.segments import Segments, VirtualTokens

__all__ = ["Projected", "build", "read_tokens", "start_from_tokens"]


class Projected(torch.nn.Module):
    """Computes flat virtual tokens from narrow embeddings by an MLP, as the paper does to train more stably."""

    def __init__(self, tokens: int, hidden: int, sizes: Sizes) -> None:
        """Draw embeddings and MLP as PEFT's PrefixEncoder does, in its order."""
        super().__init__()
        width = sizes.heads * sizes.width
        self.embedding = torch.nn.Parameter(torch.nn.init.normal_(torch.empty(tokens, width)))
        self.transform = torch.nn.Sequential(
            torch.nn.Linear(width, hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, sizes.flat)
        )

    def forward(self) -> torch.Tensor:
        """Return the virtual tokens, (n, 2 L K D)."""
        flat: torch.Tensor = self.transform(self.embedding)
        return flat


def build(base: Any, options: PrefixOptions) -> Prefixed:
    """Build it: fp32 virtual tokens, and a label head if the base has one; everything else frozen.

    Random numbers come from torch's global generator: seed it first. Raises ConfigError for a base whose layers do not
    all have keys of one width.
    """
    sizes = Sizes.of(base)
    encoder: torch.nn.Module
    if options.projection is None:
        drawn = torch.nn.init.normal_(torch.empty(options.tokens, sizes.flat))
        encoder = Table(drawn, train=True)
    else:
        encoder = Projected(options.tokens, options.projection, sizes)
    base.requires_grad_(False)
    return Prefixed(base, encoder.to(base.device), train=True)


def start_from_tokens(model: Prefixed, training: Training) -> None:
    """Set the virtual tokens to keys and values of real ones; a `Method.before_training` for `init=tokens`.

    They are the first tokens of the first batch: the opening that its rows share, then the rows' own.
    """
    if training.options.start != "tokens":
        return
    line = next(training.batches()).tokens[0]
    count = training.options.tokens
    tokens = line.repeat(-(-count // len(line)))[:count]
    # as in training: on some CPUs a 4-bit layer packs its weight anew in an evaluation
    with torch.no_grad(), model.disable_adapter(), watched_layers(model, lambda name: _see_nothing, only=()):
        model.encoder.weight.copy_(flatten(read_tokens(model, tokens)))  # type: ignore[operator]


def _see_nothing(layer: Any, inputs: Any, output: Any) -> None:
    """Takes the place of a hook: no layer is watched."""


def read_tokens(model: Any, tokens: torch.Tensor) -> VirtualTokens:
    """Compute keys and values (1, K, n, D) in each layer of one text, tokens (n,), from position 0 on."""
    count, device = len(tokens), tokens.device
    cache = Cache(model.config.get_text_config().num_hidden_layers)
    cache.begin(1, count, device)
    segments = Segments.of([count], device, cache=cache)
    decoder(model)(
        input_ids=tokens[None], position_ids=segments.positions[None], segments=segments, use_cache=False
    )
    return [pair for pair in cache.own if pair is not None]
