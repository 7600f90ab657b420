"""Virtual tokens are learned keys and values that every row begins with; a PrefixForm is trained and loaded with them.

They are kept flat, as PEFT stores them, (n, 2 L K D): of each of n tokens, and in each of L layers, the keys of K heads
with D numbers, then the values. An encoder, a module without inputs, computes them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from appkit.errors import BundleError, ConfigError
from appkit.method import PrefixForm
from appkit.models.forward import decoder, prepend, prepended
from appkit.models.segments import VirtualTokens

__all__ = ["EMBEDDINGS", "Prefixed", "Sizes", "Table", "export", "flatten", "restore", "split"]

EMBEDDINGS = "prompt_embeddings"
"""PEFT's name of the flat tensor"""
HEAD = "base_model.score."
"""PEFT's name of a label head beside it, before the parameter's own"""
TASKS = {"ForSequenceClassification": "SEQ_CLS", "ForTokenClassification": "TOKEN_CLS"}
"""PEFT's task types, by the end of the class that has the head"""


@dataclass(frozen=True)
class Sizes:
    """The sizes of a base's keys."""

    layers: int
    """L"""
    heads: int
    """K, of keys and values"""
    width: int
    """D, of one head"""

    @classmethod
    def of(cls, base: Any) -> Sizes:
        """Read them. Raises ConfigError for a base whose layers do not all have a k_proj of one width."""
        text = base.config.get_text_config()
        widths = [
            module.k_proj.out_features for module in decoder(base).modules() if hasattr(module, "k_proj")
        ]
        if len(widths) != text.num_hidden_layers or len(set(widths)) != 1:
            raise ConfigError(
                f"virtual tokens need a base with keys of one width in each of its {text.num_hidden_layers} layers, "
                f"{type(base).__name__} has {len(widths)} of {len(set(widths))} widths; choose another base or method"
            )
        heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
        return cls(len(widths), heads, widths[0] // heads)

    @property
    def flat(self) -> int:
        """2 L K D, the numbers of one virtual token."""
        return 2 * self.layers * self.heads * self.width


def split(flat: torch.Tensor, sizes: Sizes, dtype: torch.dtype) -> VirtualTokens:
    """Split flat virtual tokens (n, 2 L K D) into keys and values (1, K, n, D) of each layer, in `dtype`."""
    parts = flat.to(dtype).view(len(flat), sizes.layers, 2, 1, sizes.heads, sizes.width)
    layers = parts.permute(1, 2, 3, 4, 0, 5)  # (L, 2, 1, K, n, D)
    return [(keys, values) for keys, values in layers]


def flatten(tokens: VirtualTokens) -> torch.Tensor:
    """Join keys and values (1, K, n, D) of each layer to flat virtual tokens (n, 2 L K D), fp32."""
    parts = [part[0].transpose(0, 1).flatten(1) for pair in tokens for part in pair]  # (n, K D)
    return torch.cat(parts, 1).float()


class Table(torch.nn.Module):
    """Keeps flat virtual tokens as they are."""

    def __init__(self, weight: torch.Tensor, *, train: bool = False) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(weight, requires_grad=train)

    def forward(self) -> torch.Tensor:
        """Return them, (n, 2 L K D)."""
        return self.weight


class Prefixed(torch.nn.Module):
    """A model whose rows begin with virtual tokens, computed by `encoder`.

    It has the methods of a PEFT model that the core calls: `get_base_model`, `disable_adapter`, `unload`. A label head
    is a trained fp32 copy, as with PEFT's `modules_to_save`; it stays when the adapter is disabled.
    """

    def __init__(self, base: Any, encoder: torch.nn.Module, *, train: bool = False) -> None:
        """Put the virtual tokens before the rows of `base`; with `train` its label head, if there is one, learns.

        Raises ConfigError as `Sizes.of`.
        """
        super().__init__()
        self.sizes = Sizes.of(base)
        self.base, self.encoder, self.config = base, encoder, base.config
        head = getattr(base, "score", None)
        self.untrained = [] if head is None else [head]  # a list: its parameters are not the model's
        if head is not None:
            base.score = copy.deepcopy(head).float().requires_grad_(train)
        prepend(base, self.tokens)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.base(*args, **kwargs)

    def tokens(self) -> VirtualTokens:
        """Compute the virtual tokens in the base's dtype, with gradients."""
        return split(self.encoder(), self.sizes, decoder(self.base).dtype)

    def get_base_model(self) -> Any:
        """Return the base, with the virtual tokens before its rows."""
        return self.base

    @contextmanager
    def disable_adapter(self) -> Iterator[None]:
        """Begin rows without virtual tokens inside the block."""
        with prepended(self.base, None):
            yield

    def unload(self) -> Any:
        """Take the virtual tokens and the trained head away for good; return the base."""
        prepend(self.base, None)
        for head in self.untrained:
            self.base.score = head
        return self.base


def export(model: Prefixed, options: Any) -> PrefixForm:
    """Export the virtual tokens as PEFT's prefix tuning stores them, whatever encoder computed them.

    A `Method.export` for every `Prefixed` model: its encoder says all, the options nothing more.
    """
    from peft import PrefixTuningConfig

    flat = model.encoder().detach().float().cpu().contiguous().clone()
    name, sizes = type(model.base).__name__, model.sizes
    config = PrefixTuningConfig(
        task_type=next((task for end, task in TASKS.items() if name.endswith(end)), "CAUSAL_LM"),
        num_virtual_tokens=len(flat),
        token_dim=sizes.heads * sizes.width,
        num_transformer_submodules=1,
        num_attention_heads=sizes.heads,
        num_layers=sizes.layers,
        encoder_hidden_size=sizes.heads * sizes.width,
        modules_to_save=["classifier", "score"] if model.untrained else None,
        inference_mode=True,
    ).to_dict()
    head = dict(model.base.score.named_parameters()) if model.untrained else {}
    tensors = {f"{HEAD}{part}": parameter.detach().cpu().clone() for part, parameter in head.items()}
    return PrefixForm(config, {EMBEDDINGS: flat, **tensors}, error=0.0)


def restore(base: Any, tensors: Mapping[str, torch.Tensor]) -> Prefixed:
    """Build the trained model from the tensors of a PrefixForm.

    Raises BundleError for tensors that do not fit the base, ConfigError as `Sizes.of`.
    """
    head = getattr(base, "score", None)
    names = {} if head is None else {f"{HEAD}{part}": value for part, value in head.named_parameters()}
    expected = {name: tuple(value.shape) for name, value in names.items()}
    flat = tensors.get(EMBEDDINGS)
    expected[EMBEDDINGS] = (0 if flat is None else len(flat), Sizes.of(base).flat)
    if (shapes := {name: tuple(tensor.shape) for name, tensor in tensors.items()}) != expected:
        raise BundleError(
            f"the virtual tokens have the shapes {shapes}, the base asks for {expected}; copy the bundle again"
        )
    model = Prefixed(base, Table(tensors[EMBEDDINGS].to(base.device, torch.float32)))
    for name in names:
        part = model.base.score.get_parameter(name.removeprefix(HEAD))
        part.data.copy_(tensors[name])
    return model
