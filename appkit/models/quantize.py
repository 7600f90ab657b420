"""Quantize loads a frozen base from safetensors as NF4, LLM.int8 or unquantized.

The linear layers are quantized, except the output layer (tied to the embedding in most small models): transformers'
own default. NF4 is always computed from the checkpoint rounded to bf16, whatever the compute dtype, so that the same
base gives the same numbers on machines with and without bf16 products. Layers kept in 4 bits multiply in fp32 with
weights that were not rounded to bf16: the same base up to that rounding.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appkit.config import QuantConfig
from appkit.errors import AppkitError, ModelError
from appkit.models.nf4 import mend_dequantize

if TYPE_CHECKING:
    import torch

    from appkit.models.base import Base

__all__ = ["load_quantized", "nf4_kind", "quantizable", "round_to_nf4_", "unquantized"]

log = logging.getLogger(__name__)


def load_quantized(
    path: Path, quant: QuantConfig, dtype: torch.dtype, device: torch.device
) -> tuple[Any, str]:
    """Load a causal LM and quantize it; return the model, and one line for reports that says how it is quantized.

    `dtype` is the compute dtype. No forward pass is run: on AVX-512 bitsandbytes repacks 4-bit weights in place at the
    first forward without gradients, and weights that are dequantized after that are wrong.
    Raises ModelError if bitsandbytes is not installed, or the weights do not fit the architecture.
    """
    import torch

    if quant.name == "none":
        model = _load_pretrained(path, dtype=dtype, device_map={"": device})
        return model, f"none ({_name_dtype(dtype)})"

    version = _require_bitsandbytes(quant)
    if quant.name == "int8":
        from transformers import BitsAndBytesConfig

        # It casts activations to fp16 by design, and would log that for each layer and step.
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        config = BitsAndBytesConfig(load_in_8bit=True)
        model = _load_pretrained(path, dtype=dtype, device_map={"": device}, quantization_config=config)
        return model, f"int8 (bitsandbytes {version}), {_name_dtype(dtype)}"

    mend_dequantize()
    what = f"nf4{' double' if quant.double_quant else ''} (bitsandbytes {version})"
    if _should_dequantize(path, quant, dtype, device):
        model = _load_pretrained(path, dtype=torch.bfloat16, device_map={"": device})
        _round_all(model, path, quant, version)
        return model.to(dtype), f"{what}, dequantized once, {_name_dtype(dtype)}"
    return _load_4bit(path, quant, dtype, device), f"{what}, 4-bit in memory, {_name_dtype(dtype)}"


def _round_all(model: Any, path: Path, quant: QuantConfig, version: str) -> None:
    """Round every quantizable weight through NF4; the result is cached, since it takes seconds."""
    from safetensors.torch import load_file, save_file

    from appkit.models.fingerprint import weights_hash
    from appkit.storage.atomic import cache_dir, locked, staged
    from appkit.storage.cache import mark_used

    layers = quantizable(model)
    name = f"{path.name}-{nf4_kind(quant)}-bnb{version}-{weights_hash(path)[:16]}"
    target = cache_dir() / "dequantized" / name
    file = target / "weights.safetensors"
    if not file.is_file():
        for linear in layers.values():
            round_to_nf4_(linear.weight, double_quant=quant.double_quant)
        try:
            with locked(target), staged(target) as stage:
                save_file({name: linear.weight.data for name, linear in layers.items()}, stage / file.name)
        except AppkitError as error:  # a read-only cache costs time, nothing else
            log.warning("the dequantized weights are not kept: %s", error)
        return
    mark_used(target)
    for name, weight in load_file(file).items():
        layers[name].weight.data.copy_(weight)


def nf4_kind(quant: QuantConfig) -> str:
    """Name the values of a base's NF4 weights, for the names of what is kept of them in the cache."""
    # flat: earlier versions could keep wrong values, see `mend_dequantize`
    return f"nf4{'-double' if quant.double_quant else ''}-flat"


def quantizable(model: Any) -> dict[str, torch.nn.Linear]:
    """List the linear layers that are quantized, by module name: all but the output layer."""
    from torch import nn

    output = model.get_output_embeddings()
    return {
        name: module
        for name, module in model.named_modules()
        if type(module) is nn.Linear and module is not output
    }


def round_to_nf4_(weight: torch.Tensor, *, double_quant: bool) -> None:
    """Quantize a weight (out, in) to NF4 and back, in place, to the values that a 4-bit layer multiplies with."""
    from bitsandbytes import functional

    mend_dequantize()
    packed, state = functional.quantize_4bit(
        weight.data.contiguous(), compress_statistics=double_quant, quant_type="nf4"
    )
    weight.data.copy_(functional.dequantize_4bit(packed, state))


def _should_dequantize(path: Path, quant: QuantConfig, dtype: torch.dtype, device: torch.device) -> bool:
    """Tell whether NF4 weights become plain linears: as configured, or for "auto" on a CPU with room for them."""
    if quant.dequantize != "auto":
        return quant.dequantize == "always"
    if device.type != "cpu":
        return False
    import psutil

    stored = sum(file.stat().st_size for file in path.glob("*.safetensors"))
    need = stored * dtype.itemsize // 2  # checkpoints hold 2 bytes a weight; an fp32 one needs less than this
    free = int(psutil.virtual_memory().available)
    if need > free:
        log.warning(
            "keeping the weights in 4 bits, which is slower: plain ones need about %.1f GB, %.1f GB are free",
            need / 1e9,
            free / 1e9,
        )
    return need <= free


def _load_4bit(path: Path, quant: QuantConfig, dtype: torch.dtype, device: torch.device) -> Any:
    """Load a causal LM with NF4 layers that stay in 4 bits."""
    import torch
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=quant.double_quant,
        bnb_4bit_compute_dtype=dtype,
    )
    model = _load_pretrained(path, dtype=torch.bfloat16, device_map={"": device}, quantization_config=config)
    # Only the rest is cast: model.to() refuses quantized models, and NF4 must come from bf16 values.
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)
    return model


def _load_pretrained(path: Path, **options: Any) -> Any:
    """Load a causal LM. Raises ModelError when the checkpoint lacks tensors."""
    from transformers import AutoModelForCausalLM

    model, report = AutoModelForCausalLM.from_pretrained(
        path, local_files_only=True, output_loading_info=True, **options
    )
    # transformers fills missing tensors with random numbers and continues.
    if missing := sorted(report["missing_keys"]):
        raise ModelError(
            f"{path} lacks {len(missing)} of the tensors its config.json asks for, first {missing[0]!r}; "
            "the weights and the config do not belong together, fetch both again"
        )
    return model


def _require_bitsandbytes(quant: QuantConfig) -> str:
    """Return bitsandbytes' version. Raises ModelError when it is not installed."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError(
            f"quant={quant.name} needs the package bitsandbytes, which is not installed; "
            "pip install bitsandbytes, or use quant=none"
        )
    return importlib.metadata.version("bitsandbytes")


def _name_dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@contextmanager
def unquantized(model: Any, base: Base) -> Iterator[None]:
    """Give a trained model over a dequantized base the original weights inside the block.

    Used to measure the cost of quantization. Raises ModelError for a base that is still 4-bit or 8-bit in memory,
    whose layers cannot hold plain weights.
    """
    if getattr(base.model, "is_quantized", False):
        raise ModelError(
            "the base is quantized in memory, so the cost of quantization cannot be measured in place; "
            "set eval.quant_rows=0"
        )
    original = quantizable(_load_pretrained(base.path, dtype=base.dtype, device_map={"": base.device}))
    layers = dict(_find_plain_linears(model))
    quantized = {name: layers[name].weight.data for name in original}
    try:
        for name, layer in original.items():
            layers[name].weight.data = layer.weight.data
        yield
    finally:
        for name, weight in quantized.items():
            layers[name].weight.data = weight


def _find_plain_linears(model: Any) -> Iterator[tuple[str, torch.nn.Linear]]:
    """Yield the plain linears of a method's model under the names they have in the bare base."""
    from torch import nn

    for name, module in model.get_base_model().named_modules():
        if type(module) is nn.Linear and ".lora_" not in name:
            yield name.removesuffix(".base_layer"), module
