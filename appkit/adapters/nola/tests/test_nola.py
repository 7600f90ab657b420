"""NOLA beside explicit sums over bases that all exist at once, and again from its seeds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny import tiny

from appkit.adapters import factors
from appkit.adapters.factors import ADAPTER, layers
from appkit.adapters.nola import METHOD, bases
from appkit.adapters.nola.bases import Bases, Mixture, splitmix64
from appkit.adapters.nola.build import build, mixtures
from appkit.adapters.nola.config import NolaOptions
from appkit.config import build_run_config
from appkit.errors import ConfigError

TOKENS = torch.arange(3, 23)[None]
OPTIONS = NolaOptions(rank=3, alpha=6, bases=10)
SIDES = ("A", "B")


def all_of(some: Bases) -> torch.Tensor:
    """(K, rows, columns)"""
    return torch.stack([some.combine(unit) for unit in torch.eye(some.count)])


def change(model: Any) -> None:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for _, layer in layers(model):
            for side in SIDES:
                mixture = getattr(layer, f"lora_mixture_{side}")
                mixture.add_(torch.randn(len(mixture), generator=generator))


def seeded(seed: int, options: NolaOptions = OPTIONS) -> Any:
    base = tiny()  # seeds by itself
    torch.manual_seed(seed)
    return build(base, options)


def test_the_bits_are_splitmix64s() -> None:
    # the published outputs of the reference implementation for this seed
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert [bits % 2**64 for bits in splitmix64(torch.arange(5), 1234567).tolist()] == published


def test_the_bases_are_uniform_and_independent() -> None:
    numbers = all_of(Bases(5, 64, (33, 31))).flatten(1) * 8  # sqrt(64): within ±1
    assert 0.99 < float(numbers.max()) <= 1
    assert -1 <= float(numbers.min()) < -0.99
    assert abs(float(numbers.mean())) < 0.01
    assert float(numbers.square().mean()) == pytest.approx(1 / 3, rel=0.02)
    correlation = numbers @ numbers.T * 3 / numbers.shape[1]
    assert float((correlation - torch.eye(64)).abs().max()) < 0.2
    assert not torch.equal(numbers, all_of(Bases(6, 64, (33, 31))).flatten(1) * 8)


@pytest.mark.parametrize("chunk", [1, 100, 1 << 20])
def test_gradients_are_those_of_the_explicit_sum(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    some = Bases(9, 7, (3, 5))
    every = all_of(some)
    monkeypatch.setattr(bases, "CHUNK", chunk)
    assert torch.equal(all_of(some), every)
    assert max(part.numel() for _, part in some._chunks(every.device)) <= max(chunk, 15)
    weights = torch.randn(3, 5)
    mine = torch.randn(7, requires_grad=True)
    its = mine.detach().clone().requires_grad_()
    mixed = Mixture.apply(mine, some, some.combine(mine.detach()))
    explicit = torch.einsum("k,kij->ij", its, every)
    torch.testing.assert_close(mixed, explicit)
    (mixed.sin() * weights).sum().backward()
    (explicit.sin() * weights).sum().backward()
    torch.testing.assert_close(mine.grad, its.grad)


def test_the_update_is_the_papers() -> None:
    model = build(tiny(), OPTIONS)
    change(model)
    for _, layer in layers(model):
        start, of_A, of_B = layer.lora_seeds.tolist()
        down, up = (3, layer.in_features), (layer.out_features, 3)
        A0 = all_of(Bases(start, 1, down))[0] / layer.in_features**0.5
        assert 0.9 < float(A0.abs().max()) * layer.in_features**0.5 <= 1
        A = A0 + torch.einsum("k,kij->ij", layer.lora_mixture_A, all_of(Bases(of_A, 10, down)))
        B = torch.einsum("k,kij->ij", layer.lora_mixture_B, all_of(Bases(of_B, 10, up)))
        torch.testing.assert_close(layer.get_delta_weight(ADAPTER), 2 * B @ A, atol=1e-5, rtol=1e-4)


def test_it_comes_back_from_its_seeds_bit_for_bit() -> None:
    model = seeded(1)
    change(model)
    stored = {name: tensor.clone() for name, tensor in factors.state(model).items()}
    assert sum(tensor.numel() for tensor in stored.values()) == 3 * len(list(layers(model)))  # seeds alone
    trained = {name: one.detach() for name, one in model.named_parameters() if one.requires_grad}
    again = seeded(2)
    with torch.no_grad():
        again(TOKENS)  # with seeds of its own
    for name, parameter in again.named_parameters():
        if parameter.requires_grad:
            parameter.data.copy_(trained[name])
    deltas = [[layer.get_delta_weight(ADAPTER) for _, layer in layers(each)] for each in (model, again)]
    assert not any(torch.equal(mine, its) for mine, its in zip(*deltas, strict=True))
    factors.load_state(again, stored)
    for (_, layer), (_, other) in zip(layers(model), layers(again), strict=True):
        for mine, its in zip(mixtures(layer), mixtures(other), strict=True):
            assert torch.equal(mine, its)


def test_a_seed_in_the_options_fixes_the_bases() -> None:
    seeds = []
    for seed, option in ((1, 7), (2, 7), (1, 8), (1, None), (2, None)):
        model = seeded(seed, OPTIONS.model_copy(update={"seed": option}))
        seeds.append(torch.stack([layer.lora_seeds for _, layer in layers(model)]))
    assert torch.equal(seeds[0], seeds[1])
    assert len({tuple(each.flatten().tolist()) for each in seeds}) == 4
    assert len(seeds[0].unique()) == seeds[0].numel()


def test_bases_are_made_again_only_when_coefficients_change(monkeypatch: pytest.MonkeyPatch) -> None:
    model, calls = build(tiny(), OPTIONS), []
    monkeypatch.setattr(bases, "splitmix64", lambda *words: calls.append(1) or splitmix64(*words))
    with torch.inference_mode():
        first = model(TOKENS).logits
    assert calls
    calls.clear()
    with torch.inference_mode():
        assert torch.equal(model(TOKENS).logits, first)
    assert not calls
    change(model)
    assert not torch.allclose(model(TOKENS).logits, first, atol=1e-2)
    assert calls


def test_it_counts_what_is_trained() -> None:
    model = build(tiny(), OPTIONS)
    shapes = [(layer.out_features, layer.in_features) for _, layer in layers(model)]
    count = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert METHOD.trained_parameters(OPTIONS, shapes) == count


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"bases": 0}, r"method\.bases: input should be greater than or equal to 1, got 0"),
        ({"seed": -1}, r"method\.seed: input should be greater than or equal to 0, got -1"),
        ({"seed": 2**31}, r"method\.seed: input should be less than 2147483648, got 2147483648"),
    ],
)
def test_options_out_of_range(options: dict[str, int], line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        build_run_config({"task": "nl2fol", "model": "smollm2-135m", "method": {"name": "nola", **options}})
