"""Loads a base and checks its fingerprint against its preset's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from appkit.config import ModelConfig, QuantConfig
from appkit.errors import ModelError
from appkit.models.base import Base, compute_dtype
from appkit.models.files import load_tokenizer, require_packages
from appkit.models.fingerprint import Fingerprint, fingerprint
from appkit.models.sources import locate, pull_again

if TYPE_CHECKING:
    import torch

__all__ = ["load_base"]


def load_base(model: ModelConfig, quant: QuantConfig, *, device: str | torch.device | None = None) -> Base:
    """Load a base, fetching it first if it is missing; `device` defaults to a GPU if there is one, else the CPU.

    Raises ModelError when it cannot be fetched, is damaged, or has another fingerprint than recorded.
    """
    require_packages("torch", "transformers", "safetensors")
    import torch

    from appkit.models.quantize import load_quantized

    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    path = locate(model)
    dtype = compute_dtype(model, place)
    actual = fingerprint(path, str(dtype).removeprefix("torch."))
    _check_fingerprint(model, path, actual)
    net, quantizer = load_quantized(path, quant, dtype, place)
    net.eval().requires_grad_(False)
    # With a cache transformers builds no block-diagonal mask for packed rows, and they see each other.
    net.config.use_cache = False
    return Base(net, load_tokenizer(path), path, actual, dtype, place, quantizer)


def _check_fingerprint(model: ModelConfig, path: Path, actual: Fingerprint) -> None:
    if model.fingerprint and actual.base != model.fingerprint:
        raise ModelError(
            f"{path} is not the model recorded for {model.name!r}: fingerprint {actual.base} (weights "
            f"{actual.weights[:12]}, architecture {actual.architecture[:12]}, tokenizer {actual.tokenizer[:12]}), "
            f"recorded {model.fingerprint}; {pull_again(model)}, or set model.fingerprint if the change is wanted"
        )
