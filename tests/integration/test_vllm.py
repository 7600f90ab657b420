"""The real base in the real vLLM: a sound bundle passes, one that behaves otherwise does not."""

import asyncio
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from planted import doubled_alpha, remake
from safetensors.torch import load_file
from trained import nl2fol

import appkit
from appkit.bundles import manifest as manifests
from appkit.errors import BundleError, RunError
from appkit.serving.certify.certify import certify
from appkit.serving.engines.vllm import Room, VllmEngine, installed_version, null_adapter, version

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(
        installed_version() is None and not os.environ.get("CI"), reason="vLLM is not here; make serve-setup"
    ),
]


def test_what_vllm_gives_is_what_training_gave(real: Any, shared_vllm: Any) -> None:
    certificate = certify(real.bundle, engine="vllm", dtype="float32")
    assert (certificate.engine, certificate.version) == ("vllm", version())
    checks = {check.name: check for check in certificate.checks}
    assert checks["log-probabilities, adapter"].passed
    assert checks["metric strict"].passed
    kept = json.loads((real.bundle / certificate.file).read_text())
    assert kept["bundle"] == manifests.read_manifest(real.bundle)["sha"]


@pytest.mark.parametrize(
    ("name", "rank", "ranks"),
    [
        ("miss", 8, {8}),
        ("pissa", 8, {16}),
        ("eva", 8, set(range(1, 17))),
    ],
    ids=["rank r", "rank 2r", "ranks by layer"],
)
def test_an_export_of_each_shape_is_certified(
    name: str, rank: int, ranks: set[int], shared_vllm: Any, tmp_path: Path
) -> None:
    """Some steps of a method on the real base; what its export does in vLLM is what training recorded."""
    words: dict[str, Any] = nl2fol(tmp_path)
    words["method"] = {"name": name, "rank": rank, "targets": ["q_proj", "v_proj"]}
    words["train"] |= {"max_rows": 4}
    words["eval"] = {"rows": 2, "quant_rows": 0, "baseline": False, "resamples": 100}
    bundle = appkit.train(**words).bundle
    shapes = load_file(bundle / "adapter_model.safetensors")
    exported = {len(tensor) for key, tensor in shapes.items() if "lora_A" in key}
    assert exported <= ranks
    assert (len(exported) > 1) == (len(ranks) > 1)
    checks = {check.name: check for check in certify(bundle, engine="vllm", dtype="float32", rows=0).checks}
    assert checks["log-probabilities, adapter"].passed
    assert checks["the adapter acts"].passed


def test_a_planted_fault_betrays_itself_in_vllm(real: Any, shared_vllm: Any, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(real.bundle, tmp_path / "bundle"))
    shutil.rmtree(bundle / "certificates", ignore_errors=True)
    doubled_alpha(bundle)
    remake(bundle)
    with pytest.raises(BundleError, match="log-probabilities, adapter"):
        certify(bundle, engine="vllm", dtype="float32", rows=0)
    assert not (bundle / "certificates").exists()


def test_a_connection_that_rests_is_kept(real: Any, shared_vllm: Any, tmp_path: Path) -> None:
    """vLLM of itself closes it after 5 s, just when httpx may use it again: the request fails beside a sound engine."""
    if not shared_vllm.running:
        certify(Path(shutil.copytree(real.bundle, tmp_path / "bundle")), engine="vllm", rows=0)
    engine = next(iter(shared_vllm.running.values()))

    def ask() -> set[int]:
        shared_vllm.wait(engine.client.get("/health"))
        ours = psutil.Process().net_connections("tcp")
        return {
            one.laddr.port
            for one in ours
            if one.status == psutil.CONN_ESTABLISHED and one.raddr.port == engine.client.base_url.port
        }

    before = ask()
    time.sleep(6)
    assert before
    assert before <= ask()


def test_an_engine_that_does_not_start_says_why_and_leaves_no_process(tmp_path: Path) -> None:
    null = null_adapter(tmp_path / "null", "model.layers.0.self_attn.q_proj", (8, 8))
    engine = VllmEngine(
        tmp_path / "no-model",
        dtype="float32",
        null=null,
        room=Room(rank=8, targets=["q_proj"]),
        log=tmp_path / "log",
    )
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(RunError, match=r"vLLM ended with code \d+ before it answered: .*Error"):
        asyncio.run(engine.start())
    assert "no-model" in (tmp_path / "log").read_text()
    assert set(psutil.Process().children(recursive=True)) == before
