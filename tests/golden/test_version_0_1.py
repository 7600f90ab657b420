"""Bundles that appkit 0.1 wrote are read, certified and served as 0.1 did, to the last digit that machines share.

version_0_1/ was written by commit 3ca71af (`make_version_0_1.py`, with transformers 5.19.0, peft 0.21.2, torch 2.13.0):
a tiny base, rows, a bundle of nl2fol (over NF4, calibrated, answers cut at 6 tokens) and one of classification (without
quantization, causal head), each with its certificate, and what 0.1 answered. It is never made again: a version that no
longer reads it breaks its users' bundles.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from running import running

import appkit
from appkit.client import Client

KEPT = Path(__file__).parent / "version_0_1"
RECORDED: dict[str, dict[str, Any]] = json.loads((KEPT / "predictions.json").read_text(encoding="utf-8"))
BUNDLES = tuple(RECORDED)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def here(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of version_0_1/ whose manifests name base and rows where they are now. The payload is as 0.1 wrote it."""
    monkeypatch.setenv("APPKIT_CACHE", str(cache))
    copied = Path(shutil.copytree(KEPT, tmp_path / "version_0_1"))
    for name in BUNDLES:
        manifest = json.loads((copied / name / "appkit.json").read_text(encoding="utf-8"))
        config = manifest["config"]
        config["model"] |= {"id": str(copied / "base"), "name": str(copied / "base")}
        for split in ("train", "dev", "test"):
            if config["data"].get(split):
                config["data"][split] = str(copied / "rows" / Path(config["data"][split]).name)
        (copied / name / "appkit.json").write_text(json.dumps(manifest), encoding="utf-8")
    return copied


def command(*words: str) -> str:
    """What a command prints; it has to end well."""
    done = subprocess.run(
        [sys.executable, "-c", "from appkit.cli.main import main; main()", *words],
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "400"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def certificate(bundle: Path) -> Path:
    (file,) = (bundle / "certificates").iterdir()
    return file


def close(expected: Any) -> Any:
    """Equal, floats to 1e-5, however deep they are."""
    if isinstance(expected, float):
        return pytest.approx(expected, abs=1e-5)
    if isinstance(expected, dict):
        return {key: close(value) for key, value in expected.items()}
    if isinstance(expected, list):
        return [close(value) for value in expected]
    return expected


@pytest.mark.parametrize("name", BUNDLES)
def test_the_payload_has_the_sha_that_0_1_gave_it(name: str, here: Path) -> None:
    """The hash is made here as 0.1 made it: another way of hashing would disown every certificate and version."""
    files = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (here / name).iterdir()
        if path.is_file() and path.name != "appkit.json"
    }
    sha = hashlib.sha256(json.dumps(sorted(files.items())).encode()).hexdigest()
    assert sha == RECORDED[name]["sha"]
    assert appkit.load(here / name).manifest["sha"] == sha


@pytest.mark.parametrize("name", BUNDLES)
def test_it_predicts_what_it_predicted(name: str, here: Path) -> None:
    specialist = appkit.load(here / name)
    expected = RECORDED[name]["predictions"]
    found = specialist.predict([one["input"] for one in expected])
    for one, wanted in zip(found, expected, strict=True):
        given = {
            "input": wanted["input"],
            "text": one.text,
            "parsed": one.parsed.value,
            "error": one.parsed.error,
            "tokens": one.tokens,
            "truncated": one.truncated,
            "confidence": specialist.confidence(one),
            "log_probabilities": list(one.log_probabilities),
            "logits": list(one.logits),
        }
        assert given == close(wanted)


@pytest.mark.parametrize("name", BUNDLES)
def test_it_scores_what_it_scored(name: str, here: Path) -> None:
    """With the rows, metrics and aggregation of the run that the manifest describes."""
    measured = appkit.evaluate(here / name, eval={"baseline": False}).evaluations[-1]
    scores = {metric: score.interval.value for metric, score in measured.scores.items()}
    assert scores == close(RECORDED[name]["scores"])


@pytest.fixture
def fitting(here: Path) -> Path:
    """`here`, its certificates those of 0.1; where other versions are installed now, carried over to those."""
    from appkit.serving.engines.choose import engine_version

    now = engine_version("transformers")
    for name in BUNDLES:
        file = certificate(here / name)
        kept = json.loads(file.read_text(encoding="utf-8"))
        if kept["version"] != now:
            file.unlink()
            file = file.with_name(file.name.replace(kept["version"], now))
            file.write_text(json.dumps(kept | {"version": now}), encoding="utf-8")
    return here


def test_its_certificate_without_a_seal_is_made_again_once(fitting: Path) -> None:
    """0.1 sealed none, so that anybody could have written it. Every check of it is made again and passes."""
    of_0_1 = {name: json.loads(certificate(fitting / name).read_text(encoding="utf-8")) for name in BUNDLES}
    words = ["recertify", *(str(fitting / name) for name in BUNDLES), "--engine", "transformers"]
    said = command(*words)
    assert said.split().count("certified") == len(BUNDLES), said
    for name in BUNDLES:
        made = json.loads(certificate(fitting / name).read_text(encoding="utf-8"))
        assert made["bundle"] == of_0_1[name]["bundle"] == RECORDED[name]["sha"]
        assert made["base"] == of_0_1[name]["base"]
        assert made.keys() >= of_0_1[name].keys()
        passed = {check["name"]: check["passed"] for check in made["checks"]}
        assert passed.items() >= {check["name"]: check["passed"] for check in of_0_1[name]["checks"]}.items()
        assert all(passed.values())
    before = {name: certificate(fitting / name).read_bytes() for name in BUNDLES}
    said = command(*words)
    assert said.split().count("kept") == len(BUNDLES), said
    assert {name: certificate(fitting / name).read_bytes() for name in BUNDLES} == before


def test_it_is_served_by_its_certificate(fitting: Path, cache: Path) -> None:
    """A gateway refuses a bundle without one that fits; since it has no seal, its checks are made again."""
    words = [f"{name}={fitting / name}" for name in BUNDLES]
    env = {"APPKIT_CACHE": str(cache)}
    with (
        running(*words, "--engine", "transformers", cwd=fitting, env=env) as url,
        Client(url) as client,
    ):
        for name in BUNDLES:
            assert client.describe(name)["certificate"]["sealed"] is True
            expected = RECORDED[name]["predictions"]
            found = client.task(name, [one["input"] for one in expected], confidence=True)
            for one, wanted in zip(found, expected, strict=True):
                assert one.text == wanted["text"]
                assert one.parsed == close(wanted["parsed"])
                assert one.confidence == close(wanted["confidence"])
