"""The Method record: all that the core knows of an adapter method."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

if TYPE_CHECKING:
    import torch

__all__ = ["ENGINE_RANKS", "Exported", "Method", "Servable"]

ENGINE_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""max_lora_rank values that vLLM 0.32 accepts; an adapter needs the next one up."""


@dataclass(frozen=True)
class Servable:
    """Which engines can serve what a config will export, known before training starts."""

    engines: tuple[str, ...]
    rank: int | None
    reason: str = ""


@dataclass(frozen=True)
class Exported:
    """An adapter in the form that is served.

    kind: `lora` is a plain LoRA on the unmodified base; `merged` is a whole model; `none` stays in training
    form. error: largest difference of a weight update between training and exported form, relative to it.
    """

    kind: Literal["lora", "merged", "none"]
    config: Mapping[str, Any]
    tensors: Mapping[str, torch.Tensor]
    error: float


@dataclass(frozen=True)
class Method:
    """An adapter method.

    build: (base model, config) -> PEFT model whose trainable parameters are fp32.
    servable: config -> engines and exported rank.
    export: (PEFT model, config) -> Exported.
    before_training: (model, batches) -> None, where batches is an iterable of training batches, for methods
    that look at data first. param_groups: (model, config, learning rate) -> optimizer groups. before_step
    runs with gradients live, after_step after the update, both with the step's number; extra_loss is added
    to the head's loss once per step.
    """

    name: str
    summary: str
    config: type[BaseModel]
    build: Callable[[Any, Any], Any]
    servable: Callable[[Any], Servable]
    export: Callable[[Any, Any], Exported]
    before_training: Callable[[Any, Iterable[Any]], None] | None = None
    param_groups: Callable[[Any, Any, float], list[dict[str, Any]]] | None = None
    before_step: Callable[[Any, int], None] | None = None
    after_step: Callable[[Any, int], None] | None = None
    extra_loss: Callable[[Any], torch.Tensor] | None = None
