"""Forward is the one forward pass of a decoder over rows laid end to end; heads, engines and methods share it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from appkit.models.batch import Batch
    from appkit.models.segments import VirtualTokens

__all__ = ["decoder", "prepend", "prepended", "states", "virtual_tokens", "without_wrapper"]

ATTRIBUTE = "virtual_tokens"
"""of a decoder: the function that gives the virtual tokens of its rows, or None"""


def without_wrapper(model: Any) -> Any:
    """Take the transformers model out of PEFT's wrapper, adapters in its layers; return a plain model as it is."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def decoder(model: Any) -> Any:
    """Find the decoder below the output layer or label head, with the adapter's layers in it."""
    return without_wrapper(model).get_decoder()


def virtual_tokens(model: Any) -> VirtualTokens | None:
    """Compute the virtual tokens that an adapter puts before each row, with gradients; None: it puts none."""
    source: Callable[[], VirtualTokens] | None = getattr(decoder(model), ATTRIBUTE, None)
    return None if source is None else source()


def prepend(model: Any, source: Callable[[], VirtualTokens] | None) -> Any:
    """Begin every row of `model` with the virtual tokens that `source` gives, None: with none; return what was set."""
    inner = decoder(model)
    before = getattr(inner, ATTRIBUTE, None)
    setattr(inner, ATTRIBUTE, source)
    return before


@contextmanager
def prepended(model: Any, source: Callable[[], VirtualTokens] | None) -> Iterator[None]:
    """Call `prepend`, and put back what was set before at the end of the block."""
    before = prepend(model, source)
    try:
        yield
    finally:
        prepend(model, before)


def states(model: Any, batch: Batch) -> torch.Tensor:
    """Compute the final hidden states of all tokens, (T, d), in the base's compute dtype."""
    segments, positions = batch.segments, batch.positions
    if (virtual := virtual_tokens(model)) is not None:
        segments = replace(segments, virtual=virtual)
        positions = segments.positions[None]
    output = decoder(model)(
        input_ids=batch.tokens, position_ids=positions, segments=segments, use_cache=False
    )
    hidden: torch.Tensor = output.last_hidden_state[0]  # (T, d)
    return hidden
