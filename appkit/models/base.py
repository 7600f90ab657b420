"""Base is a loaded base model with the dtype it computes in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appkit.config import ModelConfig
from appkit.models.fingerprint import Fingerprint

if TYPE_CHECKING:
    import torch

__all__ = ["Base", "compute_dtype"]


@dataclass(frozen=True)
class Base:
    """A frozen base, ready for an adapter: evaluation mode, no gradients, no key-value cache by default."""

    model: Any
    """transformers' causal LM"""
    tokenizer: Any
    """transformers' tokenizer"""
    path: Path
    """the model's directory"""
    fingerprint: Fingerprint
    dtype: torch.dtype
    """the compute dtype"""
    device: torch.device
    quantizer: str
    """how it was quantized, one line for reports"""


def compute_dtype(
    model: ModelConfig, device: str | torch.device, *, cpuinfo: Path = Path("/proc/cpuinfo")
) -> torch.dtype:
    """Choose the dtype of products: the configured one, or for "auto" bf16 if the hardware multiplies it, else fp32."""
    import torch

    if model.dtype != "auto":
        return torch.bfloat16 if model.dtype == "bfloat16" else torch.float32
    if torch.device(device).type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = _cpu_multiplies_bf16(cpuinfo)
    return torch.bfloat16 if fast else torch.float32


def _cpu_multiplies_bf16(cpuinfo: Path) -> bool:
    # torch's own check (mkldnn._is_mkldnn_bf16_supported) is true for any AVX-512, which only emulates bf16: on
    # such machines, as on AVX2 (17 GFLOP/s against 120 in fp32), fp32 is several times faster.
    if not cpuinfo.is_file():  # not Linux
        return False
    flags = set(re.findall(r"\w+", cpuinfo.read_text()))
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})  # the last one is ARM's
