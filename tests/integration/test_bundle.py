"""A bundle of a real run: plain PEFT reads it, it answers as the trained model did, and damage is told."""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import Commands, Done
from safetensors import safe_open
from safetensors.torch import load_file

import appkit
from appkit.bundles.manifest import PAYLOAD, read_manifest, write
from appkit.errors import BundleError, ConfigError, DataError
from appkit.method import LoraForm
from appkit.stats.confidence import Calibration
from conftest import Project


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained / "bundle", tmp_path / "bundle"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def load(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Any]:
    monkeypatch.setenv("APPKIT_CACHE", str(cache))
    return appkit.load


def answered(trained: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (trained / "predictions.adapter.jsonl").read_text().splitlines()]


# --- what it is -------------------------------------------------------------------------------------------


def test_what_is_in_it(trained: Path) -> None:
    assert sorted(path.name for path in (trained / "bundle").iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "appkit.json",
        "reference.safetensors",
        "report.md",
    ]
    manifest = read_manifest(trained / "bundle")
    assert manifest["schema"] == 1
    assert set(manifest["files"]) == {path.name for path in (trained / "bundle").iterdir()} - {"appkit.json"}
    assert (manifest["task"]["name"], manifest["exported"]["rank"], manifest["seed"]) == ("nl2fol", 4, 0)
    assert manifest["data"]["rows"] == {"train": 30, "dev": 4, "test": 4}
    assert set(manifest["metrics"]) == {"base, 1-shot", "adapter"}
    assert manifest["metrics"]["adapter"]["metrics"]["strict"]["n"] == 4
    assert manifest["metrics"]["adapter"]["metrics"]["strict"]["value"] == 0.5
    assert manifest["confidence"] is None
    assert manifest["no_confidence"] == "0 of 4 answers parse and were not cut off, 20 are needed"
    assert f"Answers carry no confidence: {manifest['no_confidence']}." in (trained / "report.md").read_text()


def test_no_row_of_the_user_is_in_it(trained: Path, project: Project) -> None:
    sentences = [
        json.loads(line)["sentence"].encode()
        for name in ("train", "dev", "test")
        for line in (project.folder / f"{name}.jsonl").read_text().splitlines()
    ]
    assert len(sentences) == 38
    assert any(sentence in (trained / "report.md").read_bytes() for sentence in sentences)
    for path in (trained / "bundle").rglob("*"):
        content = path.read_bytes()
        assert [sentence for sentence in sentences if sentence in content] == [], path.name


def rounded_base(path: Path) -> torch.nn.Module:
    """The base as the run saw it: bf16 weights through NF4, in fp32. By transformers and bitsandbytes alone."""
    from bitsandbytes import functional
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16).eval()
    for name, module in base.named_modules():
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            packed, state = functional.quantize_4bit(
                module.weight.data, quant_type="nf4", compress_statistics=True
            )
            module.weight.data = functional.dequantize_4bit(packed, state)
    return base.float()


def log_probabilities(model: torch.nn.Module, reference: dict[str, torch.Tensor]) -> torch.Tensor:
    """Of every answered token of every canary, one canary at a time."""
    found = []
    for tokens, start in zip(
        reference["tokens"].split(reference["lengths"].tolist()),
        reference["supervised"].tolist(),
        strict=True,
    ):
        logits = model(tokens[None]).logits[0].log_softmax(-1)
        found.append(logits[start - 1 : -1].gather(1, tokens[start:, None])[:, 0])
    return torch.cat(found).detach()


def test_plain_peft_gives_the_recorded_log_probabilities(trained: Path, project: Project) -> None:
    from peft import PeftModel

    reference = load_file(trained / "bundle" / "reference.safetensors")
    assert len(reference["lengths"]) == 3
    model = PeftModel.from_pretrained(rounded_base(project.folder / "base"), str(trained / "bundle")).eval()
    adapter = log_probabilities(model, reference)
    torch.testing.assert_close(adapter, reference["adapter"], atol=1e-4, rtol=0)
    with model.disable_adapter():
        base = log_probabilities(model, reference)
    torch.testing.assert_close(base, reference["base"], atol=1e-4, rtol=0)
    assert (adapter - base).abs().mean() > 0.5
    # the recorded noise of bf16 is noise: not nothing, and little beside what the adapter does
    noise = (reference["adapter_bf16"] - reference["adapter"]).abs().mean()
    assert 1e-4 < noise < 0.1 * (adapter - base).abs().mean()


def test_equal_contents_are_equal_bytes(tmp_path: Path) -> None:
    exported = LoraForm({"r": 4}, {"a": torch.zeros(2)}, error=0.0)
    tensors = {"tokens": torch.zeros(3), "lengths": torch.ones(1)}
    facts = {"rows": "3", "dtype": "torch.float32", "more": "x"}
    found = set()
    for number in range(8):
        path = write(tmp_path / str(number), exported, tensors, facts, {"base": {"id": "tiny"}}, "", "")
        found.add(tuple((path / name).read_bytes() for name in PAYLOAD))
    assert len(found) == 1
    with safe_open(path / "reference.safetensors", "pt") as file:
        assert {name: json.loads(text) for name, text in file.metadata().items()} == {"appkit": facts}


# --- answers ----------------------------------------------------------------------------------------------


def test_it_answers_as_the_trained_model_did(trained: Path, load: Callable[[Path], Any]) -> None:
    rows = answered(trained)
    specialist = load(trained / "bundle")
    predictions = specialist.predict([row["input"] for row in rows])
    assert [(p.text, p.parsed.value, p.parsed.error, p.tokens, p.truncated) for p in predictions] == [
        (row["text"], row["parsed"], row["error"], row["tokens"], row["truncated"]) for row in rows
    ]
    assert {row["text"] for row in rows} == {"P(a)"}
    # other ways to ask the same: the run's directory, a dict, a row
    again = load(trained)
    asked = rows[0]["input"]
    row = specialist.task.input_row(asked)
    assert again.predict([{"sentence": asked}, row, asked]) == [predictions[0]] * 3
    assert again.predict([]) == []


def test_answers_carry_their_confidence(
    copied: Path, trained: Path, project: Project, commands: Commands, load: Callable[[Path], Any]
) -> None:
    # the tiny base never learns to stop, so its run calibrates nothing: cut-off answers have a rate of their own
    calibration = Calibration(
        intercept=1.5, slope=0.5, not_whole=0.25, metric="strict", n=40, right=0.5,
        auroc=0.9, brier=0.1, ece=0.05, ece_noise=0.05, bins=(),
    )  # fmt: skip
    edited(copied, confidence=None)
    assert load(copied).calibration is None
    edited(copied, confidence=calibration.model_dump(mode="json"))
    specialist = load(copied)
    rows = answered(trained)
    predictions = specialist.predict([row["input"] for row in rows])
    assert [list(one.log_probabilities) for one in predictions] == [row["log_probabilities"] for row in rows]
    assert [specialist.confidence(one) for one in predictions] == [0.25] * len(rows)
    for one in predictions:
        chance = 1 / (1 + math.exp(-(1.5 + 0.5 * sum(one.log_probabilities))))
        assert specialist.confidence(replace(one, truncated=False)) == pytest.approx(chance)
    out = ok(commands.run("predict", str(copied), "-f", "test.jsonl", "--jsonl", cwd=project.folder))
    assert [json.loads(line)["confidence"] for line in out.splitlines()] == [0.25] * len(rows)


def test_an_input_that_does_not_fit_is_one_line(trained: Path, load: Callable[[Path], Any]) -> None:
    specialist = load(trained)
    for value, line in (
        ({"text": "x"}, "sentence: Field required"),
        ("", "sentence: String should have at least"),
    ):
        with pytest.raises(DataError, match=line) as caught:
            specialist.predict([value])
        assert "\n" not in str(caught.value)


# --- damage -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["adapter_config.json", "adapter_model.safetensors", "reference.safetensors", "report.md", "README.md"],
)
def test_a_flipped_bit_in_any_file_is_seen(name: str, copied: Path) -> None:
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / name).write_bytes(content)
    with pytest.raises(
        BundleError, match=rf"{name} was changed after it was written .* copy the bundle again"
    ):
        appkit.load(copied)


def test_a_missing_file_is_named(copied: Path) -> None:
    (copied / "adapter_model.safetensors").unlink()
    with pytest.raises(BundleError, match=r"is incomplete: adapter_model.safetensors is missing"):
        appkit.load(copied)


def edited(path: Path, **values: Any) -> None:
    manifest = json.loads((path / "appkit.json").read_text())
    for key, value in values.items():
        if isinstance(value, dict):
            manifest[key] = (manifest[key] or {}) | value
        else:
            manifest[key] = value
    (path / "appkit.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"schema": 2}, r"has schema version 2, this appkit reads 1; install the appkit that wrote it"),
        ({"schema": None}, r"has schema version None"),
        ({"sha": "0" * 64}, r"its sha does not fit its files"),
    ],
)
def test_a_manifest_that_does_not_fit_is_told(values: dict[str, Any], reason: str, copied: Path) -> None:
    edited(copied, **values)
    with pytest.raises(BundleError, match=reason):
        appkit.load(copied)


def test_what_is_no_bundle_is_told(copied: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"is no bundle \(no appkit.json\); a run's is in <run>/bundle"):
        appkit.load(tmp_path / "nothing")
    with pytest.raises(BundleError, match="is no bundle"):
        appkit.load(copied / "report.md")
    for text, reason in (("[1]", "it holds no object"), ('{"schema": 1, "sha": ""}', "it has no 'files'")):
        (copied / "appkit.json").write_text(text)
        with pytest.raises(BundleError, match=f"appkit.json is damaged: {reason}; copy the bundle again"):
            appkit.load(copied)
    (copied / "appkit.json").write_text('{"schema": 1, "fi')
    with pytest.raises(BundleError, match=r"appkit.json cannot be read"):
        appkit.load(copied)


def test_another_base_is_refused(copied: Path, project: Project, load: Callable[[Path], Any]) -> None:
    from tiny import save_tiny

    other = save_tiny(project.folder / "other-base", seed=9, scale=8.0)
    model = json.loads((copied / "appkit.json").read_text())["config"]
    model["model"] |= {"id": str(other)}
    edited(copied, config=model)
    with pytest.raises(
        BundleError, match=r"was trained on base with fingerprint sha256:\w+…, this machine's"
    ):
        load(copied)


def test_another_template_is_refused(copied: Path, load: Callable[[Path], Any]) -> None:
    edited(copied, template="sha256:0")
    with pytest.raises(BundleError, match="trained with another chat template"):
        load(copied)


# --- commands ---------------------------------------------------------------------------------------------


def ok(done: Done) -> str:
    assert done.code == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_predict_takes_arguments_stdin_and_files(trained: Path, project: Project, commands: Commands) -> None:
    rows = answered(trained)
    sentences, texts = [row["input"] for row in rows], [row["text"] for row in rows]
    expected = "".join(f"{text}\n" for text in texts)

    def predict(*words: str, **options: Any) -> str:
        return ok(commands.run("predict", str(trained / "bundle"), *words, cwd=project.folder, **options))

    assert predict(*sentences) == expected
    stderr = commands.run("predict", str(trained / "bundle"), *sentences, cwd=project.folder).stderr
    assert "note: of 4 answers, 4 cut off at the longest length (input 1 first); --jsonl tells each" in stderr
    assert predict(stdin="\n\n".join(sentences)) == expected
    lines = project.folder / "lines.txt"
    lines.write_text("\ufeff" + "\r\n".join(sentences), encoding="utf-8")
    assert predict("--file", str(lines)) == expected
    # rows of the test file: their formulas are not looked at
    answers = predict("-f", "test.jsonl", "--jsonl").splitlines()
    by_input = {row["input"]: row for row in rows}
    for line, row in zip(answers, (project.folder / "test.jsonl").read_text().splitlines(), strict=True):
        got, asked = json.loads(line), json.loads(row)
        assert got["sentence"] == asked["sentence"]
        assert got["text"] == by_input[asked["sentence"]]["text"]
        assert (got["parsed"], got["error"], got["truncated"]) == ("P(a)", None, True)
        assert "confidence" not in got
    # the same rows in other formats, and under another column's name
    rows = [json.loads(line) for line in (project.folder / "test.jsonl").read_text().splitlines()]
    (project.folder / "array.json").write_text(json.dumps(rows))
    for name, column, sign in (("a.csv", "sentence", ","), ("b.csv", "said", ","), ("c.tsv", "said", "\t")):
        lines = [f"formula{sign}{column}", *(f'"-"{sign}"{row["sentence"]}"' for row in rows)]
        (project.folder / name).write_text("\n".join(lines))
    expected = "".join(f"{by_input[row['sentence']]['text']}\n" for row in rows)
    assert predict("-f", "array.json") == predict("-f", "a.csv") == expected
    for name in ("b.csv", "c.tsv"):
        assert predict("-f", name, "data.columns.sentence=said") == expected


@pytest.mark.parametrize(
    ("words", "stdin", "line"),
    [
        ((), "", "error: nothing to answer; give sentences, --file, or lines on stdin"),
        (("--file", "none.txt"), "", "error: cannot read 'none.txt': No such file or directory"),
        (("a", "--file", "test.jsonl"), "", "error: give sentences or --file, not both"),
        ((), '{"sentence": "a"}\n{"sentence": \n', "error: stdin:2: broken JSON"),
        (("--file", "none.csv"), "", "error: no file 'none.csv' (seen from"),
        (
            ("--file", "bare.csv"),
            "",
            "error: 'bare.csv' has no column 'sentence'; it has 'said', 'formula'; name it:",
        ),
        (
            ("--file", "bare.csv", "data.columns.sentence=formula"),
            "",
            "error: bare.csv:2: sentence: Field required",
        ),
        (
            ("a", "data.columns.sentence=said"),
            "",
            "error: data.columns names columns of a data file; give one",
        ),
        (("--file", ""), "", "error: --file is empty (a shell variable that is not set?)"),
        (("a", "rag="), "", "error: rag.index: is empty"),
        (("a", ""), "", "error: an argument is empty (a shell variable that is not set?)"),
    ],
)
def test_predict_refuses_in_one_line(
    words: tuple[str, ...], stdin: str, line: str, trained: Path, project: Project, commands: Commands
) -> None:
    (project.folder / "bare.csv").write_text("said,formula\nAda sleeps.,\n")
    done = commands.run("predict", str(trained), *words, cwd=project.folder, stdin=stdin)
    assert (done.code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(line)


def test_eval_of_a_bundle_gives_the_figures_of_its_run(
    trained: Path, project: Project, commands: Commands
) -> None:
    out = ok(commands.run("eval", str(trained / "bundle"), "--to", "scores", cwd=project.folder))
    base, adapter = json.loads((project.folder / "scores" / "scores.json").read_text())
    state = json.loads((trained / "run.json").read_text())
    assert adapter["metrics"] == state["results"]["adapter"]["metrics"]
    assert adapter["strata"] == state["results"]["adapter"]["strata"]
    assert base["who"] == "base, 1-shot"
    assert state["verdict"].split(":")[1].split(", p =")[0] in out  # the same difference, the same interval
    written = (project.folder / "scores" / "predictions.1.jsonl").read_text()
    assert written == (trained / "predictions.adapter.jsonl").read_text()
    assert (project.folder / "scores" / "scores.png").stat().st_size > 1000


def test_eval_of_two_bundles_compares_them(trained: Path, project: Project, commands: Commands) -> None:
    words = [*project.words, "run_dir=barely", "train.epochs=0.2", "eval.baseline=false", "eval.quant_rows=0"]
    ok(commands.run(*words, cwd=project.folder))
    out = ok(commands.run("eval", "barely", "unbroken", "eval.rows=3", cwd=project.folder))
    header = next(line for line in out.splitlines() if line.strip().startswith("metric"))
    assert header.split() == ["metric", "barely", "(n", "=", "3)", "unbroken", "(n", "=", "3)"]
    last = out.splitlines()[-1]
    assert "unbroken" in last
    assert "barely" in last
    assert "strict +" in last
    assert "n = 3" in last


def test_eval_says_which_rows_the_bundle_was_trained_on(
    trained: Path, project: Project, commands: Commands
) -> None:
    lines = [(project.folder / f"{name}.jsonl").read_text().splitlines() for name in ("train", "dev", "test")]
    mixed = project.folder / "mixed.jsonl"
    mixed.write_text("\n".join([*lines[0][:3], lines[1][0], *lines[2][:2]]))

    def run(*words: str) -> Done:
        quick = (
            "eval.baseline=false",
            "data.test=mixed.jsonl",
            "data.train=test.jsonl",
            "data.dev=dev.jsonl",
        )
        return commands.run("eval", "unbroken", *words, *quick, cwd=project.folder)

    counts = "unbroken: 3 of 6 test rows were trained on, 1 more were used for selection"
    for words in (("unbroken",), ()):
        done = run(*words)
        assert "(n = 6)" in ok(done)
        assert f"note: {counts}\n" in done.stderr
        assert "of its 4 inputs 2 are here, beside 4 others" in done.stderr
    done = run("eval.seen=exclude")
    assert "(n = 2)" in ok(done)
    assert "4 of 6 test rows are left out" in done.stderr
    done = run("eval.seen=refuse")
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith(f"error: {counts}; name other rows")
    rows = read_manifest(trained / "bundle")["rows"]
    assert sorted(rows) == ["dev", "salt", "test", "train"]


@pytest.mark.parametrize(("word", "tokens"), [("2", range(2, 3)), ("auto", range(5, 17))], ids=["2", "auto"])
def test_eval_decodes_as_it_is_told(
    word: str, tokens: range, trained: Path, project: Project, commands: Commands
) -> None:
    """The bundle's own cap is 4, of answers that have 4 tokens and the end of the turn; auto is 16 here."""
    words = [f"decoding.max_new_tokens={word}", "task=nl2fol", "--to", f"cap-{word}"]
    ok(commands.run("eval", str(trained), *words, cwd=project.folder))
    lines = (project.folder / f"cap-{word}" / "predictions.1.jsonl").read_text().splitlines()
    assert {json.loads(line)["tokens"] for line in lines} <= set(tokens)


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("model=smollm2-135m", "model has no effect on a bundle, which is measured as it was trained, got"),
        (
            "quant=none",
            "quant has no effect on a bundle, which is measured as it was trained, got 'none'; leave",
        ),
        ("model.dtype=bfloat16", "model.dtype has no effect"),
        ("seed=3", "seed has no effect"),
        ("task.instruction=Go on.", "task.instruction has no effect"),
        ("eval.quant_rows=3", "eval.quant_rows has no effect"),
        ("evall.rows=3", "unknown key 'evall'; did you mean eval?"),
        ("--config=run.yaml", "--config run.yaml is not read beside a bundle"),
    ],
)
def test_eval_refuses_what_has_no_effect(
    word: str, line: str, trained: Path, project: Project, commands: Commands
) -> None:
    done = commands.run("eval", str(trained), word, cwd=project.folder)
    assert (done.code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"error: {line}")


def test_evaluate_takes_the_same_keys(trained: Path, load: Callable[[Path], Any]) -> None:
    found = appkit.evaluate(trained, task="nl2fol", decoding={"max_new_tokens": 2}, eval={"baseline": False})
    assert {prediction.tokens for prediction in found.evaluations[0].predictions} == {2}
    with pytest.raises(ConfigError, match=r"quant\.name has no effect on a bundle, .*, got 'none'"):
        appkit.evaluate(trained, quant={"name": "none"})


def test_eval_without_a_bundle_measures_the_base(project: Project, commands: Commands) -> None:
    words = [word for word in project.words if not word.startswith(("train", "method"))]
    out = ok(commands.run("eval", *words, "eval.rows=2", cwd=project.folder))
    assert "base, 1-shot (n = 2)" in out
