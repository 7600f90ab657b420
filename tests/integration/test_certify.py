"""Certification lets a sound bundle pass and catches planted faults whose hashes were made again."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from forked import Commands
from planted import Q, doubled_alpha, other_numbers, remake, swapped, unconverted, with_tensors

from appkit.bundles import manifest as manifests
from appkit.errors import BundleError, ConfigError, ModelError
from appkit.serving.certify.certificate import read_certificate
from appkit.serving.certify.certify import certify
from conftest import Project


@pytest.fixture
def bundle(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commands: Commands) -> Path:
    monkeypatch.setenv("APPKIT_CACHE", str(tmp_path / "cache"))
    return Path(shutil.copytree(trained / "bundle", tmp_path / "bundle"))


FAULTS = {
    "renamed tensors": (
        with_tensors(lambda t: {name.replace("layers.", "blocks."): v for name, v in t.items()}),
        "the base has no linear layer model.blocks",
    ),
    "another base's shape": (
        with_tensors(lambda t: {name: v.repeat(1, 2) if "lora_A" in name else v for name, v in t.items()}),
        "base and rank ask for",
    ),
    "more layers": (
        with_tensors(lambda t: t | {n.replace("layers.1.", "layers.9."): v.clone() for n, v in t.items()}),
        "the base has no linear layer model.layers.9",
    ),
    "a missing layer": (
        with_tensors(lambda t: {name: v for name, v in t.items() if "layers.1." not in name}),
        "no tensor is there for it",
    ),
    "half a pair": (
        with_tensors(lambda t: {name: v for name, v in t.items() if name != f"{Q}.lora_B.weight"}),
        "lacks lora_B",
    ),
    "swapped A and B": (with_tensors(swapped), "log-probabilities, adapter"),
    "another base's numbers": (with_tensors(other_numbers), "log-probabilities, adapter"),
    "doubled alpha": (doubled_alpha, "log-probabilities, adapter"),
    "an adapter of zeros": (
        with_tensors(lambda t: {name: torch.zeros_like(v) for name, v in t.items()}),
        "log-probabilities, adapter",
    ),
    "unconverted PiSSA": (with_tensors(unconverted), "log-probabilities, adapter"),
}


def test_a_sound_bundle_passes_and_gets_its_certificate(bundle: Path) -> None:
    said: list[str] = []
    certificate = certify(bundle, engine="transformers", say=said.append)
    assert certificate.passed
    (file,) = (bundle / "certificates").iterdir()
    kept = json.loads(file.read_text())
    assert (kept["engine"], kept["dtype"]) == ("transformers", "float32")
    manifest = manifests.read_manifest(bundle)
    assert kept["bundle"] == manifest["sha"]  # outside of the payload: still whole
    engine = {"engine": certificate.engine, "version": certificate.version, "dtype": certificate.dtype}
    assert read_certificate(bundle, manifest, **engine)["sealed"]
    checks = {check["name"]: check for check in kept["checks"]}
    assert checks["log-probabilities, adapter"]["passed"]
    assert checks["answers"]["figure"] == "3 of 3 greedy ones equal"
    assert checks["metric strict"]["passed"]
    assert sum(line.startswith("ok") for line in said) == len(checks)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_caught(bundle: Path, fault: str) -> None:
    plant, reason = FAULTS[fault]
    plant(bundle)
    remake(bundle)
    with pytest.raises(BundleError, match=reason):
        certify(bundle, engine="transformers", rows=0)
    assert not (bundle / "certificates").exists()


def test_bf16_is_held_against_its_own_rounding(bundle: Path) -> None:
    assert certify(bundle, engine="transformers", dtype="bfloat16", rows=0).passed
    doubled_alpha(bundle)
    remake(bundle)
    with pytest.raises(BundleError, match="log-probabilities, adapter: mean difference"):
        certify(bundle, engine="transformers", dtype="bfloat16", rows=0)


def test_a_certificate_that_no_longer_holds_is_taken_back(bundle: Path) -> None:
    certificate = certify(bundle, engine="transformers", rows=0)
    assert (bundle / certificate.file).exists()
    doubled_alpha(bundle)
    remake(bundle)
    with pytest.raises(BundleError, match="log-probabilities, adapter"):
        certify(bundle, engine="transformers", rows=0)
    assert not (bundle / certificate.file).exists()


def test_without_a_key_nothing_is_certified_and_nothing_is_computed_first(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APPKIT_SEAL_KEY", str(bundle / "appkit.json"))
    said: list[str] = []
    with pytest.raises(ConfigError, match="is no key of certificates"):
        certify(bundle, engine="transformers", rows=0, say=said.append)
    assert (said, (bundle / "certificates").exists()) == ([], False)


def test_another_chat_template_is_caught(bundle: Path, project: Project, tmp_path: Path) -> None:
    """The base's weights are the same, its template is not; the fingerprint is made to fit."""
    base = Path(shutil.copytree(project.folder / "base", tmp_path / "base"))
    template = base / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|im_end|>", "<|im_end|> "))
    from appkit.models.fingerprint import fingerprint

    manifest = json.loads((bundle / "appkit.json").read_text())
    manifest["config"]["model"] |= {"id": str(base), "name": str(base), "fingerprint": None}
    manifest["base"]["fingerprint"] = fingerprint(base, "float32").base
    (bundle / "appkit.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="token ids"):
        certify(bundle, engine="transformers", rows=0)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"engine": "tgi"}, "engine must be one of auto, vllm, transformers, got 'tgi'"),
        ({"dtype": "fp16"}, "dtype must be one of auto, float32, bfloat16, got 'fp16'"),
        ({"rows": -1}, "rows must be 0 or more, got -1; leave it out to measure all"),
    ],
)
def test_a_wrong_option_is_one_line(bundle: Path, options: dict, line: str) -> None:
    with pytest.raises(ConfigError) as told:
        certify(bundle, **options)
    assert str(told.value) == line


def test_another_base_is_refused(bundle: Path) -> None:
    manifest = json.loads((bundle / "appkit.json").read_text())
    manifest["base"]["fingerprint"] = "sha256:" + "0" * 64
    (bundle / "appkit.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="pull the base"):
        certify(bundle, engine="transformers", rows=0)


def test_a_base_in_8_bits_is_refused_with_the_remedy(bundle: Path) -> None:
    manifest = json.loads((bundle / "appkit.json").read_text())
    manifest["config"]["quant"]["name"] = "int8"
    (bundle / "appkit.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match="quant=nf4"):
        certify(bundle, engine="transformers", rows=0)


def test_a_cut_file_and_a_changed_byte_are_caught_by_the_hashes(bundle: Path) -> None:
    file = bundle / "adapter_model.safetensors"
    whole = file.read_bytes()
    for broken in (whole[:-7], whole[:-7] + bytes([whole[-7] ^ 1]) + whole[-6:]):
        file.write_bytes(broken)
        with pytest.raises(BundleError, match="was changed after it was written"):
            certify(bundle, engine="transformers", rows=0)
