"""NLoRA, SLoRA and IntTune beside the closed form W + s B N A."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tiny import tiny

from appkit.adapters.factors import export, layers, pair, weight
from appkit.adapters.nlora import METHOD
from appkit.adapters.nlora.build import build, product
from appkit.adapters.nlora.config import NloraOptions
from appkit.config import build_run_config
from appkit.errors import ConfigError

TOKENS = torch.arange(3, 23)[None]
RANK, ALPHA = 4, 6
SCALE = ALPHA / RANK


def options(variant: str) -> NloraOptions:
    return NloraOptions(rank=RANK, alpha=ALPHA, variant=variant)


def weights() -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in tiny().named_parameters()}


def logits_of(changed: dict[str, torch.Tensor]) -> torch.Tensor:
    """Of the base with these weights in place of its own."""
    base = tiny()
    base.load_state_dict(changed, strict=False)
    with torch.no_grad():
        return base(TOKENS).logits


def trained(model: Any) -> set[str]:
    return {
        name.rpartition(".lora_")[2]
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


@pytest.mark.parametrize("variant", ["nlora", "int_tune"])
def test_it_starts_at_the_nystrom_product_of_slices(variant: str) -> None:
    model, W = build(tiny(), options(variant)), weights()
    assert trained(model) == (
        {"N"} if variant == "int_tune" else {"A.default.weight", "B.default.weight", "N"}
    )
    changed = {}
    for name, layer in layers(model):
        own = W[f"{name}.weight"]
        update = SCALE * own[:, :RANK] @ own[:RANK, :RANK] @ own[:RANK]
        A, B = product(layer)
        torch.testing.assert_close(B @ A, update)
        assert torch.equal(weight(layer), own)
        changed[f"{name}.weight"] = own + update
    with torch.no_grad():
        torch.testing.assert_close(model(TOKENS).logits, logits_of(changed), atol=1e-4, rtol=1e-4)


def test_slora_starts_as_lora_with_a_random_matrix_between() -> None:
    torch.manual_seed(1)
    model = build(tiny(), options("slora"))
    assert trained(model) == {"A.default.weight", "B.default.weight", "N"}
    bound, largest = 1 / math.sqrt(RANK), 0.0
    for _, layer in layers(model):
        A, B = pair(layer)
        assert not B.any()
        assert A.abs().max() <= 1 / math.sqrt(layer.in_features)
        assert 0 < layer.lora_N.abs().max() <= bound
        largest = max(largest, float(layer.lora_N.detach().abs().max()))
    assert largest > 0.9 * bound  # of 21 draws of 16 numbers
    torch.manual_seed(1)
    again = build(tiny(), options("slora"))
    for (_, layer), (_, other) in zip(layers(model), layers(again), strict=True):
        assert torch.equal(layer.lora_N, other.lora_N)


def test_the_slices_are_no_part_of_the_base() -> None:
    """A slice of an fp32 weight shares its memory: training it would train the base."""
    base = tiny()
    model = build(base, options("nlora"))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(1)
    for name, parameter in model.unload().named_parameters():
        assert torch.equal(parameter, weights()[name]), name


@pytest.mark.parametrize("variant", ["nlora", "slora", "int_tune"])
def test_changed_factors_are_the_closed_form_in_forward_and_export(variant: str) -> None:
    model, changed = build(tiny(), options(variant)), weights()
    generator = torch.Generator().manual_seed(0)
    factors = {}
    with torch.no_grad():
        for name, layer in layers(model):
            A, B = pair(layer)
            for tensor in (A, B, layer.lora_N):
                tensor.add_(torch.randn(tensor.shape, generator=generator), alpha=0.1)
            factors[name] = SCALE * B @ layer.lora_N @ A
            changed[f"{name}.weight"] += factors[name]
        torch.testing.assert_close(model(TOKENS).logits, logits_of(changed), atol=1e-4, rtol=1e-4)
    form = export(model, options(variant))
    assert form.rank == RANK
    for name, update in factors.items():
        A, B = (form.tensors[f"base_model.model.{name}.lora_{side}.weight"] for side in "AB")
        torch.testing.assert_close(B @ A, update)


def test_the_gradient_of_the_middle_is_that_of_the_weight_between_the_factors() -> None:
    model = build(tiny(), options("int_tune"))
    base, started = tiny(), {}
    for name, layer in layers(model):
        A, B = product(layer)
        parameter = dict(base.named_parameters())[f"{name}.weight"]
        parameter.data += (B @ A).detach()
        started[name] = parameter.requires_grad_(True)
    for trainee in (model, base):
        trainee(TOKENS, labels=TOKENS).loss.backward()
    for name, layer in layers(model):
        A, B = pair(layer)
        assert A.grad is None
        assert B.grad is None
        expected = SCALE * B.T @ started[name].grad @ A.T
        torch.testing.assert_close(layer.lora_N.grad, expected, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("variant", ["nlora", "slora", "int_tune"])
def test_it_counts_what_is_trained(variant: str) -> None:
    model = build(tiny(), options(variant))
    shapes = [(layer.out_features, layer.in_features) for _, layer in layers(model)]
    count = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert METHOD.trained_parameters(options(variant), shapes) == count


def test_more_rows_than_there_are() -> None:
    for variant in ("nlora", "int_tune"):
        with pytest.raises(ConfigError, match=r"method\.rank is 64, and \S+ \(\d+ x \d+\) has \d+ singular"):
            build(tiny(), NloraOptions(rank=64, variant=variant))
    build(tiny(), NloraOptions(rank=64, variant="slora"))


def test_a_variant_that_there_is_not() -> None:
    method = {"name": "nlora", "variant": "tune"}
    line = r"method\.variant: input should be 'nlora', 'slora' or 'int_tune', got 'tune'"
    with pytest.raises(ConfigError, match=line):
        build_run_config({"task": "nl2fol", "model": "smollm2-135m", "method": method})
