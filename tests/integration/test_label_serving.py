"""Three classifiers with 2, 10 and 77 labels and one NER bundle, trained on the real base, in real vLLM at once."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from running import in_thread
from trained import Trained, label_run, names_in_texts, ten_labels

import appkit
from appkit.client import Client
from appkit.serving.certify.certify import certify
from appkit.serving.engines.vllm import installed_version

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(
        installed_version() is None and not os.environ.get("CI"), reason="vLLM is not here; make serve-setup"
    ),
]

COUNTING = "One, two, three, four,"
LIMIT = 1e-4  # of a probability, as of a logit in certificates


def binary() -> list[dict[str, Any]]:
    good, bad = ("lovely", "bright", "sweet", "kind"), ("awful", "gloomy", "bitter", "cruel")
    return [
        {"text": f"A {word} {thing}.", "label": "good" if word in good else "bad"}
        for thing in ("day", "song", "letter", "garden", "answer", "voice", "face", "house")
        for word in (*good, *bad)
    ]


def many() -> list[dict[str, Any]]:
    return [
        {"text": f"{word} room {number}, please", "label": f"room {number}"}
        for number in range(77)
        for word in ("Open", "Close")
    ]


BUNDLES = ("binary", "ten", "many", "names")


@dataclass
class Shelf:
    folder: Path
    texts: dict[str, list[str]]
    predictions: dict[str, list[Any]]


@pytest.fixture(scope="module")
def shelf(trained_once: Trained, tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """Trained for some steps each, and what they answer in training's own engine."""
    folder = tmp_path_factory.mktemp("shelf")
    rows = {"binary": binary(), "many": many(), "ten": ten_labels(), "names": names_in_texts()}
    place(trained_once("classification").bundle, folder / "ten")
    place(trained_once("ner").bundle, folder / "names")
    for name in ("binary", "many"):
        words = label_run("classification", rows[name], folder / f"run-{name}")
        place(appkit.train(name=name, **words).bundle, folder / name)
    texts = {name: [row["text"] for row in rows[name][:16]] for name in BUNDLES}
    predictions = {name: appkit.load(folder / name).predict(texts[name]) for name in BUNDLES}
    return Shelf(folder, texts, predictions)


def place(bundle: Path, target: Path) -> None:
    """A copy under the name of its folder, which is its alias when it is served."""
    shutil.copytree(bundle, target, ignore=shutil.ignore_patterns("certificates"))
    manifest = json.loads((target / "appkit.json").read_text())
    (target / "appkit.json").write_text(json.dumps(manifest | {"name": target.name}))


@pytest.fixture(scope="module")
def certified(shelf: Shelf, shared_vllm: Any) -> Iterator[Shelf]:
    """One bundle of each kind of engine, and a head folded into the generating one.

    The engines end with these tests, the last that ask label heads of vLLM: others need their memory, 10 GiB.
    """
    for name, fold in (("binary", False), ("names", False), ("ten", True)):
        certify(shelf.folder / name, engine="vllm", folded=fold)
    yield shelf
    shared_vllm.close()


def test_each_kind_of_head_is_certified_in_its_engine(certified: Shelf) -> None:
    kept = {
        file.parent.parent.name + ("-folded" if "-folded" in file.name else ""): json.loads(file.read_text())
        for file in certified.folder.glob("*/certificates/*.json")
    }
    assert set(kept) == {"binary", "names", "ten-folded"}
    for one in kept.values():
        checks = {check["name"]: check for check in one["checks"]}
        assert checks["head logits"]["passed"]
        assert checks["the adapter acts"]["passed"]
        assert one["dtype"] == "float32"


def test_four_bundles_answer_at_once_as_in_training(certified: Shelf) -> None:
    """All texts of all bundles side by side: each row gets its own adapter and its own head."""
    places = [str(certified.folder / name) for name in BUNDLES]
    with in_thread(*places, "serve.certified=false", engine="vllm") as url, Client(url) as client:
        ready = {one["role"] for one in client._call("GET", "/readyz")["engines"]}
        assert ready == {"classify", "embed-unmasked"}
        jobs = [(name, text, place) for name in BUNDLES for place, text in enumerate(certified.texts[name])]
        jobs.sort(key=lambda job: (job[2], job[0]))  # neighbours are of different bundles
        with ThreadPoolExecutor(16) as threads:
            answers = list(threads.map(lambda job: client.task(job[0], [job[1]])[0], jobs))
        for (name, text, place), answer in zip(jobs, answers, strict=True):
            expected = certified.predictions[name][place]
            assert answer.text == expected.text, (name, text)
            if name == "names":
                assert_same_entities(answer.parsed, expected.parsed.value)
                continue
            assert answer.parsed["probabilities"].keys() == expected.parsed.value["probabilities"].keys()
            for label, share in expected.parsed.value["probabilities"].items():
                assert answer.parsed["probabilities"][label] == pytest.approx(share, abs=LIMIT), (name, text)


def assert_same_entities(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert [(one["start"], one["end"], one["type"]) for one in found] == [
        (one["start"], one["end"], one["type"]) for one in expected
    ]
    for one, other in zip(found, expected, strict=True):
        assert one["confidence"] == pytest.approx(other["confidence"], abs=2e-4)  # rounded to 4 digits


def test_a_head_folded_into_the_generating_engine_answers_beside_words(certified: Shelf) -> None:
    """serve.classify=folded: the certificate for it is asked for, and one engine does both."""
    words = (str(certified.folder / "ten"), "serve.classify=folded")
    with in_thread(*words, engine="vllm") as url, Client(url) as client:
        assert [one["role"] for one in client._call("GET", "/readyz")["engines"]] == ["generate"]
        answers = client.task("ten", certified.texts["ten"])
        for answer, expected in zip(answers, certified.predictions["ten"], strict=True):
            for label, share in expected.parsed.value["probabilities"].items():
                assert answer.parsed["probabilities"][label] == pytest.approx(share, abs=LIMIT)
        (base,) = [
            one["id"] for one in client._call("GET", "/v1/models")["data"] if one["id"].endswith("nf4")
        ]
        asked = {"model": base, "prompt": COUNTING, "max_tokens": 4, "temperature": 0}
        written = client._call("POST", "/v1/completions", asked)
    assert written["choices"][0]["text"] == continued(certified.folder / "ten")


def continued(bundle: Path) -> str:
    """What transformers makes of it, over the weights that are served."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from appkit.serving.deployment import Deployment

    base = Deployment(bundle, bundle.parent).base
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype="float32")
    tokens = tokenizer(COUNTING, return_tensors="pt")["input_ids"]
    given = model.generate(tokens, max_new_tokens=4, do_sample=False)[0]
    return str(tokenizer.decode(given[tokens.shape[1] :]))
