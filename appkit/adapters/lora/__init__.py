"""LoRA (arXiv 2106.09685), with rsLoRA, DoRA and other random starts."""

from __future__ import annotations

from appkit.adapters.lora.config import LoraOptions, servable, trained
from appkit.method import Method, deferred

__all__ = ["METHOD"]

METHOD = Method(
    name="lora",
    summary="low-rank updates of the linear layers",
    config=LoraOptions,
    build=deferred("appkit.adapters.lora.build:lora_model"),
    servable=servable,
    trained=trained,
    export=deferred("appkit.adapters.carrier:export"),
    paper="LoRA: Low-Rank Adaptation of Large Language Models, arXiv 2106.09685; rsLoRA 2312.03732; DoRA 2402.09353",
    formula="W' = W + s B* A*, s = alpha / r (rsLoRA: alpha / sqrt(r))",
    proof="exact: logits and gradients of PEFT's LoRA, rsLoRA and DoRA",
)
