"""The real base, from the package registry, through the whole path. Minutes, not seconds."""

import json
from pathlib import Path

import pytest
import torch

import appkit
from appkit.bundles.manifest import read_manifest

pytestmark = pytest.mark.real


def curve(run_dir: Path) -> list[float]:
    entries = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [entry["loss"] for entry in entries if "loss" in entry]


def test_the_loss_falls_far_below_the_base(real):
    losses = curve(real.run_dir)
    assert losses[0] > 1.5
    assert sum(losses[-3:]) / 3 < 0.9


def test_answers_look_like_formulas(real):
    assert sum("(" in answer for answer in real.answers) >= len(real.answers) - 2
    assert real.scores["adapter"]["BLEU"] > real.scores["base"]["BLEU"]


def test_the_bundle_answers_as_in_the_run(real):
    specialist = appkit.load(real.bundle)
    # all of them, as in the run: in bf16 what stands beside a row moves its last digits
    again = specialist.predict([row["sentence"] for row in real.rows])
    assert [one.text for one in again] == real.answers


def test_plain_peft_gives_the_recorded_log_probabilities(real):
    """The bundle in PEFT's own hands, on the same NF4-rounded base, against the live model's record."""
    from peft import PeftModel
    from safetensors.torch import load_file

    from appkit.config import QuantConfig, model_config
    from appkit.models.load import load_base

    manifest = read_manifest(real.bundle)
    base = load_base(
        model_config("smollm2-135m").model_copy(update={"dtype": manifest["base"]["dtype"]}), QuantConfig()
    )
    model = PeftModel.from_pretrained(base.model, str(real.bundle)).eval()
    recorded = load_file(real.bundle / "reference.safetensors")
    start, got = 0, []
    for length, supervised in zip(recorded["lengths"].tolist(), recorded["supervised"].tolist(), strict=True):
        tokens = recorded["tokens"][start : start + length]
        start += length
        with torch.no_grad():
            logits = model(tokens[None], use_cache=False).logits[0].float().log_softmax(-1)
        got.append(logits[supervised - 1 : -1].gather(1, tokens[supervised:, None])[:, 0])
    tolerance = 1e-3 if manifest["base"]["dtype"] == "float32" else 0.3
    torch.testing.assert_close(torch.cat(got), recorded["adapter"], atol=tolerance, rtol=0)
    assert (recorded["adapter"] - recorded["base"]).abs().mean() > 0.1
