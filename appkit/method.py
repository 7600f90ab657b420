"""Method is the record of all that the core knows of an adapter method, with the forms of its exports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
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
    "PrefixForm",
    "RoutedForm",
    "Servable",
    "Training",
    "deferred",
]

ENGINE_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""max_lora_rank values that vLLM 0.32 accepts; an adapter needs the next one up. They are here, not with the engine,
since a run has to know before training which engines can serve its bundle."""


@dataclass(frozen=True)
class Servable:
    """Which engines can serve what a configuration will export, known before training starts."""

    engines: tuple[str, ...]
    """names: vllm, transformers"""
    rank: int | None
    """of the export, at most; 0: it holds no factors; None: it changes weights of the base"""
    reason: str = ""
    """why an engine is missing, or what serving costs"""

    def within_limits(self) -> Servable:
        """Remove the engines whose limit is below the rank."""
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
    """Experts as one LoRA of rank E·r, and the routers that weigh their blocks; PEFT alone does not route."""

    config: Mapping[str, Any]
    """of PEFT, for the factors"""
    tensors: Mapping[str, torch.Tensor]
    """the factors, under PEFT's names"""
    routers: Mapping[str, torch.Tensor]
    """the method's own, by name"""
    routing: Mapping[str, Any]
    """which router weighs which block, as the manifest stores it"""
    error: float
    """as of a LoraForm"""

    kind: ClassVar[str] = "routed"

    @property
    def rank(self) -> int | None:
        """E·r, the rank of the factors."""
        return int(self.config["r"])


@dataclass(frozen=True)
class FullForm:
    """Changed weights of the base itself, in its compute dtype."""

    tensors: Mapping[str, torch.Tensor]
    """whole weights, under the base's own names"""
    error: float
    """as of a LoraForm"""

    kind: ClassVar[str] = "full"
    config: ClassVar[Mapping[str, Any]] = {"form": "full"}
    rank: ClassVar[int | None] = None


@dataclass(frozen=True)
class PrefixForm:
    """Keys and values that every row begins with in each layer (virtual tokens), in PEFT's form: PEFT loads it."""

    config: Mapping[str, Any]
    """of PEFT, with its `num_virtual_tokens`"""
    tensors: Mapping[str, torch.Tensor]
    """under PEFT's names: `prompt_embeddings`, and those of a label head"""
    error: float
    """as of a LoraForm"""

    kind: ClassVar[str] = "prefix"
    rank: ClassVar[int | None] = None


Form = LoraForm | RoutedForm | FullForm | PrefixForm


@dataclass
class Training:
    """What a method's hooks know of the training; one for each call of `fit`."""

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

    The trained parameters are those that require a gradient after `before_training`. A hook's random numbers must be a
    pure function of (seed, step), so that an interrupted and resumed run ends in the same bits.
    """

    name: str
    summary: str
    """what it does, in half a line"""
    config: type[BaseModel]
    """options (`method.<key>=`), a frozen pydantic model"""
    build: Callable[[Any, Any], Any]
    """(base model, options) -> PEFT model, or one with its `get_base_model`, `disable_adapter` and `unload`, whose
    trained parameters are fp32 and everything else frozen; it never writes to the base's weights, and `unload` gives
    the base back as it was"""
    servable: Callable[[Any], Servable]
    """options -> engines and exported rank"""
    export: Callable[[Any, Any], Form]
    """(model, options) -> what the bundle holds"""
    trained: Callable[[Any, Sequence[tuple[int, int]]], int] | None = None
    """(options, shapes (O, I) of the base's linear layers) -> trained parameters; None: factors of the exported rank"""
    virtual_tokens: Callable[[Any], int] | None = None
    """options -> positions that the adapter takes before each row; None: it takes none"""
    before_training: Callable[[Any, Training], None] | None = None
    """(model, training): once, to look at data or gradients; not when a run is resumed"""
    param_groups: Callable[[Any, Any, float], list[dict[str, Any]]] | None = None
    """(model, options, learning rate) -> the optimizer's groups, each trained parameter in one of them"""
    optimizer: Callable[[list[dict[str, Any]], Any, Any], torch.optim.Optimizer] | None = None
    """(groups, options, TrainConfig) -> optimizer; None: the configuration's"""
    before_forward: Callable[[Any, Training], None] | None = None
    """(model, training): at the beginning of each step"""
    before_step: Callable[[Any, Training], None] | None = None
    """(model, training): gradients live, already clipped"""
    after_step: Callable[[Any, Training], None] | None = None
    """(model, training): parameters updated"""
    extra_loss: Callable[[Any, Any, Training], torch.Tensor] | None = None
    """(model, batch, training) -> a term added to the loss of each micro-batch, while its graph is live, weighted by
    the micro-batch's share of the step"""
    state: Callable[[Any], Mapping[str, torch.Tensor]] | None = None
    """model -> tensors that a checkpoint stores besides the trained parameters"""
    load_state: Callable[[Any, Mapping[str, torch.Tensor]], None] | None = None
    """(model, state): puts these tensors back"""
    restore: Callable[[Any, Any, Mapping[str, torch.Tensor]], Any] | None = None
    """(base model, options, tensors of a RoutedForm) -> the trained model"""
    paper: str = ""
    """where it was published: title, arXiv id"""
    formula: str = ""
    """the trained weight W' in terms of W and what is trained (marked *), one line of text"""
    proof: str = ""
    """tier and reference of its own test. "exact": equal to another implementation or a closed form; "property": a
    stated property holds; "toy effect": seen to work on planted data"""
    unverified: str = ""
    """what of it rests on no source that could be checked"""

    def trained_parameters(self, options: Any, shapes: Sequence[tuple[int, int]]) -> int:
        """Count the parameters that are trained on linear layers of these shapes (O, I)."""
        if self.trained is not None:
            return self.trained(options, shapes)
        rank = self.servable(options).rank or 0
        return rank * sum(out + into for out, into in shapes)


def deferred(path: str) -> Callable[..., Any]:
    """Return a function that imports `module:function` when it is called: to list methods imports no torch."""
    module, _, name = path.partition(":")

    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(import_module(module), name)(*args, **kwargs)

    return call
