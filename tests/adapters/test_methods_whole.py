"""Each method through a run: trained, bundled, loaded, certified, resumed to the same bytes; the base is left alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import KINDS, Case, cases, firsts
from peft import PeftModel
from planted import remake, with_tensors
from safetensors.torch import load_file
from tiny import save_tiny
from transformers import AutoModelForCausalLM

import appkit
from appkit.bundles import manifest as manifests
from appkit.errors import BundleError, ConfigError
from appkit.plugins import load_method
from appkit.runs import prepare, rivals
from appkit.serving.certify.certify import certify
from appkit.serving.export import export

every = pytest.mark.parametrize(
    ("name", "case"), [*firsts(), *(case for case in cases() if case.id == "lora-dora")]
)
SUBJECTS, VERBS = ("Wombats", "Ocelots", "Marmosets"), ("yodel", "juggle", "snorkel")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("base") / "tiny", scale=8.0)


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPKIT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def jsonl(path: Path, rows: list[dict[str, str]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def values(base: Path, folder: Path, name: str, case: Case) -> dict[str, Any]:
    """A run of 6 steps, a checkpoint behind every other."""
    rows = [{"sentence": f"{one} {other}.", "formula": "P(a)"} for one in SUBJECTS for other in VERBS]
    train, test = jsonl(folder / "train.jsonl", rows), jsonl(folder / "test.jsonl", rows[:2])
    return {
        "task": {"name": "nl2fol", "instruction": "Go.", "notation": "symbols"},
        "model": {"name": str(base), "dtype": "float32"},
        "method": {"name": name, **case.options},
        "quant": "none",
        "data": {"train": train, "dev": test, "test": test},
        "train": {
            "epochs": 2,
            "batch_rows": 3,
            "learning_rate": 1e-2,
            "warmup": 1,
            "save_steps": 2,
            "eval_steps": None,
            "select": "last",
            "trackers": [],
        },
        "decoding": {"max_new_tokens": 4},
        "eval": {"resamples": 100, "baseline": False},
        "threads": 1,
    }


def labelled(folder: Path) -> dict[str, Any]:
    """Rows with one of two labels."""
    rows = [{"text": f"{word} {number}", "label": word} for number in range(8) for word in ("yes", "no")]
    return {"train": jsonl(folder / "rows.jsonl", rows), "test_share": 0.25, "dev_share": 0.25}


@pytest.fixture(scope="module")
def run(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Case], appkit.TrainResult]:
    """Each case is trained once, when first asked for."""
    made: dict[str, appkit.TrainResult] = {}

    def get(name: str, case: Case) -> appkit.TrainResult:
        key = f"{name} {case}"
        if key not in made:
            folder = tmp_path_factory.mktemp(name)
            made[key] = appkit.train(**values(base, folder, name, case), run_dir=str(folder / "run"))
        return made[key]

    return get


Run = Callable[[str, Case], appkit.TrainResult]


def count_trained(name: str, case: Case, tensors: dict[str, torch.Tensor]) -> int:
    """What was trained of a run, by its export; of EVA, whose ranks depend on the data, the export itself."""
    if name == "eva":
        return sum(tensor.numel() for tensor in tensors.values())
    method = load_method(name)
    shapes = [
        (len(tensors[key.replace("lora_A", "lora_B")]), tensor.shape[1])
        for key, tensor in tensors.items()
        if key.endswith("lora_A.weight")
    ]
    return method.trained_parameters(method.config(**case.options), shapes)


@every
def test_a_bundle_answers_as_the_trained_model_and_is_certified(
    name: str, case: Case, run: Run, tmp_path: Path
) -> None:
    result = run(name, case)
    manifest = manifests.read_manifest(result.bundle)
    assert manifest["exported"]["kind"] == case.form
    tensors = load_file(result.bundle / "adapter_model.safetensors")
    ranks = [len(tensor) for key, tensor in tensors.items() if key.endswith("lora_A.weight")]
    assert manifest["exported"]["rank"] == (max(ranks) if ranks else None)
    if ranks:
        trained = count_trained(name, case, tensors)
        assert manifest["exported"]["trained"] == trained
        assert f"{trained:,} trained parameters" in (result.run_dir / "report.md").read_text()
    loaded = appkit.load(result.bundle)
    rows = [record.value for record in result.adapter.records]
    assert [one.text for one in loaded.predict(rows)] == [one.text for one in result.adapter.predictions]
    copy = Path(shutil.copytree(result.bundle, tmp_path / "bundle"))
    assert certify(copy, engine="transformers").passed
    with_tensors(lambda tensors: {name: tensor * 1.5 for name, tensor in tensors.items()})(copy)
    remake(copy)
    with pytest.raises(BundleError, match="log-probabilities, adapter"):
        certify(copy, engine="transformers", rows=0)


class Cut(Exception):
    """The power goes."""


@pytest.mark.parametrize(("name", "case"), firsts(names=KINDS))
def test_a_run_that_is_cut_ends_as_the_unbroken_one(
    name: str, case: Case, run: Run, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken, folder = run(name, case).run_dir, tmp_path / "run"
    method = load_method(name)

    def cut(model: Any, training: Any) -> None:
        if training.step == 3:
            raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(prepare, "load_method", lambda _: replace(method, before_step=cut))
        with pytest.raises(Cut):
            appkit.train(**values(base, unbroken.parent, name, case), run_dir=str(folder))
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step-000002"]
    appkit.train(resume=folder)
    for file in ("metrics.jsonl", "bundle/adapter_model.safetensors", "bundle/reference.safetensors"):
        assert (folder / file).read_bytes() == (unbroken / file).read_bytes(), file


@pytest.mark.parametrize(("name", "case"), cases("full"))
def test_changed_weights_are_exported_merged_and_refused_by_vllm(
    name: str, case: Case, run: Run, tmp_path: Path
) -> None:
    bundle = run(name, case).bundle
    with pytest.raises(BundleError, match="of form 'full', which PEFT does not load; export it with --merge"):
        export(bundle, tmp_path / "bare")
    assert export(bundle, tmp_path / "merged", merge=True) == str(tmp_path / "merged")
    assert "rank" not in (tmp_path / "merged" / "README.md").read_text()
    with pytest.raises(BundleError, match="holds whole weights, not factors"):
        certify(bundle, engine="vllm")


@pytest.mark.parametrize(("name", "case"), firsts("prefix"))
def test_virtual_tokens_are_exported_as_peft_has_them_and_refused_by_vllm(
    name: str, case: Case, run: Run, base: Path, tmp_path: Path
) -> None:
    result = run(name, case)
    bundle, report = result.bundle, (result.run_dir / "report.md").read_text()
    assert manifests.read_manifest(bundle)["servable_by"] == ["transformers"]
    assert "- vLLM loads LoRA only, no learned keys and values" in report
    for options, reason in (
        ({"merge": True}, "no weight of the base can hold; export it without --merge"),
        ({"ray": True}, "Ray's engine, vLLM, does not load; export it without --ray"),
    ):
        with pytest.raises(BundleError, match=f"holds virtual tokens, which {reason}"):
            export(bundle, tmp_path / "exported", **options)
    assert not (tmp_path / "exported").exists()
    with pytest.raises(BundleError, match="vllm: it holds virtual tokens, not factors"):
        certify(bundle, engine="vllm")
    assert export(bundle, tmp_path / "bare") == str(tmp_path / "bare")
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = PeftModel.from_pretrained(plain, str(tmp_path / "bare"))
    recorded = load_file(bundle / "reference.safetensors")
    texts = recorded["tokens"].split(recorded["lengths"].tolist())
    likely = []
    for text, supervised in zip(texts, recorded["supervised"].tolist(), strict=True):
        with torch.no_grad():
            every_token = model(text[None]).logits[0].log_softmax(-1)
        likely.append(every_token[supervised - 1 : -1].gather(1, text[supervised:, None])[:, 0])
    torch.testing.assert_close(torch.cat(likely), recorded["adapter"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("head", [{}, {"pooling": "mean"}, {"attention": "unmasked"}], ids=str)
@pytest.mark.parametrize(("name", "case"), firsts("prefix"))
def test_a_head_beside_virtual_tokens_is_certified(
    name: str, case: Case, head: dict[str, str], base: Path, tmp_path: Path
) -> None:
    given = values(base, tmp_path, name, case) | {"task": "classification", "data": labelled(tmp_path)}
    given |= {"head": head}
    given.pop("decoding")
    bundle = appkit.train(**given, run_dir=str(tmp_path / "run")).bundle
    assert certify(bundle, engine="transformers").passed
    with pytest.raises(BundleError, match="vllm: it holds virtual tokens, not factors"):
        certify(bundle, engine="vllm", folded=False)
    with_tensors(lambda tensors: {name: tensor * 1.5 for name, tensor in tensors.items()})(bundle)
    remake(bundle)
    with pytest.raises(BundleError, match="logits"):
        certify(bundle, engine="transformers", rows=0)


@pytest.mark.parametrize(("name", "case"), firsts("lora", KINDS))  # others are refused over labels
def test_the_generative_baseline_leaves_the_base_as_it_was(
    name: str, case: Case, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = values(base, tmp_path, name, case)
    own, seen = rivals._generative, []

    def watched(folder: Path, model: Any, *more: Any) -> Any:
        weights = {name: one.clone() for name, one in model.model.named_parameters()}
        own(folder, model, *more)
        after = dict(model.model.named_parameters())
        assert after.keys() == weights.keys()
        assert [name for name in weights if not torch.equal(after[name], weights[name])] == []
        assert not any(one.requires_grad for one in after.values())
        seen.append(folder)
        raise Cut

    monkeypatch.setattr(rivals, "_generative", watched)
    monkeypatch.setattr(rivals, "_names", lambda prepared: ("generative",))
    given |= {"task": "classification", "data": labelled(tmp_path), "eval": {"resamples": 100}}
    given.pop("decoding")
    with pytest.raises(Cut):
        appkit.train(**given, run_dir=str(tmp_path / "run"))
    assert len(seen) == 1


@pytest.mark.parametrize(("name", "case"), [*firsts("lora"), *firsts("prefix")])
def test_a_head_over_labels_is_trained_with_it_and_loaded(
    name: str, case: Case, base: Path, tmp_path: Path
) -> None:
    given = values(base, tmp_path, name, case) | {"task": "classification", "data": labelled(tmp_path)}
    given.pop("decoding")
    result = appkit.train(**given, run_dir=str(tmp_path / "run"))
    rows = [record.value for record in result.adapter.records]
    again = appkit.load(result.bundle).predict(rows)
    assert [one.text for one in again] == [one.text for one in result.adapter.predictions]
    for one, other in zip(again, result.adapter.predictions, strict=True):
        assert one.logits == pytest.approx(other.logits, abs=1e-4)
    tensors = load_file(result.bundle / "adapter_model.safetensors")
    (score,) = (tensor for key, tensor in tensors.items() if "score" in key)
    assert score.shape[0] == 2


@pytest.mark.parametrize(("name", "case"), cases("full"))
def test_changed_weights_and_a_head_over_labels_are_refused_before_training(
    name: str, case: Case, base: Path, tmp_path: Path
) -> None:
    rows = [{"text": f"{one} {other}", "label": other} for one in SUBJECTS for other in VERBS]
    data = {"train": jsonl(tmp_path / "train.jsonl", rows), "dev_share": 0.2, "test_share": 0.2}
    words = {"task": "classification", "model": str(base), "method": {"name": name, **case.options}}
    with pytest.raises(ConfigError, match=f"method={name} changes weights of the base"):
        appkit.train(**words, data=data, quant="none", run_dir=str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
