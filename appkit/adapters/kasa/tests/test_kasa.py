"""KaSA beside PEFT's: the same truncated base, update and penalty."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from peft import KasaConfig, LoraConfig, get_peft_model
from tiny import tiny

from appkit.adapters.factors import ADAPTER, layers, pair, weight
from appkit.adapters.kasa import METHOD
from appkit.adapters.kasa.build import build, penalty
from appkit.adapters.kasa.config import KasaOptions
from appkit.config import build_run_config
from appkit.errors import ConfigError
from appkit.method import Training

TOKENS = torch.arange(3, 23)[None]
OPTIONS = KasaOptions(rank=4, alpha=6, beta=0.02, gamma=0.3)


def training(options: KasaOptions) -> Training:
    return Training(options, 0, 1, lambda model, batch: torch.zeros(()), lambda: iter(()))


@pytest.fixture
def both() -> tuple[Any, Any]:
    """Ours and PEFT's, with the same numbers."""
    base = tiny()
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=4,
        lora_alpha=6,
        target_modules="all-linear",
        kasa_config=KasaConfig(beta=0.02, gamma=0.3),
    )
    theirs = get_peft_model(copy.deepcopy(base), config)
    ours = build(base, OPTIONS)
    with torch.no_grad():
        for (_, layer), (_, other) in zip(layers(ours), layers(theirs), strict=True):
            for own, its in zip(pair(layer), pair(other), strict=True):
                its.copy_(own)
            other.lora_diag[ADAPTER].copy_(layer.lora_sigma)
    return ours, theirs


def change(*models: Any) -> None:
    """Of each trained number, by name the same in all."""
    with torch.no_grad():
        for model in models:
            generator = torch.Generator().manual_seed(0)
            for _, layer in layers(model):
                A, B = pair(layer)
                sigma = layer.lora_sigma if hasattr(layer, "lora_sigma") else layer.lora_diag[ADAPTER]
                for tensor in (A, B, sigma):
                    tensor.add_(torch.randn(tensor.shape, generator=generator), alpha=0.2)


def test_it_starts_at_pefts_truncated_base(both: tuple[Any, Any]) -> None:
    ours, theirs = both
    for (name, layer), (_, other) in zip(layers(ours), layers(theirs), strict=True):
        own = dict(tiny().named_parameters())[f"{name}.weight"]
        assert torch.equal(weight(layer), own)
        start = own + layer.get_delta_weight(ADAPTER).detach()
        torch.testing.assert_close(start, weight(other), atol=1e-5, rtol=1e-4)
        S, cut = torch.linalg.svdvals(own), torch.linalg.svdvals(start)
        assert S[-4:].min() > 1e-3
        torch.testing.assert_close(cut[:-4], S[:-4], atol=1e-4, rtol=1e-4)
        assert cut[-4:].max() < 1e-4
    with torch.no_grad():
        torch.testing.assert_close(ours(TOKENS).logits, theirs(TOKENS).logits, atol=1e-4, rtol=1e-4)


def test_it_is_pefts_after_a_change_with_its_gradients(both: tuple[Any, Any]) -> None:
    ours, theirs = both
    change(ours, theirs)
    mine, its = ours(TOKENS, labels=TOKENS), theirs(TOKENS, labels=TOKENS)
    torch.testing.assert_close(mine.logits, its.logits, atol=1e-3, rtol=1e-3)
    (mine.loss + penalty(ours, None, training(OPTIONS))).backward()
    (its.loss + theirs.base_model._get_kasa_loss() / len(list(layers(ours)))).backward()
    for (name, layer), (_, other) in zip(layers(ours), layers(theirs), strict=True):
        pairs = zip(pair(layer), pair(other), strict=True)
        for own, peft in [*pairs, (layer.lora_sigma, other.lora_diag[ADAPTER])]:
            torch.testing.assert_close(own.grad, peft.grad, atol=1e-4, rtol=1e-3, msg=name)


def test_the_penalty_is_pefts_over_the_layers(both: tuple[Any, Any]) -> None:
    ours, theirs = both
    for _ in range(2):
        mine = penalty(ours, None, training(OPTIONS)) * len(list(layers(ours)))
        assert mine > 1
        torch.testing.assert_close(mine, theirs.base_model._get_kasa_loss())
        change(ours, theirs)


def test_the_penalty_is_zero_where_nothing_is_to_be_punished() -> None:
    model = build(tiny(), OPTIONS)
    assert penalty(model, None, training(KasaOptions(rank=4, beta=0, gamma=0))) == 0
    with torch.no_grad():
        for _, layer in layers(model):
            A, B = pair(layer)
            A.copy_(torch.linalg.qr(torch.randn(layer.in_features, 4))[0].T)
            B.copy_(torch.linalg.qr(torch.randn(layer.out_features, 4))[0])
            layer.lora_sigma.zero_()
    assert penalty(model, None, training(OPTIONS)) < 1e-5
    with torch.no_grad():
        for _, layer in layers(model):
            layer.lora_sigma.fill_(3)
            pair(layer)[0].mul_(2)
    # 0.02 · 4 · 3², and |4 I - I| = 3 √4
    size = penalty(model, None, training(OPTIONS)).detach()
    assert float(size) == pytest.approx(0.02 * 36 + 0.3 * 6, rel=1e-4)


def test_it_counts_what_is_trained() -> None:
    model = build(tiny(), OPTIONS)
    shapes = [(layer.out_features, layer.in_features) for _, layer in layers(model)]
    count = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert METHOD.trained_parameters(OPTIONS, shapes) == count


def test_more_singular_vectors_than_there_are() -> None:
    with pytest.raises(
        ConfigError, match=r"method\.rank is 64, and \S+ \(\d+ x \d+\) has \d+ singular vectors; use"
    ):
        build(tiny(), KasaOptions(rank=64))


def test_all_singular_vectors_that_there_are() -> None:
    line = (
        r"rank is 16, all singular vectors that \S+k_proj \(16 x 32\) has: nothing .*; use method\.rank=15 or"
    )
    with pytest.raises(ConfigError, match=line):
        build(tiny(), KasaOptions(rank=16))


@pytest.mark.parametrize("key", ["beta", "gamma"])
def test_a_negative_coefficient(key: str) -> None:
    method = {"name": "kasa", key: -1}
    with pytest.raises(
        ConfigError, match=rf"method\.{key}: input should be greater than or equal to 0, got -1"
    ):
        build_run_config({"task": "nl2fol", "model": "smollm2-135m", "method": method})
