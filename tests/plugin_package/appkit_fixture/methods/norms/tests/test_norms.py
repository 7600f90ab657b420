"""What is trained and exported."""

from __future__ import annotations

import pytest
import torch
from appkit_fixture.methods.norms import METHOD
from appkit_fixture.methods.norms.config import NormsOptions
from tiny import CONFIGS, tiny

OPTIONS = NormsOptions()


@pytest.mark.parametrize("architecture", CONFIGS)
def test_every_norm_learns_and_nothing_else(architecture: str) -> None:
    model = METHOD.build(tiny(architecture), OPTIONS)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    norms = [module for module in model.modules() if type(module).__name__.endswith("RMSNorm")]
    assert {id(parameter) for parameter in trained} == {id(module.weight) for module in norms}


def test_the_export_is_a_copy_under_the_bases_names() -> None:
    base = tiny()
    model = METHOD.build(base, OPTIONS)
    exported = METHOD.export(model, OPTIONS)
    model.base.model.norm.weight.data.fill_(3.0)
    assert exported.tensors.keys() < dict(tiny().named_parameters()).keys()
    assert torch.equal(exported.tensors["model.norm.weight"], tiny().model.norm.weight)
    assert (exported.kind, exported.error, exported.rank) == ("full", 0.0, None)
