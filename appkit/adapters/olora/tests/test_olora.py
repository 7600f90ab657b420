"""OLoRA beside PEFT's: the same factors and, before and after a step, the same logits on a plain base."""

from __future__ import annotations

import copy

import torch
from peft import LoraConfig, get_peft_model
from tiny import tiny

from appkit.adapters.factors import ADAPTER, layers, pair, weight
from appkit.adapters.olora.build import build
from appkit.adapters.olora.config import OloraOptions

TOKENS = torch.arange(3, 23)[None]


def test_it_is_pefts() -> None:
    base = tiny()
    config = LoraConfig(
        task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights="olora"
    )
    theirs = get_peft_model(copy.deepcopy(base), config)
    ours = build(base, OloraOptions(rank=4, alpha=8))
    for (name, layer), (_, other) in zip(layers(ours), layers(theirs), strict=True):
        A, B = pair(layer)
        torch.testing.assert_close(A, other.lora_A[ADAPTER].weight, msg=name)
        torch.testing.assert_close(B, other.lora_B[ADAPTER].weight, msg=name)
        assert torch.equal(weight(layer), dict(tiny().named_parameters())[f"{name}.weight"])
    with torch.no_grad():
        torch.testing.assert_close(ours(TOKENS).logits, theirs(TOKENS).logits, atol=1e-4, rtol=1e-4)
        for model in (ours, theirs):
            for _, layer in layers(model):
                pair(layer)[0].mul_(1.5)
        torch.testing.assert_close(ours(TOKENS).logits, theirs(TOKENS).logits, atol=1e-4, rtol=1e-4)
