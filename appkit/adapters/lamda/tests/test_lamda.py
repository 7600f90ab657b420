"""LaMDA's start, the freezing of its columns, and the ranks of LaMDA++."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny import tiny

from appkit.adapters.factors import ADAPTER, layers, pair, weight
from appkit.adapters.lamda import METHOD
from appkit.adapters.lamda.build import build, count_frozen, freeze, product, put_back, share_ranks
from appkit.adapters.lamda.config import LamdaOptions
from appkit.config import build_run_config
from appkit.errors import ConfigError
from appkit.method import Training

TOKENS = torch.arange(3, 23)[None]


def training(options: LamdaOptions, steps: int) -> Training:
    return Training(options, 0, steps, lambda model, batch: torch.zeros(()), lambda: iter(()))


def test_it_starts_at_the_principal_part_with_no_update() -> None:
    model = build(tiny(), LamdaOptions(rank=4, alpha=12))
    for name, layer in layers(model):
        own = dict(tiny().named_parameters())[f"{name}.weight"]
        U, S, Vh = torch.linalg.svd(own, full_matrices=False)
        principal = (U[:, :4] * S[:4]) @ Vh[:4]
        torch.testing.assert_close(3 * layer.lora_start @ pair(layer)[0], principal, atol=1e-4, rtol=1e-4)
        assert torch.equal(weight(layer), own)
        assert not layer.get_delta_weight(ADAPTER).any()


@pytest.mark.parametrize("init", ["svd", "kaiming"])
def test_the_update_is_the_formula(init: str) -> None:
    model = build(tiny(), LamdaOptions(rank=4, alpha=12, init=init))
    for _, layer in layers(model):
        A, B = pair(layer)
        before = B.detach() @ layer.lora_N.detach()
        with torch.no_grad():
            B.add_(torch.randn(B.shape))
            layer.lora_N.add_(torch.randn(4, 4))
        expected = 3 * (B @ layer.lora_N - before) @ A
        torch.testing.assert_close(layer.get_delta_weight(ADAPTER), expected, atol=1e-3, rtol=1e-3)
        assert not A.requires_grad
        if init == "kaiming":
            assert not before.any()
            assert 0.9 < float(A.abs().max()) * layer.in_features**0.5 <= 1


@pytest.mark.parametrize("init", ["svd", "kaiming"])
def test_frozen_columns_stay_under_momentum_and_weight_decay(init: str) -> None:
    options, steps = LamdaOptions(rank=6, init=init, freeze=0.5), 8
    model, hooks = build(tiny(), options), training(options, steps)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.01, weight_decay=0.5)
    counts, layer = [], next(layer for _, layer in layers(model))
    for hooks.step in range(steps):
        B, N = pair(layer)[1].detach().clone(), layer.lora_N.detach().clone()
        freeze(model, hooks)
        counts.append(layer.frozen_columns)
        optimizer.zero_grad()
        model(TOKENS, labels=TOKENS).loss.backward()
        gradient = pair(layer)[1].grad
        assert torch.equal(gradient[:, : counts[-1]], torch.zeros_like(gradient[:, : counts[-1]]))
        optimizer.step()
        moved_by_the_optimizer = pair(layer)[1].detach() != B
        if hooks.step:
            assert moved_by_the_optimizer.any(0).all()  # frozen columns too
        put_back(model, hooks)
        moved = (pair(layer)[1].detach() != B).any(0)
        assert moved.tolist() == [False] * counts[-1] + [True] * (6 - counts[-1])
        assert not torch.equal(layer.lora_N, N)
    assert counts == [0, 1, 3, 4, 6, 6, 6, 6]


def test_frozen_columns_have_their_part_in_the_update() -> None:
    options = LamdaOptions(rank=4)
    model, hooks = build(tiny(), options), training(options, 10)
    for _, layer in layers(model):
        with torch.no_grad():
            pair(layer)[1].normal_()
    before = [layer.get_delta_weight(ADAPTER) for _, layer in layers(model)]
    hooks.step = 2
    freeze(model, hooks)
    for expected, (_, layer) in zip(before, layers(model), strict=True):
        assert layer.frozen_columns == 2
        torch.testing.assert_close(layer.get_delta_weight(ADAPTER), expected)


def test_columns_freeze_evenly_over_the_first_steps() -> None:
    assert [count_frozen(64, step, 1000, 0.3) for step in (0, 4, 5, 150, 299, 300, 999)] == [
        0,
        0,
        1,
        32,
        63,
        64,
        64,
    ]
    assert [count_frozen(4, step, 10, 0) for step in (0, 9)] == [4, 4]
    assert [count_frozen(4, step, 4, 1) for step in range(4)] == [0, 1, 2, 3]


def test_ranks_follow_the_scores_within_their_bounds() -> None:
    limits = [100, 100, 100]
    assert share_ranks([0.5, 0.5, 0.5], limits, 8, 4) == [8, 8, 8]
    assert share_ranks([0.1, 0.2, 0.3], limits, 8, 4) == [4, 8, 12]
    assert share_ranks([0.0, 0.0, 1.0], limits, 8, 2) == [4, 4, 16]
    assert share_ranks([0.0, 0.0, 1.0], [100, 100, 10], 8, 2)[2] == 10
    assert share_ranks([0.3, 0.1], [1, 1], 1, 8) == [1, 1]
    for spread in (1.2, 1.5, 3, 8):
        scores = torch.rand(40, generator=torch.Generator().manual_seed(0)).tolist()
        ranks = share_ranks(scores, [20] * 40, 16, spread)
        assert sum(ranks) == 40 * 16
        assert max(1, int(16 / spread)) <= min(ranks) <= max(ranks) <= min(20, int(16 * spread))


def test_a_layer_with_a_flat_spectrum_gets_more() -> None:
    """Planted: all layers but one lose nearly all beyond 4 singular values."""
    base = tiny()
    flat = base.model.layers[1].mlp.up_proj
    for module in base.model.modules():
        if isinstance(module, torch.nn.Linear) and module is not flat:
            U, S, Vh = torch.linalg.svd(module.weight.data, full_matrices=False)
            S[4:] *= 0.03
            module.weight.data.copy_((U * S) @ Vh)
    model = build(base, LamdaOptions(rank=4, spread=3))
    ranks = {name: len(product(layer)[0]) for name, layer in layers(model)}
    assert ranks.pop("model.layers.1.mlp.up_proj") == 12
    assert max(ranks.values()) < 12
    assert sum(ranks.values()) + 12 == 4 * (len(ranks) + 1)
    assert {layer.scaling[ADAPTER] for _, layer in layers(model)} == {8.0}


def shapes(model: Any) -> list[tuple[int, int]]:
    return [(layer.out_features, layer.in_features) for _, layer in layers(model)]


def test_it_counts_what_is_trained() -> None:
    options = LamdaOptions(rank=4)
    model = build(tiny(), options)
    count = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert METHOD.trained_parameters(options, shapes(model)) == count


def test_more_singular_vectors_than_there_are() -> None:
    line = r"method\.rank is 64, and \S+ \(\d+ x \d+\) has \d+ singular vectors; use"
    with pytest.raises(ConfigError, match=line):
        build(tiny(), LamdaOptions(rank=64))
    with pytest.raises(ConfigError, match=line):
        build(tiny(), LamdaOptions(rank=64, init="kaiming", spread=2))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"freeze": 1.5}, r"method\.freeze: input should be less than or equal to 1, got 1\.5"),
        ({"spread": 0.5}, r"method\.spread: input should be greater than or equal to 1, got 0\.5"),
        ({"init": "zero"}, r"method\.init: input should be 'svd' or 'kaiming', got 'zero'"),
        (
            {"init": "kaiming", "freeze": 0},
            r"method: init=kaiming starts with B = 0, and freeze=0 would leave it there; raise freeze, or",
        ),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        build_run_config({"task": "nl2fol", "model": "smollm2-135m", "method": {"name": "lamda", **options}})
