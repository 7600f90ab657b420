"""A soak judges what it recorded: a sound one passes, one wrong reply in it is found. `make nightly` soaks for real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from recordings import recorded

from appkit.serving.engines.vllm import installed_version

SOAK = Path(__file__).parents[2] / "benchmarks" / "soak.py"


def soak(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SOAK), *words], capture_output=True, text=True, timeout=900)


def replayed(folder: Path, record: dict[str, Any], *words: str) -> subprocess.CompletedProcess[str]:
    file = folder / "recording.json"
    file.write_text(json.dumps(record))
    return soak(f"--replay={file}", *words)


def test_a_sound_recording_passes_and_a_planted_reply_is_found(tmp_path: Path) -> None:
    sound = replayed(tmp_path, recorded())
    assert sound.returncode == 0, sound.stdout + sound.stderr
    assert "120 right, 0 wrong" in sound.stdout
    planted = replayed(tmp_path, recorded(), "--plant")
    assert planted.returncode == 1
    assert "1 wrong" in planted.stdout


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"lost": ["POST /v1/completions: ReadError"]}, "lost: POST"),
        ({"outages": []}, "error while an engine ran: 503"),
        ({"answers": []}, "no answers"),
    ],
    ids=["lost", "unprovoked", "silent"],
)
def test_a_recording_with_a_fault_does_not(tmp_path: Path, change: dict[str, Any], fault: str) -> None:
    done = replayed(tmp_path, recorded() | change)
    assert done.returncode == 1
    assert fault in done.stdout


@pytest.mark.nightly
@pytest.mark.vllm
@pytest.mark.skipif(
    installed_version() is None and not os.environ.get("CI"), reason="vLLM is not here; make serve-setup"
)
def test_a_minute_of_soak_finds_nothing_and_a_planted_reply_is_found(real: Any, tmp_path: Path) -> None:
    recording = tmp_path / "recording.json"
    done = soak("--seconds=60", f"--bundle={real.bundle}", f"--record={recording}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "restarts 2" in done.stderr
    assert soak(f"--replay={recording}").returncode == 0
    planted = soak(f"--replay={recording}", "--plant")
    assert planted.returncode == 1
    assert "1 wrong" in planted.stdout
