"""Hydra beside two explicit branches, on the input and on the output of a layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny import tiny
from torch.nn.functional import linear

from appkit.adapters.factors import ADAPTER, layers, pair, weight
from appkit.adapters.hydra import METHOD
from appkit.adapters.hydra.build import branches, build
from appkit.adapters.hydra.config import HydraOptions
from appkit.config import build_run_config
from appkit.errors import ConfigError

TOKENS = torch.arange(3, 23)[None]
OPTIONS = HydraOptions(rank=3, alpha=6, sequential_rank=5)


def built(architecture: str = "llama") -> Any:
    """With a B that is not zero."""
    model = build(tiny(architecture), OPTIONS)
    with torch.no_grad():
        for _, layer in layers(model):
            for tensor in (pair(layer)[1], layer.lora_sequential_B):
                tensor.normal_(std=0.3)
    return model


def trained(layer: Any) -> list[torch.Tensor]:
    return [*pair(layer), layer.lora_sequential_A, layer.lora_sequential_B]


# qwen2's q, k and v have a bias
@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_outputs_and_gradients_are_those_of_two_branches(architecture: str) -> None:
    for name, layer in layers(built(architecture)):
        x = torch.randn(7, layer.in_features)
        mine = x.clone().requires_grad_()
        its = x.clone().requires_grad_()
        A, B, down, up = (tensor.detach().clone().requires_grad_() for tensor in trained(layer))
        W, bias = weight(layer), layer.get_base_layer().bias
        plain = linear(its, W)
        expected = plain + 2 * linear(linear(its, A), B) + 2 * linear(linear(plain, down), up)
        expected = expected if bias is None else expected + bias
        output = layer(mine)
        torch.testing.assert_close(output, expected, atol=1e-3, rtol=1e-4, msg=name)
        weights = torch.randn(output.shape)
        (output * weights).sum().backward()
        (expected * weights).sum().backward()
        torch.testing.assert_close(mine.grad, its.grad, atol=1e-3, rtol=1e-4)
        for own, explicit in zip(trained(layer), (A, B, down, up), strict=True):
            torch.testing.assert_close(own.grad, explicit.grad, atol=1e-3, rtol=1e-4)


def test_each_branch_alone_moves_the_layer() -> None:
    """The sequential update has the weight in it, and none of the parallel branch."""
    for _, layer in layers(built()):
        both = layer.get_delta_weight(ADAPTER)
        A, B, _, up = trained(layer)
        with torch.no_grad():
            up.zero_()
            parallel = layer.get_delta_weight(ADAPTER)
        torch.testing.assert_close(parallel, 2 * B @ A, atol=1e-4, rtol=1e-4)
        assert torch.linalg.matrix_rank(both - parallel) == 5
        assert branches(layer)[0].shape == (8, layer.in_features)


def test_the_product_follows_its_factor(monkeypatch: pytest.MonkeyPatch) -> None:
    model, calls = built(), []
    monkeypatch.setattr("appkit.adapters.hydra.build.weight", lambda layer: calls.append(1) or weight(layer))
    with torch.inference_mode():
        before = model(TOKENS).logits
        calls.clear()
        assert torch.equal(model(TOKENS).logits, before)
    assert not calls
    with torch.no_grad():
        for _, layer in layers(model):
            layer.lora_sequential_A.mul_(-1)
        after = model(TOKENS).logits
    assert len(calls) == len(list(layers(model)))
    assert not torch.allclose(after, before, atol=1e-2)


def test_it_counts_what_is_trained() -> None:
    model = build(tiny(), OPTIONS)
    shapes = [(layer.out_features, layer.in_features) for _, layer in layers(model)]
    count = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert METHOD.trained_parameters(OPTIONS, shapes) == count


def test_a_sequential_branch_of_no_rank() -> None:
    method = {"name": "hydra", "sequential_rank": 0}
    line = r"method\.sequential_rank: input should be greater than or equal to 1, got 0"
    with pytest.raises(ConfigError, match=line):
        build_run_config({"task": "nl2fol", "model": "smollm2-135m", "method": method})
