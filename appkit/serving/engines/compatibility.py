"""Checks that an adapter's tensors match the base, completely; engines do not.

vLLM answers 200 and computes something else for an adapter with other shapes or with layers that the base does not
have, and an adapter that lacks a layer simply changes less. Names, shapes, layer count, rank and PEFT's options are
therefore compared with the base's configuration first, which takes milliseconds and reads no weights.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appkit.method import ENGINE_RANKS

if TYPE_CHECKING:
    from appkit.task import HeadSpec

__all__ = ["HEAD_TENSORS", "Adapter", "Shapes", "base_shapes", "faults", "read_adapter", "weight_faults"]

HEAD_TENSORS = {
    "lora": ("base_model.model.score.weight", "base_model.model.score.bias"),
    "prefix": ("base_model.score.weight", "base_model.score.bias"),
}
"""names of a label head's weight and bias in PEFT's file, by the adapter's form"""
HEAD_MODULES = {"score", "classifier"}
"""modules that PEFT may save whole beside the factors of a label task"""
FLOATS = ("F64", "F32", "F16", "BF16")
"""what factors and heads are made of: a file with anything else breaks an engine while it loads"""
EMBEDDINGS = "prompt_embeddings"
"""PEFT's name of the tensor that holds the virtual tokens"""
_MAGNITUDE = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_magnitude_vector(\.weight)?")
_TENSOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")


@dataclass(frozen=True)
class Adapter:
    """Describes a PEFT adapter on disk."""

    config: Mapping[str, Any]
    """adapter_config.json"""
    shapes: Mapping[str, tuple[int, ...]]
    """shape of each tensor by name"""

    @property
    def form(self) -> str:
        """Is lora or prefix (virtual tokens) for PEFT's own, full for changed weights of the base under its names."""
        if self.config.get("peft_type") == "PREFIX_TUNING":
            return "prefix"
        return str(self.config.get("form", "lora"))

    @property
    def head_tensors(self) -> tuple[str, str]:
        """The names of a label head's weight and bias beside this adapter."""
        return HEAD_TENSORS["prefix" if self.form == "prefix" else "lora"]

    @property
    def has_head(self) -> bool:
        """Whether there is a label head beside it."""
        return self.head_tensors[0] in self.shapes

    @property
    def rank(self) -> int:
        """The largest rank of a module; 0 where there are no factors."""
        if self.form in ("full", "prefix"):
            return 0
        return max([int(self.config["r"]), *map(int, (self.config.get("rank_pattern") or {}).values())])

    @property
    def virtual_tokens(self) -> int:
        """How many positions it takes before each row."""
        return int(self.config["num_virtual_tokens"]) if self.form == "prefix" else 0

    @property
    def modules(self) -> set[str]:
        """The base's modules that the adapter changes."""
        return {match["module"] for name in self.shapes if (match := _TENSOR.fullmatch(name))}


def read_adapter(path: Path) -> Adapter:
    """Reads a directory in PEFT's form, without its weights.

    Raises BundleError when a file is missing, cut short, or not what its name says.
    """
    from safetensors import SafetensorError, safe_open

    from appkit.errors import BundleError

    try:
        config = json.loads((path / "adapter_config.json").read_text(encoding="utf-8"))
        with (path / "adapter_model.safetensors").open("rb"):
            pass  # whose error names the file
        shapes = {}
        with safe_open(path / "adapter_model.safetensors", framework="np") as handle:
            for name in handle.keys():  # noqa: SIM118
                tensor = handle.get_slice(name)
                shapes[name] = tuple(tensor.get_shape())
                if tensor.get_dtype() not in FLOATS:
                    raise ValueError(f"{name} holds {tensor.get_dtype()}, not one of {', '.join(FLOATS)}")
        if not isinstance(config, dict):
            raise ValueError("not an object")
        return Adapter(config, shapes)
    except FileNotFoundError as error:
        raise BundleError(f"{error.filename} is missing; copy the bundle again") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        raise BundleError(f"the adapter in {path} cannot be read: {error}; copy the bundle again") from None


@dataclass(frozen=True)
class Shapes:
    """Holds the shapes of the causal LM that a transformers configuration describes."""

    linear: Mapping[str, tuple[int, int]]
    """name of a linear layer -> (out, in)"""
    parameters: Mapping[str, tuple[int, ...]]
    """name of a parameter -> its shape"""


def base_shapes(architecture: Any) -> Shapes:
    """Computes the shapes of a base from its configuration, without weights."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(architecture)
    linear = {
        name: (module.out_features, module.in_features)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    return Shapes(linear, {name: tuple(parameter.shape) for name, parameter in model.named_parameters()})


def weight_faults(
    adapter: Adapter, parameters: Mapping[str, tuple[int, ...]], engine: str = "vllm"
) -> Iterator[str]:
    """Yields each reason as `faults` does, for an adapter of form full."""
    if engine == "vllm":
        yield "it holds whole weights, not factors, which appkit serves with --engine transformers only"
    if not adapter.shapes:
        yield "it changes no weight"
    for name, shape in sorted(adapter.shapes.items()):
        if name not in parameters:
            yield f"the base has no weight {name}"
        elif shape != parameters[name]:
            yield f"{name} has shape {shape}, the base's has {parameters[name]}"


def faults(
    adapter: Adapter,
    linear: Mapping[str, tuple[int, int]],
    engine: str = "vllm",
    *,
    head: HeadSpec | None = None,
    width: int = 0,
) -> Iterator[str]:
    """Yields each reason why `engine` would refuse the adapter or compute something else; none: it fits the base.

    head: the label head that must be beside the LoRA; then width is d, the base's hidden size.
    """
    if adapter.form == "prefix":
        yield from _prefix_faults(adapter, linear, engine, head, width)
        return
    if engine == "vllm":
        yield from _option_faults(adapter, HEAD_MODULES if head else set())
    if head is not None:
        yield from _head_faults(adapter, head, width)
    pairs: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in adapter.shapes.items():
        if match := _TENSOR.fullmatch(name):
            pairs.setdefault(match["module"], {})[match["side"]] = shape
        elif name in adapter.head_tensors and head is not None:
            continue  # _head_faults checked it
        elif engine != "vllm" and (match := _MAGNITUDE.fullmatch(name)) and adapter.config.get("use_dora"):
            if match["module"] not in linear or shape != linear[match["module"]][:1]:
                yield f"{name} has shape {shape}, which fits no linear layer of the base"
        else:
            yield f"tensor {name} is none of a plain LoRA's (…lora_A.weight, …lora_B.weight)" + (
                ": a label head, which this bundle's task does not have"
                if name in adapter.head_tensors
                else ""
            )
    for module, pair in sorted(pairs.items()):
        yield from _pair_faults(module, pair, linear.get(module), adapter)
    named = adapter.config.get("target_modules") or ()
    if isinstance(named, str):
        yield f"target_modules is a regular expression, which may take forever to match: list names, got {named[:80]!r}"
        return
    for name in named:
        if not any(_ends_with(module, name) for module in linear):
            yield f"target_modules names {name!r}, which is no linear layer of the base"
    targets = {name for name in linear if _is_target(name, adapter.config)}
    for module in sorted(targets - pairs.keys()):
        yield f"{module} is a target of adapter_config.json, but no tensor is there for it"
    for module in sorted((pairs.keys() & linear.keys()) - targets):
        yield f"{module} has tensors, but adapter_config.json does not name it as a target"


def _prefix_faults(
    adapter: Adapter, linear: Mapping[str, tuple[int, int]], engine: str, head: HeadSpec | None, width: int
) -> Iterator[str]:
    """Yields each reason as `faults` does, for an adapter of form prefix."""
    if engine == "vllm":
        yield "it holds virtual tokens, not factors, which appkit serves with --engine transformers only"
    if head is not None:
        yield from _head_faults(adapter, head, width)
    known = {EMBEDDINGS, *(adapter.head_tensors if head is not None else ())}
    for name in sorted(adapter.shapes.keys() - known):
        yield f"tensor {name} is none of virtual tokens ({EMBEDDINGS})" + (
            ": a label head, which this bundle's task does not have" if name in adapter.head_tensors else ""
        )
    keys = [shape[0] for name, shape in linear.items() if name.endswith(".k_proj")]
    if len(set(keys)) != 1:
        yield "the base has no k_proj of one width in each layer, as virtual tokens need"
        return
    config = adapter.config
    named = (config.get("num_layers"), config.get("token_dim"))
    if named != (len(keys), keys[0]):
        yield f"adapter_config.json names layers and width {named} of keys, the base has {(len(keys), keys[0])}"
    expected = (config.get("num_virtual_tokens"), 2 * sum(keys))
    if (shape := adapter.shapes.get(EMBEDDINGS)) != expected:
        yield f"{EMBEDDINGS} has shape {shape}, base and adapter_config.json ask for {expected}"


def _pair_faults(
    module: str, pair: Mapping[str, tuple[int, ...]], base: tuple[int, int] | None, adapter: Adapter
) -> Iterator[str]:
    if base is None:
        yield f"the base has no linear layer {module}: an adapter of another base, or of one with more layers"
        return
    if missing := {"A", "B"} - pair.keys():
        yield f"{module} lacks lora_{missing.pop()}"
        return
    rank = _read_rank(module, adapter.config)
    for side, shape, expected in (("A", pair["A"], (rank, base[1])), ("B", pair["B"], (base[0], rank))):
        if shape != expected:
            yield f"{module}.lora_{side} has shape {shape}, base and rank ask for {expected}"


def _head_faults(adapter: Adapter, head: HeadSpec, width: int) -> Iterator[str]:
    weight, bias = (adapter.shapes.get(name) for name in adapter.head_tensors)
    saved = set(adapter.config.get("modules_to_save") or ())
    if weight is None:
        yield f"the head is missing ({adapter.head_tensors[0]}), {head.outputs} outputs are expected"
        return
    if "score" not in saved:
        yield "the head (score) is there, but modules_to_save of adapter_config.json does not name it"
    if weight != (expected := (head.outputs, width)):
        yield f"the head has shape {weight}, labels and base ask for {expected}"
    if bias != (expected_bias := (head.outputs,) if head.of_words else None):
        yield f"the head's bias has shape {bias}, a {head.kind} head's has {expected_bias}"


def _option_faults(adapter: Adapter, whole: set[str]) -> Iterator[str]:
    """Yields PEFT's options that vLLM 0.32 refuses or ignores. whole: modules that may be saved beside the factors."""
    config = {**adapter.config}
    config["modules_to_save"] = sorted(set(config.get("modules_to_save") or ()) - whole)
    refused = {
        "use_dora": "DoRA",
        "lora_bias": "biases in the factors",
        "layer_replication": "replicated layers",
        "modules_to_save": "whole modules beside the factors",
        "trainable_token_indices": "trained tokens",
        "fan_in_fan_out": "transposed weights",
        "alora_invocation_tokens": "activated LoRA",
    }
    for key, what in refused.items():
        if config.get(key):
            yield f"{key}={config[key]!r}: vLLM loads no adapter with {what}"
    if config.get("bias", "none") != "none":
        yield f"bias={config['bias']!r}: vLLM loads no adapter with trained biases"
    if adapter.rank > ENGINE_RANKS[-1]:
        yield f"rank {adapter.rank} is above vLLM's limit, {ENGINE_RANKS[-1]}"


def _read_rank(module: str, config: Mapping[str, Any]) -> int:
    for name, rank in (config.get("rank_pattern") or {}).items():
        if _ends_with(module, name):
            return int(rank)
    return int(config["r"])


def _ends_with(module: str, name: str) -> bool:
    return module == name or module.endswith(f".{name}")


def _is_target(module: str, config: Mapping[str, Any]) -> bool:
    """Tells whether PEFT puts factors on the module, by target names and layer numbers."""
    targets, layers = config.get("target_modules") or (), config.get("layers_to_transform")
    if not any(_ends_with(module, target) for target in targets):
        return False
    if layers is None:
        return True
    layer = re.search(r"\.(\d+)\.", module)
    return layer is not None and int(layer[1]) in ([layers] if isinstance(layers, int) else layers)
