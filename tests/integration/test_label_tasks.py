"""Label tasks on a tiny base, whole: trained, reported, loaded by us and by plain PEFT, certified, served."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from planted import remake, with_tensors
from running import running

import appkit
from appkit.bundles import manifest as manifests
from appkit.client import Client
from appkit.errors import BundleError, ConfigError, DataError, GatewayError
from appkit.heads.label.answer import model_logits
from appkit.heads.label.encode import windows
from appkit.serving.certify.certify import certify

COLOURS = ("red", "green", "blue")
THINGS = ("cat", "hat", "map", "cup", "bus", "fan")
HEAD = "base_model.model.score"


def lines(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def single() -> list[dict[str, Any]]:
    return [
        {"text": f"{number} {thing} {colour} {colour}", "label": colour}
        for number, (thing, colour) in enumerate(itertools.product(THINGS * 4, COLOURS))
    ]


def multi() -> list[dict[str, Any]]:
    rows = []
    for number, thing in enumerate(THINGS * 12):
        chosen = [colour for place, colour in enumerate(COLOURS) if number >> place & 1]
        rows.append(
            {
                "text": f"{thing[0]}{number} " + " ".join(3 * colour[0].upper() for colour in chosen),
                "label": chosen,
            }
        )
    return rows


def numbers() -> list[dict[str, Any]]:
    return [
        {"text": f"{thing[0]}{'x' * size}{number}", "label": size + 0.5}
        for number, (thing, size) in enumerate(itertools.product(THINGS * 2, range(1, 7)))
    ]


def pairs() -> list[dict[str, Any]]:
    return [
        {"text": f"{one[0]}{number}", "pair": f"{other} {other}", "label": other}
        for number, (one, other) in enumerate(itertools.product(COLOURS * 4, COLOURS * 2))
    ]


def entities() -> list[dict[str, Any]]:
    rows = []
    for number, (thing, colour) in enumerate(itertools.product(THINGS * 4, COLOURS)):
        text = f"🎉 {number} {colour} {thing}"
        start = text.index(colour)
        rows.append(
            {"text": text, "entities": [{"start": start, "end": start + len(colour), "type": "colour"}]}
        )
    return rows


KINDS: dict[str, tuple[str, Callable[[], list[dict[str, Any]]], dict[str, Any]]] = {
    "single": ("classification", single, {}),
    "single unmasked": ("classification", single, {"attention": "unmasked"}),
    "single mean": ("classification", single, {"pooling": "mean"}),
    "multi": ("classification", multi, {"pooling": "max"}),
    "number": ("classification", numbers, {"pooling": "mean"}),
    "pairs": ("classification", pairs, {"attention": "unmasked"}),
    "ner": ("ner", entities, {}),
    "ner unmasked": ("ner", entities, {"attention": "unmasked"}),
}


def trained(kind: str, project: Any, folder: Path, **more: Any) -> appkit.TrainResult:
    task, rows, head = KINDS[kind]
    made = rows()
    values: dict[str, Any] = {
        "task": {"name": task},
        "model": {"name": str(project.folder / "base"), "dtype": "float32"},
        "method": {"name": "lora", "rank": 8},
        "quant": {"name": "none"},
        "head": head,
        "data": {"train": lines(folder / "rows.jsonl", made), "test_share": 0.25, "dev_share": 0.25},
        "train": {
            "epochs": 24,
            "batch_rows": 4,
            # a number is learned on every machine at this rate; at twice it, on some
            "learning_rate": 0.005 if kind == "number" else 0.01,
            "max_tokens": 100_000,
            "warmup": 2,
            "trackers": [],
        },
        "eval": {"resamples": 100},
        "threads": 1,
        "run_dir": str(folder / "run"),
    }
    for key, value in more.items():
        values[key] = values.get(key, {}) | value if isinstance(value, dict) else value
    return appkit.train(**values)


@pytest.fixture(scope="module")
def runs(project: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], appkit.TrainResult]:
    """Each kind is trained once, when first asked for."""
    made: dict[str, appkit.TrainResult] = {}

    def get(kind: str) -> appkit.TrainResult:
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind.replace(" ", "-"))
            made[kind] = trained(kind, project, folder)
        return made[kind]

    return get


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_what_its_head_is_to_say(kind: str, runs: Callable[[str], appkit.TrainResult]) -> None:
    """A quarter of the rows were not seen; the head has learned what a majority cannot know."""
    result = runs(kind)
    scores = {name: score.interval.value for name, score in result.adapter.scores.items()}
    manifest = manifests.read_manifest(result.bundle)
    primary = {"multi": "micro F1", "number": "Spearman"}.get(
        kind, "F1" if kind.startswith("ner") else "macro F1"
    )
    assert next(iter(manifest["metrics"]["adapter"]["metrics"])) == primary
    assert scores[primary] > 0.8, scores
    assert result.base is not None
    assert result.base.who in ("tfidf", "majority", "lexicon", "features")
    report = (result.run_dir / "report.md").read_text()
    assert "## In detail" in report
    assert all((result.run_dir / name).exists() for name in ("scores.png", "loss.png"))
    assert "rows.jsonl" not in (result.bundle / "report.md").read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_bundle_answers_as_the_trained_model(
    kind: str, runs: Callable[[str], appkit.TrainResult]
) -> None:
    result = runs(kind)
    rows = [record.value for record in result.adapter.records]
    again = appkit.load(result.bundle).predict(rows)
    for one, other in zip(again, result.adapter.predictions, strict=True):
        assert one.text == other.text
        np.testing.assert_allclose(one.logits, other.logits, atol=1e-4)


def test_predict_prints_each_label_with_its_probability(
    runs: Callable[[str], appkit.TrainResult], commands: Any, tmp_path: Path
) -> None:
    done = commands.run("predict", str(runs("single").bundle), "1 cat red red", cwd=tmp_path)
    (expected,) = appkit.load(runs("single").bundle).predict(["1 cat red red"])
    assert done.stdout == f"{expected.confidence:.2f}\tred\n"


@pytest.mark.parametrize("kind", ["single", "ner"])
def test_plain_peft_loads_it_untouched(
    kind: str, runs: Callable[[str], appkit.TrainResult], project: Any
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

    bundle = runs(kind).bundle
    manifest = manifests.read_manifest(bundle)
    auto = AutoModelForTokenClassification if kind == "ner" else AutoModelForSequenceClassification
    base = auto.from_pretrained(
        project.folder / "base", num_labels=len(manifest["labels"]), dtype=torch.float32
    )
    model = PeftModel.from_pretrained(base, str(bundle)).eval()
    specialist = appkit.load(bundle)
    read = windows(specialist.head, specialist.task.input_row("7 red cat")).windows
    with torch.no_grad():
        expected = model(input_ids=torch.tensor([read[0].tokens])).logits[0].numpy()
    found = model_logits(specialist.head, specialist.model, read, "", False)[0]
    if kind == "ner":
        expected = expected[list(read[0].places)]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_entities_have_offsets_of_characters(runs: Callable[[str], appkit.TrainResult]) -> None:
    """Of the user's text: an emoji before them is one character, whatever its bytes and tokens are."""
    for record, answer in zip(runs("ner").adapter.records, runs("ner").adapter.predictions, strict=True):
        text = record.value.text
        assert text.startswith("🎉")
        for entity in answer.parsed.value:
            assert text[entity["start"] : entity["end"]] == entity["text"]
            assert 0 < entity["confidence"] <= 1
    found = {entity["text"] for one in runs("ner").adapter.predictions for entity in one.parsed.value}
    assert found >= set(COLOURS)


def test_a_long_document_is_stitched_from_windows(
    runs: Callable[[str], appkit.TrainResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head that knows colours by their letters finds each of 3,000 once, wherever windows begin and end."""
    specialist = appkit.load(runs("ner").bundle)
    head = specialist.head
    spec = head.spec.model_copy(update={"max_length": 60, "overlap": 13})
    monkeypatch.setattr(
        "appkit.heads.label.head.model_logits",
        lambda head, model, windows, *_: [by_letters(one) for one in windows],
    )

    def by_letters(window: Any) -> np.ndarray:
        logits = np.zeros((len(window.places), spec.outputs))
        for row, place in enumerate(window.places):
            word = head.chat.tokenizer.decode(list(window.tokens[place : place + 7])).split()[0]
            logits[row, spec.labels.index("B-colour" if word in COLOURS else "O")] = 9
        return logits

    text = "\n".join(f"{number} {COLOURS[number % 3]} cat 🎉" for number in range(3000))
    reading = replace(head, spec=spec)
    row = specialist.task.input_row(text)
    assert windows(reading, row).requests > 600
    (answer,) = reading.answer(specialist.model, [row])
    assert [entity["text"] for entity in answer.parsed.value] == [
        COLOURS[number % 3] for number in range(3000)
    ]
    assert all(text[one["start"] : one["end"]] == one["text"] for one in answer.parsed.value)
    assert not answer.truncated


def test_a_document_of_100k_tokens_is_answered(runs: Callable[[str], appkit.TrainResult]) -> None:
    (answer,) = appkit.load(runs("ner").bundle).predict(["the red cat " * 8_500])
    assert answer.tokens > 100_000


def test_long_texts_are_cut_and_say_so(runs: Callable[[str], appkit.TrainResult]) -> None:
    (answer,) = appkit.load(runs("single").bundle).predict(["red " * 100_000])
    assert answer.truncated
    assert answer.tokens == 512


@pytest.mark.parametrize("text", ["", "   ", {"text": "\n"}])
def test_an_empty_text_is_refused(text: Any, runs: Callable[[str], appkit.TrainResult]) -> None:
    for kind in ("single", "ner"):
        with pytest.raises(DataError):
            appkit.load(runs(kind).bundle).predict([text])


def test_a_label_that_training_never_saw_is_told_and_counts_as_wrong(project: Any, tmp_path: Path) -> None:
    said: list[str] = []
    test = lines(
        tmp_path / "test.jsonl",
        [{"text": "1 cat red", "label": "red"}, {"text": "1 cat pink", "label": "pink"}],
    )
    result = trained(
        "single",
        project,
        tmp_path,
        data={"test": test},
        train={"epochs": 1},
        eval={"resamples": 100},
        say=said.append,
    )
    assert any("1 labels that no training row has" in line and "'pink'" in line for line in said)
    assert result.adapter.scores["accuracy"].matrix.shape[0] == 2
    assert result.adapter.scores["accuracy"].interval.value <= 0.5


@pytest.mark.parametrize(
    ("kind", "more", "reason"),
    [
        ("single", {"head": {"overlap": 1, "pooling": "none"}}, "pooling"),
        ("ner", {"head": {"pooling": "mean"}}, "head.pooling=mean has no effect"),
        ("ner", {"data": {"max_length": 100}}, "head.overlap=64 must be less than half"),
    ],
)
def test_a_head_that_does_not_fit_is_refused_before_anything_is_loaded(
    kind: str, more: dict[str, Any], reason: str, project: Any, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=reason):
        trained(kind, project, tmp_path, **more)
    assert not (tmp_path / "run").exists()


def test_a_generative_task_takes_no_head(project: Any) -> None:
    with pytest.raises(ConfigError, match=r"head\.attention has no effect on task 'nl2fol'"):
        appkit.train(task="nl2fol", model=str(project.folder / "base"), head={"attention": "unmasked"})


def test_the_same_base_writing_the_label_is_one_of_the_baselines(
    project: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    """And its training leaves nothing behind: the head's own run is the one without it, to the last digit."""
    from appkit.heads.label.head import LinearHead

    quick = {"quick": ("majority",), "all": ("majority", "generative")}
    monkeypatch.setattr(LinearHead, "rivals", lambda head, baselines: quick[baselines])
    alone = trained("single", project, tmp_path, train={"epochs": 2})
    (tmp_path / "beside").mkdir()
    beside = trained(
        "single",
        project,
        tmp_path / "beside",
        train={"epochs": 2},
        eval={"resamples": 100, "baselines": "all"},
    )
    assert (beside.run_dir / "predictions.generative.jsonl").exists()
    for one, other in zip(alone.adapter.predictions, beside.adapter.predictions, strict=True):
        assert one.logits == other.logits
    assert "generative" in (beside.run_dir / "report.md").read_text()


# --- certificates ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_bundle_is_certified(
    kind: str, runs: Callable[[str], appkit.TrainResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APPKIT_CACHE", str(tmp_path / "cache"))
    bundle = Path(shutil.copytree(runs(kind).bundle, tmp_path / "bundle"))
    certificate = certify(bundle, engine="transformers")
    checks = {check.name: check for check in certificate.checks}
    assert checks["head logits"].passed
    assert checks["the adapter acts"].passed
    assert checks["labels"].passed
    assert next(check for name, check in checks.items() if name.startswith("metric")).passed


def wrong_shape(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return tensors | {f"{HEAD}.weight": tensors[f"{HEAD}.weight"][:-1].contiguous()}


def permuted_head(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return tensors | {f"{HEAD}.weight": tensors[f"{HEAD}.weight"].roll(1, 0).contiguous()}


def permuted_labels(bundle: Path) -> None:
    manifest = json.loads((bundle / "appkit.json").read_text())
    for place in (manifest, manifest["head"]):
        place["labels"] = [*place["labels"][1:], place["labels"][0]]
    (bundle / "appkit.json").write_text(json.dumps(manifest))


def other_head(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return tensors | {f"{HEAD}.weight": torch.randn_like(tensors[f"{HEAD}.weight"])}


def causal(bundle: Path) -> None:
    manifest = json.loads((bundle / "appkit.json").read_text())
    manifest["head"]["attention"] = "causal"
    (bundle / "appkit.json").write_text(json.dumps(manifest))


FAULTS: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "wrong head shape": ("single", with_tensors(wrong_shape), "the head has shape"),
    "no head": (
        "single",
        with_tensors(lambda t: {name: v for name, v in t.items() if "score" not in name}),
        "the head is missing",
    ),
    "permuted rows of the head": ("single", with_tensors(permuted_head), "head logits"),
    "permuted labels": ("single", permuted_labels, "labels: they are"),
    "head of another bundle": ("single", with_tensors(other_head), "head logits"),
    "head of another bundle, words": ("ner", with_tensors(other_head), "head logits"),
    "unmasked served as causal": ("single unmasked", causal, "head logits"),
    "an adapter of zeros": (
        "single",
        with_tensors(lambda t: {n: v if "score" in n else torch.zeros_like(v) for n, v in t.items()}),
        "head logits",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_caught(
    fault: str, runs: Callable[[str], appkit.TrainResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APPKIT_CACHE", str(tmp_path / "cache"))
    kind, plant, reason = FAULTS[fault]
    bundle = Path(shutil.copytree(runs(kind).bundle, tmp_path / "bundle"))
    plant(bundle)
    remake(bundle)
    with pytest.raises(BundleError, match=reason):
        certify(bundle, engine="transformers", rows=0)
    assert not (bundle / "certificates").exists()


# --- served ----------------------------------------------------------------------------------------------------


def test_labels_numbers_and_entities_through_one_gateway(
    runs: Callable[[str], appkit.TrainResult], tmp_path: Path
) -> None:
    """Three engines: causal last, causal states, unmasked states; every answer is that of `predict`."""
    env = {"APPKIT_CACHE": str(tmp_path / "cache")}
    words = []
    for kind in KINDS:
        bundle = Path(shutil.copytree(runs(kind).bundle, tmp_path / kind.replace(" ", "-")))
        words.append(f"{kind.replace(' ', '-')}={bundle}")
    with (
        running(*words, "--engine", "transformers", "serve.certified=false", cwd=tmp_path, env=env) as url,
        Client(url) as client,
    ):
        ready = {one["role"] for one in client._call("GET", "/readyz")["engines"]}
        assert ready == {"classify", "embed", "embed-unmasked"}
        for kind in KINDS:
            alias = kind.replace(" ", "-")
            records = runs(kind).adapter.records[:8]
            asked = [
                {"text": record.value.text} | ({"pair": record.value.pair} if kind == "pairs" else {})
                for record in records
            ]
            found = client.task(alias, asked)
            for one, expected in zip(found, runs(kind).adapter.predictions, strict=False):
                assert one.text == expected.text, kind
                if expected.confidence is not None:
                    assert one.confidence == pytest.approx(expected.confidence, abs=1e-4)
        described = client.describe("single")
        assert described["labels"] == sorted(COLOURS)
        (unsure,) = client.task("single", ["what is this"], threshold=1.0)
        assert unsure.abstained
        assert unsure.parsed is None
        deltas = list(client.stream("ner", ["1 red cat", "2 blue cup"]))
        assert sorted(delta.row for delta in deltas if delta.answer) == [0, 1]
        for bad, status in (({"constrain": True}, 400), ({"threshold": 0.5}, 400)):
            with pytest.raises(GatewayError) as refused:
                client.task("ner", ["1 red cat"], **bad)
            assert refused.value.status == status
        with pytest.raises(GatewayError) as refused:
            client.task("single", [""])
        assert refused.value.status == 422
        with pytest.raises(GatewayError, match=r"windows of 512 tokens, the limit is 256") as refused:
            client.task("ner", ["red cat " * 20_000])
        assert refused.value.status == 413
        with pytest.raises(GatewayError, match="answers with labels, not words") as refused:
            client._call("POST", "/v1/completions", {"model": "single", "prompt": "a"})
        assert refused.value.status == 400
