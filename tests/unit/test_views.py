"""Views of bundles and bases, and what an adapter with a head must look like; tiny models, PEFT as the reference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from tiny import CONFIGS, VOCABULARY, tiny
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from appkit.errors import BundleError, ModelError
from appkit.serving.engines.compatibility import base_shapes, faults, read_adapter
from appkit.serving.engines.views import (
    classify_base,
    folded,
    has_head,
    label_tokens,
    read_head,
    unfoldable,
    without_head,
)
from appkit.task import HeadSpec

LABELS = 5
HEAD = HeadSpec(kind="sequence", labels=tuple("abcde"))
TOKENS = HeadSpec(kind="token", labels=tuple("abcde"), pooling="none")
TEXT = torch.tensor([[7, 150, 31, 4, 88, 12]])
WIDTH = 32


def base(folder: Path, architecture: str = "llama", dtype: torch.dtype = torch.float32) -> Path:
    tiny(architecture).to(dtype).save_pretrained(folder)
    return folder


def bundle(folder: Path, model: Path, kind: str = "sequence", outputs: int = LABELS, **lora: Any) -> Path:
    """What PEFT saves of a label model, with factors and a head that matter."""
    auto = AutoModelForSequenceClassification if kind == "sequence" else AutoModelForTokenClassification
    torch.manual_seed(3)
    net = auto.from_pretrained(model, num_labels=outputs, dtype=torch.float32)
    options = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj", "down_proj"]} | lora
    peft = get_peft_model(
        net, LoraConfig(task_type="SEQ_CLS" if kind == "sequence" else "TOKEN_CLS", **options)
    )
    for name, parameter in peft.named_parameters():
        if "lora_B" in name or "modules_to_save" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    peft.save_pretrained(folder)
    return folder


def reference(model: Path, adapter: Path, outputs: int = LABELS) -> torch.Tensor:
    """Logits (C,) of PEFT's own model."""
    net = AutoModelForSequenceClassification.from_pretrained(model, num_labels=outputs, dtype=torch.float32)
    net.config.pad_token_id = None
    with torch.inference_mode():
        return PeftModel.from_pretrained(net, adapter).eval()(TEXT).logits[0]


def on_causal_lm(model: Path, adapter: Path) -> Any:
    net = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    return PeftModel.from_pretrained(net, adapter).eval()


def test_a_bundle_without_its_head_is_the_same_lora_on_the_causal_lm(tmp_path: Path) -> None:
    model = base(tmp_path / "base")
    whole = bundle(tmp_path / "bundle", model)
    before = {file.name: file.read_bytes() for file in whole.iterdir()}
    view = without_head(whole, tmp_path / "view")
    assert has_head(whole)
    assert not has_head(view)
    kept, given = (
        load_file(view / "adapter_model.safetensors"),
        load_file(whole / "adapter_model.safetensors"),
    )
    assert given.keys() - kept.keys() == {"base_model.model.score.weight"}
    assert all(torch.equal(kept[name], given[name]) for name in kept)
    config = json.loads((view / "adapter_config.json").read_text())
    assert (config["task_type"], config["modules_to_save"]) == ("CAUSAL_LM", None)
    weight, bias = read_head(whole)
    assert bias is None
    with torch.inference_mode():
        states = on_causal_lm(model, view).get_base_model().model(TEXT).last_hidden_state[0]
    logits = weight @ states[-1].numpy()
    np.testing.assert_allclose(logits, reference(model, whole).numpy(), atol=1e-5)
    assert not list(faults(read_adapter(view), base_shapes(CONFIGS["llama"]()).linear))
    # again, the same directory; and the bundle is as it was
    made = (view / "adapter_model.safetensors").stat().st_mtime_ns
    assert without_head(whole, tmp_path / "view") == view
    assert (view / "adapter_model.safetensors").stat().st_mtime_ns == made
    assert {file.name: file.read_bytes() for file in whole.iterdir()} == before


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_a_token_head_has_a_bias_and_is_read_in_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    whole = bundle(tmp_path / "bundle", base(tmp_path / "base"), "token")
    file = whole / "adapter_model.safetensors"
    stored = {name: tensor.to(dtype) for name, tensor in load_file(file).items()}
    save_file(stored, file)
    weight, bias = read_head(whole)
    assert bias is not None
    assert weight.dtype == bias.dtype == np.float32
    np.testing.assert_array_equal(weight, stored["base_model.model.score.weight"].float().numpy())
    np.testing.assert_array_equal(bias, stored["base_model.model.score.bias"].float().numpy())
    kept = load_file(without_head(whole, tmp_path / "view") / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in kept.values()} == {dtype}
    assert all(torch.equal(tensor, stored[name]) for name, tensor in kept.items())


def test_an_adapter_without_a_head_is_told(tmp_path: Path) -> None:
    view = without_head(bundle(tmp_path / "bundle", base(tmp_path / "base")), tmp_path / "view")
    with pytest.raises(BundleError, match="holds no label head"):
        read_head(view)
    (view / "adapter_model.safetensors").write_bytes(b"\x08")
    with pytest.raises(BundleError, match="cannot be read"):
        read_head(view)


@pytest.mark.parametrize(
    ("architecture", "lora"),
    [
        ("llama", {}),
        ("llama_untied", {"use_rslora": True}),
        ("qwen2", {"target_modules": ["self_attn.q_proj", "self_attn.v_proj"]}),
        ("mistral", {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 3}}),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_label_tokens_of_a_folded_head_answer_as_the_head_does(
    tmp_path: Path, architecture: str, lora: dict[str, Any], dtype: torch.dtype
) -> None:
    model = base(tmp_path / "base", architecture, dtype)
    whole = bundle(tmp_path / "bundle", model, **lora)
    view = folded(whole, model, tmp_path / "view", HEAD)
    labels = label_tokens(view)
    assert labels is not None
    assert len(set(labels)) == LABELS
    assert all(VOCABULARY // 3 < label < VOCABULARY * 2 // 3 for label in labels)
    assert read_adapter(view).rank == max(LABELS, 4)
    with torch.inference_mode():
        next_token = on_causal_lm(model, view)(TEXT).logits[0, -1]
    torch.testing.assert_close(
        next_token[list(labels)].log_softmax(0), reference(model, whole).log_softmax(0), atol=1e-4, rtol=0
    )
    assert label_tokens(whole) is None
    assert folded(whole, model, tmp_path / "view", HEAD) == view


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kind": "token", "pooling": "none"}, "only sequence heads"),
        ({"attention": "unmasked"}, "only sequence heads"),
        ({"pooling": "mean"}, "only sequence heads"),
        ({"problem": "multi"}, "up to a constant"),
        ({"problem": "regression", "labels": ()}, "up to a constant"),
        ({"labels": tuple(map(str, range(129)))}, "129 labels"),
    ],
)
def test_heads_that_cannot_be_folded(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    head = HeadSpec.model_validate(HEAD.model_dump() | change)
    assert reason in str(unfoldable(head))
    with pytest.raises(BundleError, match=reason):
        folded(tmp_path, tmp_path, tmp_path / "view", head)
    assert not (tmp_path / "view").exists()
    assert unfoldable(HEAD) is None


def test_a_base_whose_logits_are_no_plain_product(tmp_path: Path) -> None:
    model = base(tmp_path / "base")
    whole = bundle(tmp_path / "bundle", model)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"logits_scaling": 8}))
    with pytest.raises(BundleError, match="logits_scaling=8 changes its logits"):
        folded(whole, model, tmp_path / "view", HEAD)
    with pytest.raises(BundleError, match=r"has shape \(5, 32\), 4 labels ask for \(4, 32\)"):
        folded(whole, model, tmp_path / "view", HEAD.model_copy(update={"labels": tuple("abcd")}))


@pytest.mark.parametrize("shards", ["1GB", "20KB"])
def test_the_base_under_a_head_of_zeros(tmp_path: Path, shards: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPKIT_CACHE", str(tmp_path / "cache"))
    model = tmp_path / "base"
    tiny().save_pretrained(model, max_shard_size=shards)
    files = sorted(model.glob("*.safetensors"))
    assert (len(files) > 1) == (shards == "20KB")
    for file in model.iterdir():
        file.chmod(0o400)
    view = classify_base(model)
    assert view.is_relative_to(tmp_path / "cache" / "views")
    assert {file.stat().st_mode & 0o777 for file in model.iterdir()} == {0o400}
    assert all((view / file.name).readlink() == file.resolve() for file in files)
    assert json.loads((view / "config.json").read_text())["architectures"] == [
        "LlamaForSequenceClassification"
    ]
    # vLLM reads every safetensors file, or where there is an index those that it names
    read = {file.name: load_file(file) for file in view.glob("*.safetensors")}
    tensors = {name: tensor for one in read.values() for name, tensor in one.items()}
    assert torch.equal(tensors.pop("score.weight"), torch.zeros(2, WIDTH))
    assert tensors.keys() == {name for file in files for name in load_file(file)}
    if len(files) > 1:
        index = json.loads((view / "model.safetensors.index.json").read_text())["weight_map"]
        assert index == {name: file for file, one in read.items() for name in one}
    # a call that was interrupted is made up for; one that was not is kept
    made = (view / "config.json").stat().st_mtime_ns
    assert classify_base(model) == view
    assert (view / "config.json").stat().st_mtime_ns == made
    (view / "config.json").unlink()
    assert classify_base(model) == view
    assert (view / "config.json").is_file()


def test_only_a_causal_lm_gets_a_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPKIT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "config.json").write_text('{"architectures": ["T5ForConditionalGeneration"]}')
    with pytest.raises(ModelError, match="got T5ForConditionalGeneration"):
        classify_base(tmp_path)


def found(adapter: Path, head: HeadSpec | None, engine: str = "vllm") -> list[str]:
    return list(
        faults(read_adapter(adapter), base_shapes(CONFIGS["llama"]()).linear, engine, head=head, width=WIDTH)
    )


def with_tensors(adapter: Path, **change: torch.Tensor | None) -> Path:
    """Head tensors replaced, or taken out."""
    file = adapter / "adapter_model.safetensors"
    named = {f"base_model.model.score.{name}": tensor for name, tensor in change.items()}
    tensors = load_file(file) | named
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, file)
    return adapter


@pytest.mark.parametrize("engine", ["vllm", "transformers"])
def test_a_head_must_be_the_one_that_is_expected(tmp_path: Path, engine: str) -> None:
    model = base(tmp_path / "base")
    sequence, token = bundle(tmp_path / "sequence", model), bundle(tmp_path / "token", model, "token")
    assert found(sequence, HEAD, engine) == []
    assert found(token, TOKENS, engine) == []
    (fault,) = [fault for fault in found(sequence, None, engine) if "tensor" in fault]
    assert "score.weight is none of a plain LoRA's" in fault
    assert fault.endswith("a label head, which this bundle's task does not have")
    assert found(token, HEAD, engine) == ["the head's bias has shape (5,), a sequence head's has None"]
    assert found(sequence, TOKENS, engine) == ["the head's bias has shape None, a token head's has (5,)"]
    four = HEAD.model_copy(update={"labels": tuple("abcd")})
    assert found(sequence, four, engine) == ["the head has shape (5, 32), labels and base ask for (4, 32)"]
    with_tensors(sequence, weight=torch.zeros(5, 16))
    assert found(sequence, HEAD, engine) == ["the head has shape (5, 16), labels and base ask for (5, 32)"]
    with_tensors(sequence, weight=None)
    assert found(sequence, HEAD, engine) == [
        "the head is missing (base_model.model.score.weight), 5 outputs are expected"
    ]


def test_other_modules_beside_the_head(tmp_path: Path) -> None:
    whole = bundle(tmp_path / "bundle", base(tmp_path / "base"))
    config = json.loads((whole / "adapter_config.json").read_text())
    assert set(config["modules_to_save"]) <= {"score", "classifier"}
    for saved, reason in (
        (["score", "embed_tokens"], r"modules_to_save=['embed_tokens']"),
        ([], "does not name it"),
    ):
        (whole / "adapter_config.json").write_text(json.dumps(config | {"modules_to_save": saved}))
        (fault,) = found(whole, HEAD)
        assert reason in fault
