"""The Method record: all that the core knows of an adapter method, and the forms in which one exports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel

if TYPE_CHECKING:
    import torch

__all__ = [
    "ENGINE_RANKS",
    "Form",
    "FullForm",
    "LoraForm",
    "Method",
    "RoutedForm",
    "Servable",
    "Training",
]

ENGINE_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""max_lora_rank values that vLLM 0.32 accepts; an adapter needs the next one up. Here, not with the engine, since a run
has to know before it trains by which engines its bundle will be served."""


@dataclass(frozen=True)
class Servable:
    """Which engines can serve what a configuration will export, known before training starts."""

    engines: tuple[str, ...]
    rank: int | None
    """of the export, at most; None: it is no low-rank update"""
    reason: str = ""
    """why an engine is missing, or what serving costs"""

    def within_limits(self) -> Servable:
        """The same without engines that have no room for the rank."""
        limit = ENGINE_RANKS[-1]
        if self.rank is None or self.rank <= limit or "vllm" not in self.engines:
            return self
        engines = tuple(name for name in self.engines if name != "vllm")
        return replace(
            self, engines=engines, reason=f"vLLM's rank limit is {limit}, the export has {self.rank}"
        )


@dataclass(frozen=True)
class LoraForm:
    """A plain LoRA on the unmodified base, in PEFT's form: every engine loads it."""

    config: Mapping[str, Any]
    """of PEFT"""
    tensors: Mapping[str, torch.Tensor]
    """under PEFT's names"""
    error: float
    """largest difference of a weight update between training and export, relative to it"""

    kind: ClassVar[str] = "lora"

    @property
    def rank(self) -> int | None:
        """The largest rank of a module."""
        return max(int(self.config["r"]), *map(int, (self.config.get("rank_pattern") or {}).values()), 0)


@dataclass(frozen=True)
class RoutedForm:
    """Experts as one LoRA of rank E·r, and the routers that weigh their blocks: PEFT alone would not route."""

    config: Mapping[str, Any]
    """of PEFT, for the factors"""
    tensors: Mapping[str, torch.Tensor]
    """the factors, under PEFT's names"""
    routers: Mapping[str, torch.Tensor]
    """the method's own, by name"""
    routing: Mapping[str, Any]
    """how routers and blocks belong together, as the manifest keeps it"""
    error: float

    kind: ClassVar[str] = "routed"

    @property
    def rank(self) -> int | None:
        return int(self.config["r"])


@dataclass(frozen=True)
class FullForm:
    """Changed weights of the base itself, under its own names and in its compute dtype: what was computed with."""

    tensors: Mapping[str, torch.Tensor]
    error: float

    kind: ClassVar[str] = "full"
    config: ClassVar[Mapping[str, Any]] = {"form": "full"}
    rank: ClassVar[int | None] = None


Form = LoraForm | RoutedForm | FullForm


@dataclass
class Training:
    """What hooks know of the training they are part of; one for each call of `fit`."""

    options: Any
    """the method's own"""
    seed: int
    steps: int
    """optimizer steps of the whole run"""
    loss: Callable[[Any, Any], torch.Tensor]
    """(model, batch) -> the head's loss, a sum over its units"""
    batches: Callable[[], Iterator[Any]]
    """the plan's micro-batches, from the first one at each call"""
    optimizer: Any = None
    """None before training"""
    step: int = 0
    """optimizer steps that are done"""


@dataclass(frozen=True)
class Method:
    """An adapter method.

    Names of what is trained are those of the parameters that require a gradient once `before_training` is over. What a
    hook draws at random is a pure function of (seed, step): then a run that is cut and resumed ends in the same bits.
    """

    name: str
    summary: str
    config: type[BaseModel]
    """options (`method.<key>=`), a frozen pydantic model"""
    build: Callable[[Any, Any], Any]
    """(base model, options) -> PEFT model, or one with its `get_base_model`, `disable_adapter` and `unload`, whose
    trained parameters are fp32 and everything else frozen; `unload` gives the base back as it was"""
    servable: Callable[[Any], Servable]
    """options -> engines and exported rank"""
    export: Callable[[Any, Any], Form]
    """(model, options) -> what the bundle holds"""
    changes_base: Callable[[Any], bool] = field(default=lambda options: False)
    """options -> whether `build` changes weights of the base"""
    trained: Callable[[Any, Sequence[tuple[int, int]]], int] | None = None
    """(options, shapes (O, I) of the base's linear layers) -> trained parameters; None: factors of the exported rank"""
    before_training: Callable[[Any, Training], None] | None = None
    """(model, training): once, to look at data or gradients; not when a run is resumed"""
    param_groups: Callable[[Any, Any, float], list[dict[str, Any]]] | None = None
    """(model, options, learning rate) -> the optimizer's groups, each trained parameter in one of them"""
    optimizer: Callable[[list[dict[str, Any]], Any, Any], torch.optim.Optimizer] | None = None
    """(groups, options, TrainConfig) -> optimizer; None: the configuration's"""
    before_forward: Callable[[Any, Training], None] | None = None
    """(model, training): at the begin of each step"""
    before_step: Callable[[Any, Training], None] | None = None
    """(model, training): gradients live, already clipped"""
    after_step: Callable[[Any, Training], None] | None = None
    """(model, training): parameters updated"""
    extra_loss: Callable[[Any, Any, Training], torch.Tensor] | None = None
    """(model, batch, training) -> added to the loss of each micro-batch, whose graph is live; it counts by the
    micro-batch's share of the step"""
    state: Callable[[Any], Mapping[str, torch.Tensor]] | None = None
    """model -> what a checkpoint has to keep besides the trained parameters"""
    load_state: Callable[[Any, Mapping[str, torch.Tensor]], None] | None = None
    """(model, state): the opposite"""
    restore: Callable[[Any, Any, Mapping[str, torch.Tensor]], Any] | None = None
    """(base model, options, tensors of a RoutedForm) -> the trained model"""

    def trained_parameters(self, options: Any, shapes: Sequence[tuple[int, int]]) -> int:
        """How many parameters are trained on linear layers of these shapes (O, I)."""
        if self.trained is not None:
            return self.trained(options, shapes)
        rank = self.servable(options).rank or 0
        return rank * sum(out + into for out, into in shapes)
