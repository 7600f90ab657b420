"""LoRA-GA beside dense gradients: its first step is the best of rank 2r; and beside PEFT's subspaces."""

from __future__ import annotations

import random
from collections import Counter
from functools import partial
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraGAConfig, preprocess_loraga
from tiny import VOCABULARY, tiny

from appkit.adapters.factors import ADAPTER, layers, pair
from appkit.adapters.gradients import each_gradient, gradients
from appkit.adapters.lora_ga.build import before_training, build
from appkit.adapters.lora_ga.config import LoraGaOptions
from appkit.config import build_run_config
from appkit.errors import ConfigError
from appkit.heads.label.loss import LabelLoss, attach
from appkit.heads.lm import loss as lm_loss
from appkit.method import Training
from appkit.models import attention
from appkit.models.batch import Batch, Example, Labelled, collate, collate_labelled

RANK = 4


def make_batches() -> list[Batch]:
    draw = random.Random(0)
    rows = [Example(tuple(draw.randrange(3, VOCABULARY) for _ in range(20)), 5) for _ in range(6)]
    return [collate(rows[:4]), collate(rows[4:])]


def based() -> Any:
    base = tiny()
    attention.use(base)
    return base


def started(**options: Any) -> Any:
    """The model after its start."""
    chosen = LoraGaOptions(rank=RANK, alpha=8, **options)
    model = build(based(), chosen)
    before_training(model, Training(chosen, 0, 1, lm_loss.loss, lambda: iter(make_batches())))
    return model


def dense_gradients() -> dict[str, torch.Tensor]:
    base = based().requires_grad_(True)
    for batch in make_batches():
        lm_loss.loss(base, batch).backward()
    return {name.removesuffix(".weight"): weight.grad for name, weight in base.named_parameters()}


def test_where_memory_is_short_gradients_come_in_groups_and_are_the_same() -> None:
    model = build(based(), LoraGaOptions(rank=RANK, alpha=8))
    together = gradients(model, make_batches(), lm_loss.loss)
    largest = max(4 * one.numel() for one in together.values())
    passes: Counter[int] = Counter()

    def count(room: int) -> list[Batch]:
        passes[room] += 1
        return make_batches()

    for room in (1, largest * 3, 10**12):
        found = list(each_gradient(model, partial(count, room), lm_loss.loss, room))
        assert [name for name, _, _ in found] == [name for name, _ in layers(model)]
        assert len(found) == len(together)
        assert all(torch.equal(gradient, together[name]) for name, _, gradient in found)
    assert passes[1] == len(together)
    assert 1 < passes[largest * 3] < len(together)
    assert passes[10**12] == 1


def project(rows: torch.Tensor) -> torch.Tensor:
    """The projector onto the span of the rows."""
    Q = torch.linalg.qr(rows.T)[0]
    return Q @ Q.T


@pytest.mark.parametrize(("rslora", "scale"), [(True, 4.0), (False, 2.0)])
def test_the_first_step_is_the_best_of_rank_2r(rslora: bool, scale: float) -> None:
    model, dense = started(niter=0, rslora=rslora), dense_gradients()
    for batch in make_batches():
        lm_loss.loss(model, batch).backward()
    for name, layer in layers(model):
        A, B = pair(layer)
        # of W, for a learning rate of 1 and to first order
        step = scale * (B.grad @ A + B @ A.grad).detach()
        U, S, Vh = torch.linalg.svd(dense[name], full_matrices=False)
        best = (U[:, : 2 * RANK] * S[: 2 * RANK]) @ Vh[: 2 * RANK]
        squared = layer.out_features**0.5 / 16  # c² = √O / gamma
        torch.testing.assert_close(
            step, scale**2 * squared * best, atol=1e-4 * float(step.abs().max()), rtol=1e-3, msg=name
        )
        # the same step would come of A and B exchanged
        torch.testing.assert_close(A.T @ A, squared * Vh[:RANK].T @ Vh[:RANK], atol=1e-4, rtol=1e-3, msg=name)


def test_the_start_changes_nothing_and_gamma_scales_it() -> None:
    model = started()
    for batch in make_batches():
        losses = [lm_loss.token_losses(either, batch) for either in (model, based())]
        torch.testing.assert_close(*losses, atol=1e-4, rtol=1e-4)
    for (_, layer), (_, shorter) in zip(layers(model), layers(started(gamma=64)), strict=True):
        for factor, half in zip(pair(layer), pair(shorter), strict=True):
            torch.testing.assert_close(factor, 2 * half)


def test_with_a_label_head_the_gradient_is_of_its_loss() -> None:
    base = attach(tiny(), "sequence", 3)
    attention.use(base)
    chosen, loss = LoraGaOptions(rank=RANK), LabelLoss("single", "last")
    rows = [Labelled(tuple(range(place, place + 9)), (8,), (place % 3,)) for place in range(3, 11)]
    model, batch = build(base, chosen), collate_labelled(rows)
    before = loss(model, batch)
    before_training(model, Training(chosen, 0, 1, loss, lambda: iter([batch])))
    torch.testing.assert_close(loss(model, batch), before)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert [name for name in trained if "score" in name]
    loss(model, batch).backward()
    assert all(bool(B.grad.any()) for _, B in (pair(layer) for _, layer in layers(model)))


def test_the_subspaces_are_pefts() -> None:
    base = based()
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=RANK,
        lora_alpha=8,
        target_modules="all-linear",
        init_lora_weights="lora_ga",
        lora_ga_config=LoraGAConfig(),
    )
    names = sorted({name.rsplit(".", 1)[-1] for name, _ in layers(started())})
    config.target_modules = set(names)  # its preparation reads names only

    def backward() -> None:
        for batch in make_batches():
            lm_loss.loss(base, batch).backward()

    preprocess_loraga(base, config, backward)
    theirs = get_peft_model(base, config)
    for (name, layer), (_, other) in zip(layers(started()), layers(theirs), strict=True):
        A, B = pair(layer)
        torch.testing.assert_close(
            project(A), project(other.lora_A[ADAPTER].weight), atol=1e-2, rtol=0, msg=name
        )
        torch.testing.assert_close(
            project(B.T), project(other.lora_B[ADAPTER].weight.T), atol=1e-2, rtol=0, msg=name
        )


def test_more_singular_vectors_than_there_are() -> None:
    with pytest.raises(
        ConfigError, match=r"2 \* method\.rank is 18, and \S+k_proj \(16 x 32\) has 16 singular"
    ):
        build(tiny(), LoraGaOptions(rank=9))


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("gamma", 0, "greater than 0, got 0"),
        ("batches", 0, "greater than or equal to 1, got 0"),
        ("niter", -1, "greater than or equal to 0, got -1"),
    ],
)
def test_options_out_of_range(key: str, value: int, text: str) -> None:
    with pytest.raises(ConfigError, match=rf"method\.{key}: input should be {text}"):
        build_run_config({"task": "nl2fol", "method": {"name": "lora_ga", key: value}})
