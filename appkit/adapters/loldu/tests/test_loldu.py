"""LoLDU beside the authors' formula, with SciPy's decomposition in float64."""

from __future__ import annotations

import pytest
import torch
from scipy.linalg import lu
from tiny import tiny

from appkit.adapters.factors import export, layers, weight
from appkit.adapters.loldu import METHOD
from appkit.adapters.loldu.build import build, product
from appkit.adapters.loldu.config import LolduOptions
from appkit.config import build_run_config
from appkit.errors import ConfigError

TOKENS = torch.arange(3, 23)[None]
RANK = 4
FIXED = LolduOptions(rank=RANK, alpha=6)
SCALED = LolduOptions(rank=RANK, alpha=6, train_scale=True)


def test_it_starts_exactly_at_the_base() -> None:
    base = tiny()
    with torch.no_grad():
        expected = base(TOKENS).logits
        model = build(base, SCALED)
        for _, layer in layers(model):
            _, B = product(layer)
            assert not B.any()
        torch.testing.assert_close(model(TOKENS).logits, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("options", [FIXED, SCALED], ids=["fixed", "scaled"])
def test_it_is_the_authors_formula(options: LolduOptions) -> None:
    """Residual weight plus the decomposition's part with changed pivots: forward, merge and export."""
    model, reference = build(tiny(), options), tiny()
    own = dict(reference.named_parameters())
    generator = torch.Generator().manual_seed(0)
    updates = {}
    with torch.no_grad():
        for name, layer in layers(model):
            layer.lora_z.mul_(1 + torch.rand(RANK, generator=generator))
            if options.train_scale:
                layer.lora_scale.mul_(0.7)
            scale = 0.7 * 1.5 if options.train_scale else 1.5
            W = own[f"{name}.weight"].double()
            P, L, U = (torch.from_numpy(part) for part in lu(W.numpy()))
            D = U.diagonal()
            L_r, U_r = P @ L[:, :RANK], (U / D[:, None])[:RANK]
            torch.testing.assert_close(P @ L @ D.diag() @ (U / D[:, None]), W)
            residual = W - 1.5 * L_r @ D[:RANK].diag() @ U_r
            changed = residual + scale * L_r @ layer.lora_z.double().diag() @ U_r
            updates[name] = (changed - W).float()
            assert updates[name].abs().max() > 1e-2
            torch.testing.assert_close(layer.get_delta_weight("default"), updates[name], atol=1e-5, rtol=1e-4)
            assert torch.equal(weight(layer), own[f"{name}.weight"])
            own[f"{name}.weight"].copy_(changed)
        torch.testing.assert_close(model(TOKENS).logits, reference(TOKENS).logits, atol=1e-3, rtol=1e-3)
    form = export(model, options)
    assert form.rank == RANK
    for name, update in updates.items():
        A, B = (form.tensors[f"base_model.model.{name}.lora_{side}.weight"] for side in "AB")
        torch.testing.assert_close(B @ A, update, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("options", [FIXED, SCALED], ids=["fixed", "scaled"])
def test_it_counts_what_is_trained(options: LolduOptions) -> None:
    model = build(tiny(), options)
    names = {
        name.rpartition(".")[2] for name, parameter in model.named_parameters() if parameter.requires_grad
    }
    assert names == ({"lora_z", "lora_scale"} if options.train_scale else {"lora_z"})
    shapes = [(layer.out_features, layer.in_features) for _, layer in layers(model)]
    count = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert METHOD.trained_parameters(options, shapes) == count


def test_more_pivots_than_there_are() -> None:
    with pytest.raises(ConfigError, match=r"method\.rank is 64, and \S+ \(\d+ x \d+\) has \d+ singular"):
        build(tiny(), LolduOptions(rank=64))


@pytest.mark.parametrize(
    ("column", "remedy"), [(0, "use other method"), (2, r"use method\.rank=2 or less, or other method")]
)
def test_a_pivot_that_is_zero(column: int, remedy: str) -> None:
    base = tiny()
    base.model.layers[1].mlp.up_proj.weight[:, column] = 0
    name = r"model\.layers\.1\.mlp\.up_proj"
    with pytest.raises(
        ConfigError, match=rf"rank is 4, and pivot {column + 1} of {name} is 0: .*; {remedy}\.targets"
    ):
        build(base, FIXED)


def test_a_scale_that_is_no_boolean() -> None:
    method = {"name": "loldu", "train_scale": "often"}
    with pytest.raises(
        ConfigError, match=r"method\.train_scale: input should be a valid boolean, got 'often'"
    ):
        build_run_config({"task": "nl2fol", "model": "smollm2-135m", "method": method})
