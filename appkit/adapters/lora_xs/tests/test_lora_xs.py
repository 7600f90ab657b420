"""LoRA-XS beside its formula, written out: frozen factors, and logits and gradients of dense weights."""

from __future__ import annotations

import pytest
import torch
from tiny import tiny

from appkit.adapters.factors import layers, pair, weight
from appkit.adapters.lora_xs import METHOD
from appkit.adapters.lora_xs.build import build, core_factors
from appkit.adapters.lora_xs.config import LoraXsOptions
from appkit.config import build_run_config
from appkit.errors import ConfigError

TOKENS = torch.arange(3, 23)[None]


def test_the_frozen_factors_are_the_largest_singular_vectors() -> None:
    base = dict(tiny().named_parameters())
    model = build(tiny(), LoraXsOptions(rank=4, alpha=8))
    for name, layer in layers(model):
        assert torch.equal(weight(layer), base[f"{name}.weight"])
        U, S, Vh = torch.linalg.svd(weight(layer).double(), full_matrices=False)
        A, B = pair(layer)
        # a pair of singular vectors has no sign of its own
        sign = (U[:, :4] * B).sum(0).sign()
        torch.testing.assert_close(B.double(), U[:, :4] * sign, atol=1e-4, rtol=1e-4, msg=name)
        torch.testing.assert_close(
            A.double(), (S[:4] * sign)[:, None] * Vh[:4], atol=1e-4, rtol=1e-4, msg=name
        )
        assert not A.requires_grad
        assert not B.requires_grad
        assert 1e-6 < float(layer.lora_R.detach().std()) < 1e-4


def test_logits_and_gradients_are_those_of_dense_weights() -> None:
    adapted = build(tiny(), LoraXsOptions(rank=4, alpha=8))
    dense = tiny()
    weights = dict(dense.named_parameters())
    generator = torch.Generator().manual_seed(0)
    for name, layer in layers(adapted):
        A, B = pair(layer)
        R = torch.randn(4, 4, generator=generator) / 10
        layer.lora_R.data.copy_(R)
        weights[f"{name}.weight"].data += 2 * B @ R @ A  # s = 8 / 4
        weights[f"{name}.weight"].requires_grad_()
    outputs, expected = (model(TOKENS, labels=TOKENS) for model in (adapted, dense))
    torch.testing.assert_close(outputs.logits, expected.logits, atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        assert not torch.allclose(outputs.logits, tiny()(TOKENS).logits, atol=1e-2)
    outputs.loss.backward()
    expected.loss.backward()
    for name, layer in layers(adapted):
        A, B = pair(layer)
        gradient = 2 * B.T @ weights[f"{name}.weight"].grad @ A.T
        torch.testing.assert_close(layer.lora_R.grad, gradient, atol=1e-5, rtol=1e-3, msg=name)


def test_a_randomized_svd_keeps_almost_as_much_of_the_weight() -> None:
    exact, iterated = (build(tiny(), LoraXsOptions(rank=4, niter=niter)) for niter in (0, 30))
    for (name, layer), (_, other) in zip(layers(exact), layers(iterated), strict=True):
        most, close = (float(pair(side)[0].square().sum()) for side in (layer, other))
        assert 0.98 * most <= close <= 1.0001 * most, name
        assert float((pair(other)[1].T @ pair(other)[1] - torch.eye(4)).abs().max()) < 1e-4


def test_the_forecast_counts_what_is_trained() -> None:
    options = LoraXsOptions(rank=4)
    model = build(tiny(), options)
    shapes = [(layer.out_features, layer.in_features) for _, layer in layers(model)]
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert METHOD.trained_parameters(options, shapes) == trained == 21 * 16


def test_the_export_has_every_scale_in_it() -> None:
    options = LoraXsOptions(rank=4, alpha=8)
    model = build(tiny(), options)
    name, layer = next(layers(model))
    tensors = METHOD.export(model, options).tensors
    A, B = (tensors[f"base_model.model.{name}.lora_{side}.weight"] for side in "AB")
    assert torch.equal(B @ A, layer.get_delta_weight("default"))
    expected = core_factors(layer)
    assert torch.equal(A, expected[0])
    assert torch.equal(B, expected[1])


def test_more_singular_vectors_than_there_are() -> None:
    with pytest.raises(
        ConfigError, match=r"method\.rank is 64, and \S+ \(\d+ x \d+\) has \d+ singular vectors; use"
    ):
        build(tiny(), LoraXsOptions(rank=64))


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ({"niter": -1}, "method.niter: input should be greater than or equal to 0, got -1"),
        ({"niter": 101}, "method.niter: input should be less than or equal to 100, got 101"),
        ({"rank": 0}, "method.rank: input should be greater than or equal to 1, got 0"),
    ],
)
def test_options_out_of_range(option: dict[str, int], line: str) -> None:
    method = {"name": "lora_xs", **option}
    with pytest.raises(ConfigError) as caught:
        build_run_config({"task": "nl2fol", "model": "smollm2-135m", "method": method})
    assert str(caught.value) == line
