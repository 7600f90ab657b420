"""PiSSA beside PEFT's: the same factors and, before and after a step, the same logits on a plain base."""

from __future__ import annotations

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny import tiny

from appkit.adapters.factors import ADAPTER, layers, pair, weight
from appkit.adapters.pissa.build import build
from appkit.adapters.pissa.config import PissaOptions
from appkit.errors import ConfigError

TOKENS = torch.arange(3, 23)[None]


def test_it_is_pefts() -> None:
    base = tiny()
    config = LoraConfig(
        task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights="pissa"
    )
    theirs = get_peft_model(copy.deepcopy(base), config)
    ours = build(base, PissaOptions(rank=4, alpha=8))
    for (name, layer), (_, other) in zip(layers(ours), layers(theirs), strict=True):
        A, B = pair(layer)
        # a singular vector has no sign of its own
        torch.testing.assert_close(
            B @ A, other.lora_B[ADAPTER].weight @ other.lora_A[ADAPTER].weight, msg=name
        )
        assert torch.equal(weight(layer), dict(tiny().named_parameters())[f"{name}.weight"])
    with torch.no_grad():
        torch.testing.assert_close(ours(TOKENS).logits, theirs(TOKENS).logits, atol=1e-4, rtol=1e-4)
        for model in (ours, theirs):
            for _, layer in layers(model):
                pair(layer)[0].mul_(1.5)
        torch.testing.assert_close(ours(TOKENS).logits, theirs(TOKENS).logits, atol=1e-4, rtol=1e-4)


def test_more_singular_vectors_than_there_are() -> None:
    with pytest.raises(
        ConfigError, match=r"method\.rank is 64, and \S+ \(\d+ x \d+\) has \d+ singular vectors; use"
    ):
        build(tiny(), PissaOptions(rank=64))
