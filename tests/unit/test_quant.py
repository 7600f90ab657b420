"""Quantization: our numbers are bitsandbytes' numbers, and only the right layers get them."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

from appkit.config import QuantConfig
from appkit.errors import ModelError
from appkit.models import quantize
from appkit.models.nf4 import mend_dequantize

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=["tied", "untied"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=320,
        hidden_size=128,
        intermediate_size=192,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=request.param == "tied",
    )
    folder = tmp_path_factory.mktemp(request.param)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


def load(path: Path, dtype: torch.dtype = torch.float32, **options: Any) -> Any:
    return quantize.load_quantized(path, QuantConfig(**options), dtype, CPU)[0]


@pytest.mark.parametrize("double_quant", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dequantized_weights_are_those_of_the_4bit_layers(
    path: Path, double_quant: bool, dtype: torch.dtype
) -> None:
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Linear4bit
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=double_quant
    )
    reference = AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.bfloat16, quantization_config=config, device_map={"": "cpu"}
    )
    expected = {n: m for n, m in reference.named_modules() if isinstance(m, Linear4bit)}
    ours = load(path, dtype, double_quant=double_quant, dequantize="always")
    got = quantize.quantizable(ours)
    assert got.keys() == expected.keys()
    assert len(got) == 14
    for name, layer in got.items():
        weight = expected[name].weight
        plain = dequantize_4bit(weight.data, weight.quant_state)
        assert layer.weight.dtype == dtype
        assert torch.equal(layer.weight, plain.to(dtype)), name


def test_quantizing_changes_the_layers_and_nothing_else(path: Path) -> None:
    plain, nf4 = load(path, name="none"), load(path)
    inside = {f"{name}.weight" for name in quantize.quantizable(plain)}
    for (name, before), (_, after) in zip(plain.named_parameters(), nf4.named_parameters(), strict=True):
        assert torch.equal(before, after) == (name not in inside), name
        if name in inside:  # NF4 with blocks of 64 costs about a tenth of a normal weight's spread
            assert 0.05 < ((before - after).std() / before.std()).item() < 0.15


def test_kept_in_4_bits_the_model_answers_the_same_but_for_rounding(path: Path) -> None:
    kept, plain = load(path, dequantize="never"), load(path, dequantize="always")
    assert type(kept.model.layers[0].mlp.up_proj).__name__ == "Linear4bit"
    assert type(plain.model.layers[0].mlp.up_proj) is torch.nn.Linear
    ids = torch.arange(40)[None]
    with torch.no_grad():
        a, b = kept(ids).logits, plain(ids).logits
    # bitsandbytes skips the rounding to bf16 in fp32 products; other weights would differ by a tenth.
    assert (a - b).std() / b.std() < 0.01


def test_auto_keeps_4_bits_when_memory_is_short(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import psutil

    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 1000}))
    model, how = quantize.load_quantized(path, QuantConfig(), torch.float32, CPU)
    assert type(model.model.layers[0].mlp.up_proj).__name__ == "Linear4bit"
    assert "4-bit in memory" in how
    assert "slower" in caplog.text


def test_int8_runs_on_this_machine_and_stays_near_the_plain_model(path: Path) -> None:
    int8, plain = load(path, name="int8"), load(path, name="none")
    assert type(int8.model.layers[0].mlp.up_proj).__name__ == "Linear8bitLt"
    ids = torch.arange(40)[None]
    with torch.no_grad():
        a, b = int8(ids).logits, plain(ids).logits
    assert 0 < (a - b).std() / b.std() < 0.05


def test_the_report_line_says_what_was_done(path: Path) -> None:
    def how(**o: Any) -> str:
        return quantize.load_quantized(path, QuantConfig(**o), torch.float32, CPU)[1]

    assert how(name="none") == "none (float32)"
    assert how().startswith("nf4 double (bitsandbytes ")
    assert how().endswith("dequantized once, float32")
    assert "double" not in how(double_quant=False)
    assert how(name="int8").startswith("int8 (bitsandbytes ")


@pytest.mark.parametrize("name", ["nf4", "int8"])
def test_without_bitsandbytes_the_remedy_is_named(
    path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "bitsandbytes" else found(n))
    with pytest.raises(ModelError, match="pip install bitsandbytes, or use quant=none"):
        load(path, name=name)
    load(path, name="none")


def test_a_checkpoint_that_lacks_a_tensor_is_refused(path: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(path / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text((path / "config.json").read_text())
    with pytest.raises(ModelError, match=r"lacks 1 of the tensors.*up_proj"):
        load(tmp_path, name="none")


@pytest.mark.parametrize("shape", [(64, 64), (16, 48), (96, 32), (3, 30), (7, 9), (5, 100)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_blocks_run_through_rows_on_every_cpu(shape: tuple[int, int], dtype: torch.dtype) -> None:
    """The reference takes each 64 weights of the flat tensor; bitsandbytes on AVX-512 began each row anew."""
    from bitsandbytes import functional

    mend_dequantize()
    weight = torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    packed, state = functional.quantize_4bit(weight, quant_type="nf4", compress_statistics=False)
    codes = torch.stack([packed.flatten() >> 4, packed.flatten() & 15], dim=1).flatten()[: weight.numel()]
    scales = state.absmax.repeat_interleave(64)[: weight.numel()]
    expected = (state.code[codes.long()] * scales).view(shape).to(dtype)
    assert torch.equal(functional.dequantize_4bit(packed, state), expected)
    assert (expected.float() - weight.float()).abs().max() < 0.16 * weight.float().abs().max()
