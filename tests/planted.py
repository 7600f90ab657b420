"""Faults planted into a bundle, and its hashes made again so that only its behaviour betrays them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from appkit.bundles import manifest as manifests
from appkit.storage.atomic import file_sha256

Tensors = dict[str, torch.Tensor]
Q = "base_model.model.model.layers.1.self_attn.q_proj"


def remake(bundle: Path) -> None:
    """Let the hashes tell nothing: what was planted must betray itself."""
    manifest = json.loads((bundle / "appkit.json").read_text())
    manifest["files"] = {name: file_sha256(bundle / name) for name in manifest["files"]}
    manifest["sha"] = manifests.payload_sha(manifest["files"])
    (bundle / "appkit.json").write_text(json.dumps(manifest))


def with_tensors(change: Callable[[Tensors], Tensors]) -> Callable[[Path], None]:
    def plant(bundle: Path) -> None:
        file = bundle / "adapter_model.safetensors"
        save_file(change(load_file(file)), file, metadata={"format": "pt"})

    return plant


def with_config(**values: Any) -> Callable[[Path], None]:
    def plant(bundle: Path) -> None:
        file = bundle / "adapter_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return plant


def doubled_alpha(bundle: Path) -> None:
    alpha = json.loads((bundle / "adapter_config.json").read_text())["lora_alpha"]
    with_config(lora_alpha=2 * alpha)(bundle)


def swapped(tensors: Tensors) -> Tensors:
    """q_proj is square, so that only the numbers betray it."""
    A, B = tensors[f"{Q}.lora_A.weight"], tensors[f"{Q}.lora_B.weight"]
    return tensors | {f"{Q}.lora_A.weight": B.T.contiguous(), f"{Q}.lora_B.weight": A.T.contiguous()}


def other_numbers(tensors: Tensors) -> Tensors:
    """What an adapter of another base of the same shape looks like."""
    torch.manual_seed(0)
    return {name: torch.randn_like(tensor) * tensor.std() for name, tensor in tensors.items()}


def unconverted(tensors: Tensors) -> Tensors:
    """As PiSSA leaves it: factors that hold a part of the base, which the plain base still has."""
    return {name: tensor + 0.3 for name, tensor in tensors.items()}
