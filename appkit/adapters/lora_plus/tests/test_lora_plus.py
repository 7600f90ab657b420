"""LoRA+ beside PEFT's: which parameter learns how fast."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft.optimizers import create_loraplus_optimizer
from tiny import tiny

from appkit.adapters.lora_plus import METHOD
from appkit.adapters.lora_plus.config import LoraPlusOptions
from appkit.config import build_run_config
from appkit.errors import ConfigError
from appkit.heads.label.loss import attach

OPTIONS = LoraPlusOptions(rank=4, ratio=8)


def list_rates(model: Any, groups: list[dict[str, Any]]) -> dict[str, float]:
    """The learning rate of each parameter, by its name."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {names[parameter]: group["lr"] for group in groups for parameter in group["params"]}


@pytest.mark.parametrize("labels", [0, 3])
def test_the_groups_are_those_of_peft(labels: int) -> None:
    base = attach(tiny(), "sequence", labels) if labels else tiny()
    model = METHOD.build(base, OPTIONS)
    ours = list_rates(model, METHOD.param_groups(model, OPTIONS, 1e-3))
    theirs = create_loraplus_optimizer(model, torch.optim.AdamW, lr=1e-3, loraplus_lr_ratio=8)
    assert ours == list_rates(model, theirs.param_groups)
    assert {name for name, rate in ours.items() if rate == 8e-3} == {
        name for name in ours if ".lora_B." in name
    }
    assert [rate for name, rate in ours.items() if "score" in name] == [1e-3] * bool(labels)


def test_the_first_step_of_adam_moves_b_ratio_times_as_far() -> None:
    model = METHOD.build(tiny(), OPTIONS)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.AdamW(METHOD.param_groups(model, OPTIONS, 1e-3), weight_decay=0.0)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter) if parameter.requires_grad else None
    optimizer.step()
    for name, parameter in model.named_parameters():
        # Adam's first step has the length of the learning rate, whatever the gradient
        length = 1e-3 if ".lora_A." in name else 8e-3 if ".lora_B." in name else 0.0
        moved = (parameter.detach() - before[name]).abs()
        torch.testing.assert_close(moved, torch.full_like(moved, length), rtol=1e-3, atol=1e-6)


def test_b_slower_than_a() -> None:
    with pytest.raises(
        ConfigError, match=r"method\.ratio: input should be greater than or equal to 1, got 0\.5"
    ):
        build_run_config({"task": "nl2fol", "method": {"name": "lora_plus", "ratio": 0.5}})
