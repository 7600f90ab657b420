"""LoRA+ (arXiv 2402.12354): LoRA whose B learns faster than its A."""

from __future__ import annotations

from appkit.adapters.lora_plus.config import LoraPlusOptions
from appkit.adapters.options import count_factors, servable
from appkit.method import Method, deferred

__all__ = ["METHOD"]

METHOD = Method(
    name="lora_plus",
    summary="LoRA whose B learns faster than its A",
    config=LoraPlusOptions,
    build=deferred("appkit.adapters.carrier:carrier"),
    servable=servable,
    export=deferred("appkit.adapters.carrier:export"),
    trained=count_factors,
    param_groups=deferred("appkit.adapters.lora_plus.build:param_groups"),
    paper="LoRA+: Efficient Low Rank Adaptation of Large Models, arXiv 2402.12354",
    formula="W' = W + s B* A*, learning rate of B = ratio * that of A",
    proof="exact: the optimizer's groups equal PEFT's create_loraplus_optimizer",
)
