"""Forward is the one forward pass of a decoder over rows laid end to end; heads, engines and methods share it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from appkit.models.batch import Batch

__all__ = ["decoder", "states", "without_wrapper"]


def without_wrapper(model: Any) -> Any:
    """Take the transformers model out of PEFT's wrapper, adapters in its layers; return a plain model as it is."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def decoder(model: Any) -> Any:
    """Find the decoder below the output layer or label head, with the adapter's layers in it."""
    return without_wrapper(model).get_decoder()


def states(model: Any, batch: Batch) -> torch.Tensor:
    """Compute the final hidden states of all tokens, (T, d), in the base's compute dtype."""
    output = decoder(model)(
        input_ids=batch.tokens, position_ids=batch.positions, segments=batch.segments, use_cache=False
    )
    hidden: torch.Tensor = output.last_hidden_state[0]  # (T, d)
    return hidden
