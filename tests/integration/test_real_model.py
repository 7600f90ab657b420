"""The real base, from the package registry, through the whole path. Minutes, not seconds."""

import json
from pathlib import Path

import pytest
import torch

import appkit
from appkit.bundle import read_manifest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return appkit.train(
        task="nl2fol",
        train={"name": "quick", "max_rows": 96, "trackers": []},
        eval={"rows": 12, "quant_rows": 6, "few_shot": 2},
        method={"rank": 8},
        run_dir=str(tmp_path_factory.mktemp("real") / "run"),
    )


def curve(run_dir: Path) -> list[float]:
    entries = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [entry["loss"] for entry in entries if "loss" in entry]


def test_the_loss_falls_far_below_the_base(result):
    losses = curve(result.run_dir)
    assert losses[0] > 1.5
    assert sum(losses[-3:]) / 3 < 0.9


def test_answers_look_like_formulas(result):
    assert sum("(" in prediction.text for prediction in result.adapter.predictions) >= 10
    assert result.adapter.scores["BLEU"].interval.value > result.base.scores["BLEU"].interval.value


def test_the_bundle_answers_as_in_the_run(result):
    specialist = appkit.load(result.bundle)
    inputs = [record.value.sentence for record in result.adapter.records[:4]]
    again = specialist.predict(inputs)
    assert [one.text for one in again] == [one.text for one in result.adapter.predictions[:4]]


def test_plain_peft_gives_the_recorded_log_probabilities(result):
    """The bundle in PEFT's own hands, on the same NF4-rounded base, against the live model's record."""
    from peft import PeftModel
    from safetensors.torch import load_file

    from appkit.config import QuantConfig, model_config
    from appkit.models import load_base

    manifest = read_manifest(result.bundle)
    base = load_base(
        model_config("smollm2-135m").model_copy(update={"dtype": manifest["base"]["dtype"]}), QuantConfig()
    )
    model = PeftModel.from_pretrained(base.model, str(result.bundle)).eval()
    recorded = load_file(result.bundle / "reference.safetensors")
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
