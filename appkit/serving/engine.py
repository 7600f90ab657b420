"""What a certificate asks of an engine, and the base that an engine serves."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from appkit.config import ModelConfig, QuantConfig
from appkit.errors import ModelError

if TYPE_CHECKING:
    from appkit.batching import Example

__all__ = ["NULL", "Engine", "served_base"]

NULL = "null"
"""The adapter that changes nothing: base traffic goes through it, see `vllm.null_adapter`."""


class Engine(Protocol):
    """A running engine with one base and the adapters it was started with, by name; `NULL` is the base."""

    name: str
    version: str
    dtype: str

    def log_probabilities(self, adapter: str, sequences: Sequence[Example]) -> list[float]:
        """Of each answered token, in nats, sequence after sequence."""

    def continuations(
        self, adapter: str, prompts: Sequence[Sequence[int]], stop: frozenset[int], cap: int
    ) -> list[tuple[int, ...]]:
        """Greedy answers of at most `cap` tokens, without the token that ended them."""


def served_base(model: ModelConfig, quant: QuantConfig, path: Path) -> Path:
    """The directory that an engine loads: the base's own, or its NF4 weights as plain bf16, kept in the cache.

    What is served is what was trained on: the dequantized weights are bf16 values whatever the compute dtype, so
    nothing is rounded again. Raises ModelError for int8, whose activations are quantized too.
    """
    if quant.name == "none":
        return path
    if quant.name == "int8":
        raise ModelError(
            "a bundle trained over quant=int8 cannot be certified: its base multiplies in 8 bits, engines do not; "
            "train with quant=nf4 or quant=none"
        )
    import torch

    from appkit import cache
    from appkit.models import weights_hash
    from appkit.quant import load_quantized

    kind = f"nf4{'-double' if quant.double_quant else ''}"
    target = cache.cache_dir() / "served" / f"{path.name}-{kind}-{weights_hash(path)[:16]}"
    with cache.locked(target):
        if (target / "config.json").is_file():
            cache.mark_used(target)
            return target
        plain = quant.model_copy(update={"dequantize": "always"})
        rounded, _ = load_quantized(path, plain, torch.bfloat16, torch.device("cpu"))
        with cache.staged(target) as stage:
            rounded.save_pretrained(stage)
            for file in path.iterdir():
                if file.is_file() and file.suffix != ".safetensors" and not (stage / file.name).exists():
                    shutil.copyfile(file, stage / file.name)
            (stage / "manifest.json").unlink(missing_ok=True)
    return target
