"""LoRA-SB's start beside the best approximation of the first full step, with gradients of the plain base's weights."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from tiny import VOCABULARY, tiny

from appkit.adapters.factors import layers, pair, weight
from appkit.adapters.lora_sb import METHOD
from appkit.adapters.lora_sb.build import before_training, build
from appkit.adapters.lora_sb.config import LoraSbOptions
from appkit.config import build_run_config
from appkit.errors import ConfigError
from appkit.heads.lm import loss as lm_loss
from appkit.method import Training
from appkit.models import attention
from appkit.models.batch import Batch, Example, collate

ETA = 1e-3


def make_batches() -> list[Batch]:
    draw = random.Random(0)
    rows = [tuple(draw.randrange(3, VOCABULARY) for _ in range(12)) for _ in range(8)]
    return [collate([Example(tokens, 3) for tokens in part]) for part in (rows[:4], rows[4:])]


def attending() -> Any:
    base = tiny()
    attention.use(base)
    return base


def start(seed: int = 0, **options: Any) -> Any:
    model = build(attending(), LoraSbOptions(rank=4, first_step=ETA, **options))
    training = Training(
        LoraSbOptions(rank=4, first_step=ETA, **options), seed, 1, lm_loss.loss, lambda: iter(make_batches())
    )
    before_training(model, training)
    return model


def updates(model: Any) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        return {name: layer.get_delta_weight("default") for name, layer in layers(model)}


@pytest.mark.parametrize("batches", [1, 8])
def test_the_start_is_the_best_approximation_of_the_first_full_step(batches: int) -> None:
    model, dense = start(batches=batches), attending()
    weights = dict(dense.named_parameters())
    for name in updates(model):
        weights[f"{name}.weight"].requires_grad_()
    for batch in make_batches()[:batches]:
        lm_loss.loss(dense, batch).backward()
    for name, layer in layers(model):
        gradient = weights[f"{name}.weight"].grad
        step = -ETA * gradient.sign().double()
        U, S, Vh = torch.linalg.svd(step, full_matrices=False)
        update = updates(model)[name].double()
        torch.testing.assert_close(update, U[:, :4] * S[:4] @ Vh[:4], atol=1e-3 * ETA, rtol=0, msg=name)
        error = float((update - step).square().sum())
        assert error == pytest.approx(float(S[4:].square().sum()), rel=1e-5), name
        assert float((update * gradient).sum()) < 0, name  # downhill
        for factor in (pair(layer)[0], pair(layer)[1].T):
            torch.testing.assert_close(factor @ factor.T, torch.eye(4), atol=1e-5, rtol=0)
            assert not factor.requires_grad
        assert layer.lora_R.requires_grad
        assert torch.equal(weight(layer), dict(tiny().named_parameters())[f"{name}.weight"])


def test_alpha_does_not_move_the_start() -> None:
    assert LoraSbOptions(rank=4).alpha == 4
    plain, scaled = updates(start()), updates(start(alpha=32))
    for name, update in plain.items():
        assert float(update.norm()) > 10 * ETA
        torch.testing.assert_close(update, scaled[name], atol=1e-6, rtol=1e-4, msg=name)


def test_the_base_is_left_only_when_training_starts() -> None:
    batch = make_batches()[0]
    before = lm_loss.token_losses(attending(), batch)
    built = lm_loss.token_losses(build(attending(), LoraSbOptions(rank=4)), batch)
    started = lm_loss.token_losses(start(), batch)
    assert torch.equal(built, before)
    assert not torch.allclose(started, before, atol=1e-3)
    assert float(started.sum()) < float(before.sum())


def test_a_randomized_svd_depends_on_the_seed_alone() -> None:
    starts = []
    for state, seed in ((1, 0), (2, 0), (1, 5)):
        base = attending()
        model = build(base, LoraSbOptions(rank=4, niter=2))
        training = Training(
            LoraSbOptions(rank=4, niter=2), seed, 1, lm_loss.loss, lambda: iter(make_batches())
        )
        torch.manual_seed(state)
        before_training(model, training)
        assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(state)))
        starts.append(updates(model))
    for name in starts[0]:
        assert torch.equal(starts[0][name], starts[1][name])
    assert any(not torch.equal(starts[0][name], starts[2][name]) for name in starts[0])


def test_the_forecast_counts_what_is_trained() -> None:
    options = LoraSbOptions(rank=4)
    model = build(tiny(), options)
    shapes = [(layer.out_features, layer.in_features) for _, layer in layers(model)]
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert METHOD.trained_parameters(options, shapes) == trained == 21 * 16


def test_more_singular_vectors_than_there_are() -> None:
    with pytest.raises(
        ConfigError, match=r"method\.rank is 64, and \S+ \(\d+ x \d+\) has \d+ singular vectors; use"
    ):
        build(tiny(), LoraSbOptions(rank=64))


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ({"rank": 0}, "method.rank: input should be greater than or equal to 1, got 0"),
        ({"alpha": 0}, "method.alpha: input should be greater than 0, got 0"),
        ({"first_step": 0}, "method.first_step: input should be greater than 0, got 0"),
        ({"first_step": 2}, "method.first_step: input should be less than or equal to 1, got 2"),
        ({"batches": 0}, "method.batches: input should be greater than or equal to 1, got 0"),
        ({"niter": -1}, "method.niter: input should be greater than or equal to 0, got -1"),
    ],
)
def test_options_out_of_range(option: dict[str, float], line: str) -> None:
    method = {"name": "lora_sb", **option}
    with pytest.raises(ConfigError) as caught:
        build_run_config({"task": "nl2fol", "model": "smollm2-135m", "method": method})
    assert str(caught.value) == line
