"""BA-LoRA's terms by hand, and PiSSA without them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny import VOCABULARY, tiny

from appkit.adapters.ba_lora import METHOD, terms
from appkit.adapters.ba_lora.build import build, compute_weights, regularize, release, watch
from appkit.adapters.ba_lora.config import BaLoraOptions
from appkit.adapters.factors import layers, pair
from appkit.adapters.pissa import build as pissa
from appkit.adapters.pissa.config import PissaOptions
from appkit.config import build_run_config
from appkit.errors import ConfigError
from appkit.heads.label import loss as label_loss
from appkit.heads.lm import loss as lm_loss
from appkit.method import Training
from appkit.models import attention
from appkit.models.batch import Batch, Example, Labelled, collate, collate_labelled
from appkit.models.forward import decoder, states

OFF = {"lambda1": 0.0, "lambda2": 0.0, "lambda3": 0.0, "schedule": "constant"}
DRAW = random.Random(0)
TEXTS = [tuple(DRAW.randrange(3, VOCABULARY) for _ in range(n)) for n in (9, 6, 11, 7, 8)]
LOGITS = torch.tensor([[1.0, 2.0, 0.5], [0.0, -1.0, 1.0]])
REFERENCE = torch.tensor([[0.5, 1.0, 1.0], [2.0, 0.0, -1.0]])


def options(**more: Any) -> BaLoraOptions:
    return BaLoraOptions(**{"rank": 4, **OFF, **more})


def training(chosen: BaLoraOptions, loss: Callable[[Any, Any], torch.Tensor] = lm_loss.loss) -> Training:
    return Training(chosen, 0, 10, loss, lambda: iter(()))


def rows(texts: list[tuple[int, ...]] = TEXTS) -> Batch:
    return collate([Example(text, 3) for text in texts])


def based() -> Any:
    base = tiny()
    attention.use(base)
    return base


def changed(chosen: BaLoraOptions, base: Any = None) -> Any:
    """A model that has moved away from the base."""
    model = build(base or based(), chosen).train()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _, layer in layers(model):
            B = pair(layer)[1]
            B.add_(torch.randn(B.shape, generator=generator), alpha=0.05)
    return model


def softmax(numbers: list[float]) -> list[float]:
    powers = [math.exp(number) for number in numbers]
    return [power / sum(powers) for power in powers]


def test_divergence_and_entropy_by_hand() -> None:
    divergence = entropy = of_two = 0.0
    for row, other in zip(LOGITS.tolist(), REFERENCE.tolist(), strict=True):
        p, q = softmax([number / 2 for number in other]), softmax([number / 2 for number in row])
        divergence += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) * 4 / 2
        entropy -= sum(a * math.log(a) for a in softmax(row)) / 2
        of_two -= sum(a * math.log(a) for a in softmax(sorted(row)[1:])) / 2
    assert float(terms.compute_divergence(LOGITS, REFERENCE, 2.0)) == pytest.approx(divergence, rel=1e-5)
    assert float(terms.compute_divergence(LOGITS, LOGITS, 2.0)) == pytest.approx(0, abs=1e-6)
    assert float(terms.compute_entropy(LOGITS, 0)) == pytest.approx(entropy, rel=1e-5)
    assert float(terms.compute_entropy(LOGITS, 2)) == pytest.approx(of_two, rel=1e-5)
    assert float(terms.compute_entropy(LOGITS, 9)) == pytest.approx(entropy, rel=1e-5)


def test_drift_and_correlation_by_hand() -> None:
    drift = 0.0
    for row, other in zip(LOGITS.tolist(), REFERENCE.tolist(), strict=True):
        long, far = (math.sqrt(sum(number**2 for number in each)) for each in (row, other))
        drift += sum((a / long - b / far) ** 2 for a, b in zip(row, other, strict=True)) / 6
    assert float(terms.compute_drift(LOGITS, REFERENCE)) == pytest.approx(drift, rel=1e-5)
    # of columns that differ by 1, 3 and -0.5: covariances 1.5, -0.25 and -0.75, each twice, over 3 columns
    expected = 2 * (1.5**2 + 0.25**2 + 0.75**2) / 3
    assert float(terms.compute_correlation(LOGITS)) == pytest.approx(expected, rel=1e-5)
    assert float(terms.compute_correlation(LOGITS[:1])) == 0


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (4, 4)])
def test_concentration_is_that_of_the_singular_values(shape: tuple[int, int]) -> None:
    mine = torch.randn(shape, requires_grad=True)
    its = mine.detach().clone().requires_grad_()
    for k in (1, 3, 20):
        S = torch.linalg.svdvals(its)
        expected = S[:k].sum() / S.square().sum().sqrt()
        value = terms.compute_concentration(mine, k)
        torch.testing.assert_close(value, expected)
        mine.grad = its.grad = None
        value.backward()
        expected.backward()
        torch.testing.assert_close(mine.grad, its.grad, atol=1e-4, rtol=1e-3)


def test_concentration_of_logits_with_few_directions_has_a_gradient() -> None:
    logits = torch.randn(1, 8).repeat(6, 1).requires_grad_()
    value = terms.compute_concentration(logits, 3)
    assert value.item() == pytest.approx(1, abs=1e-3)
    value.backward()
    assert torch.isfinite(logits.grad).all()


def test_weights_are_those_of_the_authors_runs() -> None:
    chosen = BaLoraOptions(lambda1=1, lambda2=2, lambda3=3)
    expected = {0: (1, 0, 0), 20: (0.1 + 0.45 * (1 + math.cos(0.2 * math.pi)), 0, 0), 50: (0.55, 2, 3)}
    for step, weights in expected.items():
        assert compute_weights(chosen, step, 100) == pytest.approx(weights)
    assert compute_weights(chosen, 22, 100)[1:] == pytest.approx((0.8, 1.2))
    assert compute_weights(chosen, 100, 100) == pytest.approx((0.1, 2, 3))
    assert compute_weights(options(lambda1=1), 7, 100) == (1, 0, 0)


def test_without_weights_it_is_pissa_bit_for_bit() -> None:
    trained = []
    for make, chosen in ((build, options()), (pissa.build, PissaOptions(rank=4))):
        model = make(based(), chosen).train()
        hooks = training(options())
        parameters = {name: one for name, one in model.named_parameters() if one.requires_grad}
        optimizer = torch.optim.AdamW(parameters.values(), lr=0.01)
        for _ in range(3):
            optimizer.zero_grad()
            watch(model, hooks)
            loss = lm_loss.loss(model, rows())
            if make is build:
                loss = loss + regularize(model, rows(), hooks) * 0.3
            loss.backward()
            release(model, hooks)
            optimizer.step()
        trained.append(parameters)
    ours, plain = trained
    assert ours.keys() == plain.keys()
    assert all(torch.equal(ours[name], plain[name]) for name in ours)


@pytest.mark.parametrize("watched", [True, False])
def test_the_terms_are_those_of_the_logits(watched: bool) -> None:
    chosen = options(lambda1=0.3, lambda2=0.2, lambda3=0.5, temperature=1.5, top_k=7, svd_k=2, svd_rows=9)
    model, batch, hooks = changed(chosen), rows(), training(chosen)
    if watched:
        watch(model, hooks)
        lm_loss.loss(model, batch)
    mine = regularize(model, batch, hooks)
    mine.backward()
    release(model, hooks)
    gradients = [one.grad.clone() for one in model.parameters() if one.grad is not None]
    model.zero_grad()

    def logits(of: Any) -> torch.Tensor:
        """Row by row."""
        hidden = [states(of, rows([text]))[2:-1] for text in TEXTS]
        return of.get_output_embeddings()(torch.cat(hidden))

    reference, own = logits(based()), logits(model.get_base_model())
    sample = own[torch.linspace(0, len(own) - 1, 9).long()]
    expected = (
        0.3 * terms.compute_divergence(own, reference, 1.5)
        - 0.2 * terms.compute_entropy(own, 7)
        - 0.5 * terms.compute_concentration(sample, 2)
    )
    torch.testing.assert_close(mine, expected, atol=1e-4, rtol=1e-4)
    expected.backward()
    its = [one.grad for one in model.parameters() if one.grad is not None]
    assert len(gradients) == len(its) == 2 * len(list(layers(model)))
    for own_gradient, gradient in zip(gradients, its, strict=True):
        torch.testing.assert_close(own_gradient, gradient, atol=1e-3, rtol=1e-2)


def test_consistency_costs_one_forward_and_leaves_the_training_as_it_was() -> None:
    chosen = options(lambda1=1.0)
    model, hooks, passes = changed(chosen), training(chosen), []
    before = [name for name, one in model.named_parameters() if one.requires_grad]
    model.get_base_model().gradient_checkpointing_enable({"use_reentrant": False})
    counted = (
        decoder(model).layers[0].register_forward_pre_hook(lambda *_: passes.append(torch.is_grad_enabled()))
    )
    watch(model, hooks)
    lm_loss.loss(model, rows())
    value = regularize(model, rows(), hooks)
    assert passes == [True, False]
    value.backward()
    assert passes == [True, False, True]  # once more in backward
    release(model, hooks)
    counted.remove()
    assert [name for name, one in model.named_parameters() if one.requires_grad] == before
    assert all(one.grad is not None for one in model.parameters() if one.requires_grad)
    assert not decoder(model)._forward_hooks
    assert float(value) > 0.1
    assert float(regularize(build(based(), chosen).train(), rows(), hooks)) == pytest.approx(0, abs=1e-5)


def test_means_over_tokens_add_up_over_micro_batches() -> None:
    chosen = options(lambda1=0.3, lambda2=0.2)
    model, hooks = changed(chosen), training(chosen)
    whole = regularize(model, rows(), hooks)
    parts = [TEXTS[:2], TEXTS[2:]]
    total = len(rows().labels)
    summed = sum(regularize(model, rows(part), hooks) * len(rows(part).labels) / total for part in parts)
    torch.testing.assert_close(whole, summed, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
def test_label_heads_have_terms_of_their_own(pooling: str) -> None:
    chosen = options(lambda1=0.3, lambda2=0.2, lambda3=0.5, svd_k=1)
    base = based()
    model = changed(chosen, label_loss.attach(base, "sequence", 3))
    with torch.no_grad():
        label_loss.trained_head(model).weight.normal_()
    loss = label_loss.LabelLoss("single", pooling)
    batch = collate_labelled([Labelled(text, (len(text) - 1,), (0,)) for text in TEXTS])
    hooks = training(chosen, loss)
    watch(model, hooks)
    loss(model, batch)
    mine = regularize(model, batch, hooks)
    release(model, hooks)
    own = label_loss.logits(model, batch, pooling)
    with torch.no_grad(), model.disable_adapter():
        reference = label_loss.logits(model, batch, pooling)
    expected = (
        0.3 * terms.compute_drift(own, reference)
        + 0.2 * terms.compute_correlation(own)
        - 0.5 * terms.compute_concentration(own, 1)
    )
    assert float(terms.compute_drift(own, reference)) > 1e-3
    torch.testing.assert_close(mine, expected)
    mine.backward()
    assert label_loss.trained_head(model).weight.grad is not None


def test_it_counts_what_is_trained() -> None:
    model = build(tiny(), options())
    shapes = [(layer.out_features, layer.in_features) for _, layer in layers(model)]
    count = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert METHOD.trained_parameters(options(), shapes) == count


def test_more_singular_vectors_than_there_are() -> None:
    with pytest.raises(
        ConfigError, match=r"method\.rank is 64, and \S+ \(\d+ x \d+\) has \d+ singular vectors; use"
    ):
        build(tiny(), options(rank=64))


@pytest.mark.parametrize(
    ("chosen", "line"),
    [
        ({"lambda1": -1}, r"method\.lambda1: input should be greater than or equal to 0, got -1"),
        ({"lambda2": -1}, r"method\.lambda2: input should be greater than or equal to 0, got -1"),
        ({"lambda3": -1}, r"method\.lambda3: input should be greater than or equal to 0, got -1"),
        ({"temperature": 0}, r"method\.temperature: input should be greater than 0, got 0"),
        ({"svd_k": 0}, r"method\.svd_k: input should be greater than or equal to 1, got 0"),
        ({"svd_rows": 1}, r"method\.svd_rows: input should be greater than or equal to 2, got 1"),
        ({"top_k": 1}, r"method\.top_k: must be 0, the whole vocabulary, or at least 2: .* got 1"),
        ({"schedule": "cosine"}, r"method\.schedule: input should be 'phased' or 'constant', got 'cosine'"),
    ],
)
def test_options_that_cannot_be(chosen: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        build_run_config({"task": "nl2fol", "model": "smollm2-135m", "method": {"name": "ba_lora", **chosen}})
