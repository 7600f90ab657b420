"""LoRA whose B learns faster than its A and stays within a bound, after LoRA+ (arXiv 2402.12354)."""

from __future__ import annotations

from appkit.adapters.options import count_factors, servable
from appkit.method import Method, deferred
from appkit_fixture.methods.fast_b.config import FastBOptions

__all__ = ["METHOD"]

# deferred: torch and PEFT are imported when the method is used, not when methods are listed
METHOD = Method(
    name="fast_b",
    summary="LoRA whose B learns faster than its A, within a bound",
    config=FastBOptions,
    build=deferred("appkit.adapters.carrier:carrier"),
    servable=servable,
    export=deferred("appkit.adapters.carrier:export"),
    trained=count_factors,
    param_groups=deferred("appkit_fixture.methods.fast_b.build:param_groups"),
    after_step=deferred("appkit_fixture.methods.fast_b.build:clip"),
    paper="LoRA+: Efficient Low Rank Adaptation of Large Models, arXiv 2402.12354; the bound is ours",
    formula="W' = W + s B* A*, learning rate of B = ratio * that of A, |B| <= clip",
    proof="exact: the optimizer's groups equal PEFT's create_loraplus_optimizer",
)
