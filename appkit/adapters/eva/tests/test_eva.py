"""EVA beside the principal components of all inputs at once, and beside PEFT's."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import EvaConfig, initialize_lora_eva_weights
from tiny import VOCABULARY, tiny

from appkit.adapters import factors
from appkit.adapters.eva.build import before_training, build, load_state
from appkit.adapters.eva.config import EvaOptions, servable
from appkit.adapters.eva.spectrum import Spectrum, distribute, fold
from appkit.adapters.factors import ADAPTER, export, layers, pair
from appkit.config import build_run_config
from appkit.errors import ConfigError
from appkit.heads.label.loss import LabelLoss, attach
from appkit.heads.lm import loss as lm_loss
from appkit.method import Training
from appkit.models import attention
from appkit.models.batch import Batch, Example, Labelled, collate, collate_labelled

NARROW = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj")


def make_batches() -> list[Batch]:
    """Of 4 rows each, with 15 supervised tokens in a row."""
    draw = random.Random(0)
    rows = [Example(tuple(draw.randrange(3, VOCABULARY) for _ in range(20)), 5) for _ in range(12)]
    return [collate(rows[start : start + 4]) for start in (0, 4, 8)]


def based() -> Any:
    base = tiny()
    attention.use(base)
    return base


def start(options: EvaOptions, batches: list[Batch]) -> tuple[Any, int]:
    """The model after its start, and how many batches were seen."""
    seen = []

    def loss(model: Any, batch: Batch) -> torch.Tensor:
        seen.append(batch)
        assert not torch.is_grad_enabled()
        return lm_loss.loss(model, batch)

    model = build(based(), options)
    before_training(model, Training(options, 0, 1, loss, lambda: iter(batches)))
    return model, len(seen)


def stack_inputs(batches: list[Batch], supervised: bool) -> dict[str, torch.Tensor]:
    """Inputs (n, I) of the base's linear layers."""
    base, inputs = based(), defaultdict(list)
    for name, module in base.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(lambda _, x, __, name=name: inputs[name].append(x[0][0]))
    rows = defaultdict(list)
    for batch in batches:
        inputs.clear()
        with torch.no_grad():
            lm_loss.loss(base, batch)
        for name, (x,) in inputs.items():
            rows[name].append(x[batch.label_positions] if supervised else x)
    return {name: torch.cat(parts) for name, parts in rows.items()}


@pytest.mark.parametrize("supervised", [True, False])
def test_a_starts_at_the_components_of_all_inputs(supervised: bool) -> None:
    batches = make_batches()
    options = EvaOptions(rank=4, rho=3, tau=1, supervised=supervised)
    model, seen = start(options, batches)
    assert seen == 3
    inputs, ranks = stack_inputs(batches, supervised), []
    for name, layer in layers(model):
        A, B = pair(layer)
        centred = inputs[name] - inputs[name].mean(0)
        components = torch.linalg.svd(centred, full_matrices=False)[2][: len(A)]
        # cosines of the principal angles: a component has no sign
        torch.testing.assert_close((A @ components.T).abs(), torch.eye(len(A)), atol=1e-3, rtol=0, msg=name)
        assert (A.gather(1, A.abs().argmax(1, keepdim=True)) > 0).all()
        assert not B.any()
        assert (A.requires_grad, B.requires_grad) == (True, True)
        ranks.append(len(A))
    assert sum(ranks) == 4 * len(ranks)
    assert len(set(ranks)) > 1
    form = export(model, options)
    assert form.rank == max(ranks) <= servable(options).rank == 12


def test_components_and_ranks_are_pefts() -> None:
    batch = collate([Example(tuple(range(place, place + 60)), 8) for place in (3, 30, 60, 90)])
    options = EvaOptions(rank=8, alpha=16, rho=2, targets=NARROW)
    model, _ = start(options, [batch])
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=8,
        lora_alpha=16,
        target_modules=list(NARROW),
        init_lora_weights="eva",
        eva_config=EvaConfig(rho=2),
    )
    theirs = get_peft_model(based(), config)
    initialize_lora_eva_weights(
        theirs,
        [torch.zeros(1)],
        forward_fn=lambda peft, _: lm_loss.loss(peft, batch),
        prepare_model_inputs_fn=lambda _, __: batch.label_positions,
        prepare_layer_inputs_fn=lambda inputs, positions, _: inputs[0][0][positions],
        show_progress_bar=False,
    )
    others, shared = dict(layers(theirs)), defaultdict(lambda: [0, 0])
    assert others.keys() <= dict(layers(model)).keys()
    for name, layer in layers(model):
        A = pair(layer)[0]
        # of layers with one input PEFT gives the most to the first; only their sum is determined
        kind = name.replace("k_proj", "q_proj").replace("v_proj", "q_proj").replace("up_proj", "gate_proj")
        shared[kind][0] += len(A)
        if name not in others:  # PEFT leaves layers without a component out
            continue
        other = others[name].lora_A[ADAPTER].weight
        shared[kind][1] += len(other)
        both = min(len(A), len(other))
        cosines = (A[:both] * other[:both]).sum(1).abs()
        torch.testing.assert_close(cosines, torch.ones(both), atol=1e-3, rtol=0, msg=name)
        assert others[name].scaling[ADAPTER] == layer.scaling[ADAPTER] == 2
    assert all(ours == pefts for ours, pefts in shared.values()), dict(shared)


def test_with_a_label_head_few_tokens_are_supervised() -> None:
    base = attach(tiny(), "sequence", 3)
    attention.use(base)
    options, loss = EvaOptions(rank=4), LabelLoss("single", "last")
    rows = [Labelled(tuple(range(place, place + 9)), (8,), (place % 3,)) for place in range(3, 11)]
    model, batch = build(base, options), collate_labelled(rows)
    before = loss(model, batch)
    before_training(model, Training(options, 0, 1, loss, lambda: iter([batch])))
    torch.testing.assert_close(loss(model, batch), before)
    ranks = [len(pair(layer)[0]) for _, layer in layers(model)]
    assert sum(ranks) == 4 * len(ranks)
    assert max(ranks) <= 8  # rows, each with one such token


def test_it_stops_once_the_components_are_stable() -> None:
    first, *_ = make_batches()
    assert start(EvaOptions(rank=4), [first] * 10)[1] == 2
    assert start(EvaOptions(rank=4, tau=1, batches=2), make_batches())[1] == 2


def test_a_resumed_run_has_the_ranks() -> None:
    options = EvaOptions(rank=4)
    model, _ = start(options, make_batches())
    resumed = build(based(), options)
    load_state(resumed, factors.state(model))
    shapes = [[factor.shape for factor in pair(layer)] for _, layer in layers(model)]
    assert [[factor.shape for factor in pair(layer)] for _, layer in layers(resumed)] == shapes
    before = [pair(layer)[0] for _, layer in layers(resumed)]
    load_state(resumed, factors.state(model))  # as when the best step is chosen: the optimizer holds these
    assert all(pair(layer)[0] is A for (_, layer), A in zip(layers(resumed), before, strict=True))


def test_folded_rows_are_as_all_at_once() -> None:
    torch.manual_seed(0)
    rows = torch.randn(200, 40) * torch.logspace(0, -2, 40) + 3
    mixed = rows @ torch.linalg.qr(torch.randn(40, 40))[0]
    for most, tolerance in ((40, 1e-4), (12, 1e-2)):  # all components, or truncated and randomized
        spectrum: Spectrum | None = None
        for part in mixed.split(48):
            spectrum = fold(spectrum, part, most, seed=0)
        centred = mixed - mixed.mean(0)
        _, S, Vh = torch.linalg.svd(centred, full_matrices=False)
        assert (spectrum.count, len(spectrum.components)) == (200, most)
        torch.testing.assert_close(spectrum.mean, mixed.mean(0), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(spectrum.total, centred.square().sum(), atol=0, rtol=1e-5)
        explained = S[:3].square() / S.square().sum()
        torch.testing.assert_close(spectrum.explained[:3], explained, atol=0, rtol=tolerance)
        cosines = torch.linalg.svdvals(spectrum.components[:3] @ Vh[:3].T)
        torch.testing.assert_close(cosines, torch.ones(3), atol=tolerance, rtol=0)


def test_ranks_go_where_the_variance_is() -> None:
    shares = {
        "a": torch.tensor([0.5, 0.3, 0.1, 0.05]),
        "b": torch.tensor([0.2, 0.1, 0.1, 0.1]),
        "c": torch.tensor([0.01, 0.01]),
    }
    assert distribute(shares, 2) == {"a": 3, "b": 2, "c": 1}  # 0.3, then at the tie of 0.1 the earlier layers
    assert distribute({name: values[:2] for name, values in shares.items()}, 2) == {"a": 2, "b": 2, "c": 2}
    assert distribute(shares, 1) == {"a": 1, "b": 1, "c": 1}


def test_too_few_tokens() -> None:
    row = Example(tuple(range(3, 15)), 9)
    text = (
        r"method\.batches=32 micro-batches have 3 tokens to see, which is too few for method\.rank=4 principal "
        r"components; raise method\.batches, method\.supervised=false, or use a smaller rank"
    )
    with pytest.raises(ConfigError, match=text):
        start(EvaOptions(rank=4), [collate([row])])
    start(EvaOptions(rank=4, supervised=False), [collate([row])])


def test_a_layer_smaller_than_the_rank() -> None:
    with pytest.raises(
        ConfigError, match=r"method\.rank is 17, and \S+k_proj \(16 x 32\) has 16 singular vectors"
    ):
        build(tiny(), EvaOptions(rank=17))


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("rho", 0.5, r"greater than or equal to 1, got 0\.5"),
        ("tau", 1.5, r"less than or equal to 1, got 1\.5"),
        ("batches", 0, "greater than or equal to 1, got 0"),
    ],
)
def test_options_out_of_range(key: str, value: float, text: str) -> None:
    with pytest.raises(ConfigError, match=rf"method\.{key}: input should be {text}"):
        build_run_config({"task": "nl2fol", "method": {"name": "eva", key: value}})
