"""A bundle whose experts are routed: what it holds, who loads it, and who says in one line that he does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import appkit
from appkit.adapters.lora import METHOD
from appkit.bundles import manifest as manifests
from appkit.bundles import specialist
from appkit.errors import BundleError
from appkit.method import RoutedForm
from appkit.serving.deployment import Deployment
from appkit.serving.export import export
from conftest import Project

ROUTING = {"experts": 2, "rank": 2, "top": 1}


@pytest.fixture
def routed(trained: Path, tmp_path: Path) -> Path:
    """The trained run's factors as two experts of half its rank, with a router that nobody trained."""
    given = manifests.read_manifest(trained / "bundle")
    factors = load_file(trained / "bundle" / "adapter_model.safetensors")
    form = RoutedForm({"r": 4}, factors, {"router": torch.eye(2)}, ROUTING, error=0.0)
    rest = {key: value for key, value in given.items() if key not in ("schema", "sha", "files")}
    manifest = rest | {"exported": manifests.describe_form(form)}
    reference = load_file(trained / "bundle" / "reference.safetensors")
    return manifests.write(tmp_path / "routed", form, reference, {}, manifest, "", "")


def test_routers_are_payload_and_the_manifest_says_how_they_route(routed: Path) -> None:
    manifest = manifests.read_manifest(routed)
    assert manifest["exported"] == {"kind": "routed", "rank": 4, "error": 0.0, "routing": ROUTING}
    assert manifests.ROUTERS in manifest["files"]
    assert torch.equal(load_file(routed / manifests.ROUTERS)["router"], torch.eye(2))
    (routed / manifests.ROUTERS).unlink()
    with pytest.raises(BundleError, match=r"incomplete: routers\.safetensors is missing"):
        manifests.read_manifest(routed)


def test_its_method_restores_it(routed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def restore(base: Any, options: Any, tensors: Any) -> Any:
        seen.update(tensors)
        return METHOD.build(base, options)

    monkeypatch.setattr(specialist, "load_method", lambda name: replace(METHOD, restore=restore))
    loaded = appkit.load(routed)
    assert seen.keys() == {"router", *load_file(routed / "adapter_model.safetensors")}
    assert len(loaded.predict(["Wombats yodel."])) == 1


def test_a_method_that_cannot_restore_says_so(routed: Path) -> None:
    with pytest.raises(BundleError, match="exported as 'routed', which method lora cannot load; install"):
        appkit.load(routed)


def test_no_engine_and_no_export_takes_it(routed: Path, tmp_path: Path, project: Project) -> None:
    with pytest.raises(
        BundleError, match="routes experts, which no engine of this version does; use appkit predict"
    ):
        Deployment(routed, tmp_path / "store")
    for merge in (False, True):
        with pytest.raises(
            BundleError, match="of form 'routed', which PEFT does not load; use appkit predict"
        ):
            export(routed, tmp_path / "exported", merge=merge)
    assert not (tmp_path / "exported").exists()
