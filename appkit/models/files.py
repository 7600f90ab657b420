"""Files reads a model directory: config, tokenizer, weight shards and their headers."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

from appkit.errors import ModelError

__all__ = ["load_config", "load_tokenizer", "parameter_count"]


MANIFEST = "manifest.json"
"""written by a registry pull: package, version, hash and sizes of the files"""
INDEX = "model.safetensors.index.json"
"""which shard holds which tensor"""


def load_tokenizer(path: Path) -> Any:
    """Load the tokenizer of a model's directory, never from the network."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(path, local_files_only=True)


def load_config(path: Path) -> Any:
    """Load the transformers configuration of a model's directory, never from the network."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(path, local_files_only=True)


def parameter_count(config: Any) -> int:
    """Count the parameters of the causal LM that a transformers configuration describes, tied ones once."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    return sum(parameter.numel() for parameter in model.parameters())


def require_packages(*packages: str) -> None:
    """Raises ModelError, with the pip command, for a package that is not installed."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise ModelError(f"base models need the package {package}; pip install 'appkit[train]'")


def read_header(file: Path) -> tuple[dict[str, Any], int]:
    """Read a safetensors header: the tensors it declares, and the offset in bytes where their data start.

    Raises ValueError when the file is no safetensors file, or its size is not the declared one.
    """
    size = file.stat().st_size
    with file.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        if length > min(size - 8, 100_000_000):
            raise ValueError(f"{size} bytes, cut short before its header ends")
        header: dict[str, Any] = json.loads(handle.read(length))
    header.pop("__metadata__", None)
    end = 8 + length + max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
    if end != size:
        raise ValueError(f"{end} bytes expected, got {size}")
    return header, 8 + length


def weight_files(path: Path) -> list[Path]:
    """List the safetensors that transformers would read: one file, or those the index names (perhaps missing)."""
    single = path / "model.safetensors"
    if single.is_file() or not (path / INDEX).is_file():
        return [single] if single.is_file() else []
    names = set(json.loads((path / INDEX).read_text())["weight_map"].values())
    return [path / name for name in sorted(names)]


def json_digest(value: Any) -> str:
    """Compute the sha256 (hex) of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
