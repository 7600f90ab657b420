"""MiSS beside PEFT's: logits, gradients and merged weights, also where the rank does not divide the inputs."""

from __future__ import annotations

import copy

import pytest
import torch
from peft import MissConfig, get_peft_model
from peft.tuners.miss.layer import MissLayer
from tiny import tiny

from appkit.adapters.factors import ADAPTER, layers, pair, weight
from appkit.adapters.miss import METHOD
from appkit.adapters.miss.build import build
from appkit.adapters.miss.config import MissOptions
from appkit.config import build_run_config
from appkit.errors import ConfigError

TOKENS = torch.arange(3, 23)[None]


@pytest.mark.parametrize("rank", [4, 5, 32])  # 32 of 48 inputs: one whole shard and half of one
def test_it_is_pefts(rank: int) -> None:
    base = tiny()
    config = MissConfig(task_type="CAUSAL_LM", r=rank, target_modules="all-linear")
    theirs = get_peft_model(copy.deepcopy(base), config)
    ours = build(base, MissOptions(rank=rank))
    blocks = [module for module in theirs.modules() if isinstance(module, MissLayer)]
    generator = torch.Generator().manual_seed(0)
    for (_, layer), block in zip(layers(ours), blocks, strict=True):
        assert torch.equal(pair(layer)[1], torch.zeros(layer.out_features, rank))
        assert not pair(layer)[0].requires_grad
        shared = torch.randn(layer.out_features, rank, generator=generator) / 10
        pair(layer)[1].data.copy_(shared)
        block.miss_block[ADAPTER].data.copy_(shared.T)
    outputs, expected = (model(TOKENS, labels=TOKENS) for model in (ours, theirs))
    torch.testing.assert_close(outputs.logits, expected.logits, atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        assert not torch.allclose(outputs.logits, tiny()(TOKENS).logits, atol=1e-2)
    outputs.loss.backward()
    expected.loss.backward()
    for (name, layer), block in zip(layers(ours), blocks, strict=True):
        gradient = block.miss_block[ADAPTER].grad.T
        torch.testing.assert_close(pair(layer)[1].grad, gradient, atol=1e-5, rtol=1e-3, msg=name)
        merged = block.get_delta_weight_miss(ADAPTER, weight(layer))  # it writes into what it gets
        torch.testing.assert_close(weight(layer) + layer.get_delta_weight(ADAPTER), merged, msg=name)


def test_alpha_scales_the_update() -> None:
    assert MissOptions(rank=8).alpha == 8
    for alpha in (4, 12):
        _, layer = next(layers(build(tiny(), MissOptions(rank=4, alpha=alpha))))
        pair(layer)[1].data.fill_(1)
        assert torch.equal(layer.get_delta_weight(ADAPTER), torch.full((32, 32), alpha / 4))


def test_the_forecast_counts_what_is_trained() -> None:
    options = MissOptions(rank=5)
    model = build(tiny(), options)
    shapes = [(layer.out_features, layer.in_features) for _, layer in layers(model)]
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert METHOD.trained_parameters(options, shapes) == trained == 5 * sum(out for out, _ in shapes)


def test_more_columns_than_inputs() -> None:
    with pytest.raises(
        ConfigError,
        match=r"method\.rank is 40, and \S+ has 32 inputs .*; use method\.rank=32 or less, or other",
    ):
        build(tiny(), MissOptions(rank=40))


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ({"rank": 0}, "method.rank: input should be greater than or equal to 1, got 0"),
        ({"alpha": 0}, "method.alpha: input should be greater than 0, got 0"),
    ],
)
def test_options_out_of_range(option: dict[str, int], line: str) -> None:
    method = {"name": "miss", **option}
    with pytest.raises(ConfigError) as caught:
        build_run_config({"task": "nl2fol", "model": "smollm2-135m", "method": method})
    assert str(caught.value) == line
