"""Which factor learns how fast, against PEFT's own LoRA+."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from appkit_fixture.methods.fast_b import METHOD
from appkit_fixture.methods.fast_b.config import FastBOptions
from peft.optimizers import create_loraplus_optimizer
from tiny import tiny

from appkit.models import attention


def built(options: FastBOptions) -> Any:
    base = tiny()
    attention.use(base)
    torch.manual_seed(0)
    return METHOD.build(base, options)


def rates(model: Any, groups: list[dict[str, Any]]) -> dict[str, float]:
    """Parameter name -> its group's learning rate."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {names[parameter]: group["lr"] for group in groups for parameter in group["params"]}


def test_the_groups_are_those_of_peft() -> None:
    options = FastBOptions(rank=4, ratio=8)
    model = built(options)
    ours = rates(model, METHOD.param_groups(model, options, 1e-3))
    theirs = create_loraplus_optimizer(model, torch.optim.AdamW, lr=1e-3, loraplus_lr_ratio=8)
    assert ours == rates(model, theirs.param_groups)
    assert ours.keys() == {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert set(ours.values()) == {1e-3, 8e-3}


def test_b_moves_ratio_times_farther_in_adams_first_step() -> None:
    options = FastBOptions(rank=4, ratio=8)
    model = built(options)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.AdamW(METHOD.param_groups(model, options, 1e-3), weight_decay=0.0)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter) if parameter.requires_grad else None
    optimizer.step()
    for name, parameter in model.named_parameters():
        # Adam's first step has the length of the learning rate, whatever the gradient
        expected = 1e-3 if ".lora_A." in name else 8e-3 if ".lora_B." in name else 0.0
        moved = (parameter.detach() - before[name]).abs()
        torch.testing.assert_close(moved, torch.full_like(moved, expected), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("bound", "largest"), [(0.25, 0.25), (None, 3.0)])
def test_after_a_step_b_is_within_its_bound(bound: float | None, largest: float) -> None:
    options = FastBOptions(rank=4, clip=bound)
    model = built(options)
    factors = [parameter for name, parameter in model.named_parameters() if ".lora_B." in name]
    for parameter in factors:
        parameter.data.fill_(-3.0)
    METHOD.after_step(model, SimpleNamespace(options=options))
    assert {float(parameter.detach().abs().max()) for parameter in factors} == {largest}


def test_the_export_is_a_plain_lora() -> None:
    options = FastBOptions(rank=4, alpha=8, targets=("q_proj", "v_proj"))
    exported = METHOD.export(built(options), options)
    assert (exported.kind, exported.error, exported.config["r"], exported.config["lora_alpha"]) == (
        "lora",
        0.0,
        4,
        8,
    )
    # 3 layers, q and v, A and B
    assert len(exported.tensors) == 12
    assert METHOD.servable(options).engines == ("vllm", "transformers")
