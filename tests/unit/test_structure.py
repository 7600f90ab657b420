"""What an adapter must look like beside its base, and which of PEFT's options an engine takes."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tiny import CONFIGS

from appkit.errors import BundleError
from appkit.serving.engines.compatibility import Adapter, base_shapes, faults, read_adapter

LINEAR = {"model.layers.0.q_proj": (8, 4), "model.layers.1.q_proj": (8, 4), "lm_head": (16, 4)}
CONFIG = {"r": 2, "target_modules": ["q_proj"]}


def pair(module: str, rank: int = 2) -> dict[str, tuple[int, ...]]:
    name = f"base_model.model.{module}"
    return {f"{name}.lora_A.weight": (rank, 4), f"{name}.lora_B.weight": (8, rank)}


BOTH = pair("model.layers.0.q_proj") | pair("model.layers.1.q_proj")


def found(config: dict | None = None, shapes: dict | None = None, engine: str = "vllm") -> list[str]:
    return list(faults(Adapter(CONFIG | (config or {}), BOTH if shapes is None else shapes), LINEAR, engine))


def test_a_plain_adapter_fits() -> None:
    assert found() == []
    assert found({"target_modules": ["layers.0.q_proj", "layers.1.q_proj"]}) == []
    assert found({"rank_pattern": {"layers.1.q_proj": 3}}, BOTH | pair("model.layers.1.q_proj", 3)) == []
    assert found({"layers_to_transform": [0]}, pair("model.layers.0.q_proj")) == []


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"lora_bias": True}, "biases in the factors"),
        ({"bias": "all"}, "trained biases"),
        ({"modules_to_save": ["lm_head"]}, "whole modules"),
        ({"layer_replication": [[0, 1]]}, "replicated layers"),
        ({"trainable_token_indices": [3]}, "trained tokens"),
    ],
)
def test_what_vllm_does_not_load(config: dict, reason: str) -> None:
    assert any(reason in fault for fault in found(config))
    assert found(config, engine="transformers") == []


def test_a_rank_above_the_engines_limit() -> None:
    shapes = pair("model.layers.0.q_proj", 600) | pair("model.layers.1.q_proj", 600)
    assert found({"r": 600}, shapes) == ["rank 600 is above vLLM's limit, 512"]


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        ({}, "model.layers.0.q_proj is a target of adapter_config.json, but no tensor is there for it"),
        (pair("model.layers.0.q_proj"), "model.layers.1.q_proj is a target"),
        (BOTH | pair("model.layers.2.q_proj"), "the base has no linear layer model.layers.2.q_proj"),
        (BOTH | pair("model.layers.0.q_proj", 3), "lora_A has shape (3, 4), base and rank ask for (2, 4)"),
        (BOTH | pair("lm_head"), "lm_head has tensors, but adapter_config.json does not name it"),
        (BOTH | {"base_model.model.score.weight": (2, 4)}, "score.weight is none of a plain LoRA's"),
    ],
)
def test_what_does_not_fit_the_base(shapes: dict, reason: str) -> None:
    assert any(reason in fault for fault in found(shapes=shapes))


@pytest.mark.parametrize("engine", ["vllm", "transformers"])
@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"target_modules": "(.*)*q_proj"}, "target_modules is a regular expression"),
        ({"target_modules": ["q_proj", "embed_tokens"]}, "names 'embed_tokens', which is no linear layer"),
        ({"target_modules": ["q_proj", "(x+x+)+y"]}, "names '(x+x+)+y', which is no linear layer"),
        ({"target_modules": ["q_proj"], "rank_pattern": {"(.*)*q_proj": 3}}, None),
    ],
)
def test_targets_are_names(config: dict, reason: str | None, engine: str) -> None:
    """An expression of the bundle is never matched: `(x+x+)+y` would take longer than the sun lasts."""
    told = found(config, engine=engine)
    assert any(reason in fault for fault in told) if reason else told == []


MAGNITUDE = "base_model.model.model.layers.0.q_proj.lora_magnitude_vector"


@pytest.mark.parametrize(
    ("more", "fits"),
    [
        ({MAGNITUDE: (8,)}, True),
        ({MAGNITUDE: (9,)}, False),
        ({MAGNITUDE.replace(".0.", ".7."): (8,)}, False),
        ({MAGNITUDE.replace("magnitude_vector", "embedding_A"): (8,)}, False),
    ],
)
def test_what_dora_has_besides_fits_too(more: dict, fits: bool) -> None:
    """PEFT changes the base that all bundles share before it finds that a tensor has another shape."""
    assert (found({"use_dora": True}, BOTH | more, "transformers") == []) is fits


def test_the_layers_of_a_real_architecture() -> None:
    linear = base_shapes(CONFIGS["llama"]()).linear
    assert linear["model.layers.2.mlp.down_proj"] == (32, 48)
    assert len(linear) == 3 * 7 + 1


@pytest.mark.parametrize("content", [b"", b"\x08", b"\xff" * 20, (2).to_bytes(8, "little") + b"[]"])
def test_a_damaged_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps(CONFIG))
    with pytest.raises(BundleError, match=r"adapter_model.safetensors is missing"):
        read_adapter(tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(content)
    with pytest.raises(BundleError, match="cannot be read"):
        read_adapter(tmp_path)


def test_tensors_of_integers_are_refused(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps(CONFIG))
    save_file({"x": np.zeros(2, np.int64)}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(BundleError, match="x holds I64, not one of F64, F32, F16, BF16"):
        read_adapter(tmp_path)
