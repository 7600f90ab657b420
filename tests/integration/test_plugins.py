"""An outside package with a pack and a method: found, refused in one clear line, trained, answered from."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from appkit_apps.tests.conftest import CHROMIUM
from appkit_apps.tests.conftest import command as serving
from playwright.sync_api import expect, sync_playwright
from running import running
from safetensors.torch import load_file
from tiny import save_tiny

import appkit
from appkit.client import Client
from appkit.plugins import modules

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "tests" / "plugin_package"
WORDS = (
    "task=shout",
    "method=fast_b",
    "train.batch_rows=8",
    "train.epochs=1",
)
SHOWN = re.findall(r"^appkit (.+)$", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fixture package, installed by pip into a directory of its own, offline."""
    folder = tmp_path_factory.mktemp("plugin")
    # setuptools builds inside the source tree
    shutil.copytree(PACKAGE, folder / "source", ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pip += ["--no-index", "--no-deps", "--no-build-isolation", "--target", str(folder / "site")]
    subprocess.run([*pip, str(folder / "source")], check=True)
    return folder / "site"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("base") / "tiny")


def python_path(*sites: Path) -> str:
    """With `sites` before what this process was given."""
    inherited = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    return os.pathsep.join([*map(str, sites), *(str(Path(entry).resolve()) for entry in inherited)])


def command(*words: str, sites: tuple[Path, ...], cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command line in a process that sees `sites` as well."""
    return subprocess.run(
        [sys.executable, "-c", "from appkit.cli.main import main; main()", *words],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": python_path(*sites), "APPKIT_CACHE": str(cwd / "cache")},
        capture_output=True,
        text=True,
        timeout=300,
    )


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a user sees."""
    lines = done.stderr.splitlines()
    assert (done.returncode, done.stdout, len(lines)) == (2, "", 1), done
    return lines[0]


@pytest.mark.parametrize(
    ("words", "name", "summary"),
    [
        (("tasks", "list"), "shout", "sentence -> the same sentence in capitals"),
        (("methods",), "fast_b", "LoRA whose B learns faster than its A, within a bound"),
    ],
)
def test_listed(words: tuple[str, ...], name: str, summary: str, site: Path, tmp_path: Path) -> None:
    done = command(*words, sites=(site,), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = [line for line in done.stdout.splitlines() if line.split()[:1] == [name]]
    assert summary in line


def test_options_of_both_are_in_the_configuration(site: Path, base: Path, tmp_path: Path) -> None:
    words = (*WORDS, f"model={base}", "method.ratio=4", "task.instruction=Louder.", "--print-config")
    done = command("train", *words, sites=(site,), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    config = yaml.safe_load(done.stdout)
    assert config["task"] == {"name": "shout", "instruction": "Louder."}
    assert config["method"]["ratio"] == 4
    assert config["decoding"]["stop"] == ["\n"]
    assert config["model"]["id"] == str(base)


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("method.ration=4", "error: unknown key 'method.ration'; did you mean method.ratio?"),
        ("method.ratio=0.5", "error: method.ratio: input should be greater than or equal to 1, got 0.5"),
        ("task=shuot", "error: no task named 'shuot'; did you mean 'shout'?"),
    ],
)
def test_a_wrong_option_is_one_line(word: str, line: str, site: Path, base: Path, tmp_path: Path) -> None:
    words = [w for w in WORDS if w.partition("=")[0] != word.partition("=")[0]]
    assert refusal(command("train", *words, f"model={base}", word, sites=(site,), cwd=tmp_path)) == line


def test_dry_run(site: Path, base: Path, tmp_path: Path) -> None:
    done = command("train", *WORDS, f"model={base}", "--dry-run", sites=(site,), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "29 rows to train on in 4 steps, 3 dev, 8 test" in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("shown", SHOWN)
def test_commands_of_contributing_run(shown: str, site: Path, base: Path, tmp_path: Path) -> None:
    words = shlex.split(shown)
    words += [f"model={base}"] if "task=shout" in words else []
    words += ["--print-config"] if words[0] == "train" else []  # other tests train
    done = command(*words, sites=(site,), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_contributing_shows_commands() -> None:
    assert len(SHOWN) >= 6


def other_package(folder: Path, entry: str, files: dict[str, str]) -> Path:
    """A second package as pip would leave it, with one entry point for tasks."""
    metadata = folder / "other-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(f"[appkit.tasks]\nother = {entry}\n")
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


PACKAGES = {"other/__init__.py": "", "other/tasks/__init__.py": ""}


@pytest.mark.parametrize(
    ("task", "entry", "files", "said"),
    [
        pytest.param(
            "shout",
            "other.tasks",
            PACKAGES | {"other/tasks/shout/__init__.py": "TASK = None\n"},
            ["two tasks are called 'shout'", "appkit_fixture.tasks.shout", "other.tasks.shout", "rename"],
            id="a name that two packages hold",
        ),
        pytest.param(
            "hum",
            "other.tasks",
            PACKAGES | {"other/tasks/hum/__init__.py": ""},
            ["other.tasks.hum defines no TASK", "CONTRIBUTING.md"],
            id="no record",
        ),
        pytest.param(
            "hum",
            "other.tasks",
            PACKAGES
            | {
                "other/tasks/hum/__init__.py": "import dataclasses\n"
                "from appkit_fixture.tasks.shout import TASK\n"
                "TASK = dataclasses.replace(TASK, name='humming')\n"
            },
            ["other.tasks.hum calls its task 'humming', its folder says 'hum'"],
            id="a record of another name",
        ),
        pytest.param(
            "hum",
            "other.tasks",
            PACKAGES | {"other/tasks/hum/__init__.py": "import no_such_package_of_ours\n"},
            ["task 'hum' needs the package 'no_such_package_of_ours'", "pip install no_such_package_of_ours"],
            id="a package that is not installed",
        ),
        pytest.param(
            "hum",
            "other.tasks",
            PACKAGES | {"other/tasks/hum/__init__.py": "from other.tasks.hum.lod import load\n"},
            ["other.tasks.hum imports 'other.tasks.hum.lod', which does not exist"],
            id="a module of its own that it does not hold",
        ),
        pytest.param(
            "shout",
            "appkit_other.tasks",
            {},
            ["'appkit_other.tasks', which is not an importable package", "reinstall other"],
            id="an entry point to nothing",
        ),
        pytest.param(
            "shout",
            "other.tasks",
            {"other/__init__.py": "", "other/tasks.py": ""},
            ["'other.tasks', which is not an importable package", "reinstall other"],
            id="an entry point to a module",
        ),
    ],
)
def test_a_faulty_package_is_one_line(
    task: str, entry: str, files: dict[str, str], said: list[str], site: Path, tmp_path: Path
) -> None:
    other = other_package(tmp_path / "other-site", entry, files)
    line = refusal(command("train", f"task={task}", "--print-config", sites=(site, other), cwd=tmp_path))
    assert line.startswith("error: ")
    assert [part for part in said if part not in line] == []


@pytest.fixture(scope="module")
def run(site: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps of training, the evaluations and the bundle, through the command line."""
    folder = tmp_path_factory.mktemp("run")
    words = [*WORDS, f"model={base}", f"run_dir={folder / 'run'}", "quant=none", "threads=1"]
    words += ["method.rank=4", "method.clip=0.01"]
    words += ["train.max_rows=16", "train.learning_rate=2e-3", "train.warmup=1", "train.trackers=[]"]
    words += ["eval.rows=4", "eval.resamples=100", "decoding.max_new_tokens=8"]
    done = command("train", *words, sites=(site,), cwd=folder)
    assert done.returncode == 0, done.stderr
    assert f"bundle  {folder / 'run' / 'bundle'}" in done.stdout
    return folder / "run"


def test_two_steps_are_trained(run: Path) -> None:
    curve = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [entry["loss"] for entry in curve if "loss" in entry]
    assert [entry["step"] for entry in curve if "loss" in entry] == [1, 2]
    # a random model gives each of the 259 tokens about the same chance
    assert losses == pytest.approx([math.log(259)] * 2, rel=0.05)


def test_the_method_decides_rates_and_bounds(run: Path) -> None:
    """The peak rate is 2e-3: only 16 times that brings B to the bound, and only the hook stops it there."""
    tensors = load_file(run / "bundle" / "adapter_model.safetensors")
    largest = [float(tensor.abs().max()) for name, tensor in tensors.items() if "lora_B" in name]
    assert largest == pytest.approx([0.01] * 3 * 7)


def test_the_bundle_tells_where_it_came_from(run: Path, base: Path) -> None:
    manifest = json.loads((run / "bundle" / "appkit.json").read_text())
    assert manifest["task"] == {"name": "shout", "version": "1", "kind": "generate"}
    options = {"rank": 4, "alpha": 32.0, "targets": "all-linear", "ratio": 16.0, "clip": 0.01}
    assert manifest["method"] == {"name": "fast_b", **options}
    trained = manifest["exported"].pop("trained")
    assert f"{trained:,} trained parameters" in (run / "report.md").read_text()
    assert manifest["exported"] == {"kind": "lora", "rank": 4, "error": 0.0}
    assert manifest["base"]["id"] == base.name  # its directory is nobody's business
    sources = manifest["data"]["sources"]
    assert [(source["split"], source["rows"]) for source in sources] == [("train", 32), ("test", 8)]
    assert {source["licence"] for source in sources} == {"CC0-1.0"}


@pytest.fixture
def found(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process sees the installed package too, and computes with as many threads as the run did."""
    monkeypatch.syspath_prepend(site)
    modules.cache_clear()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    modules.cache_clear()


@pytest.mark.usefixtures("found")
def test_the_bundle_is_the_trained_model(run: Path) -> None:
    loaded = appkit.load(run)
    asked = [json.loads(line) for line in (run / "predictions.adapter.jsonl").read_text().splitlines()]
    assert len(asked) == 4
    predictions = loaded.predict([row["input"] for row in asked])
    assert [(p.text, p.tokens, p.parsed.error) for p in predictions] == [
        (row["text"], row["tokens"], row["error"]) for row in asked
    ]
    now, _ = loaded.head.reference(loaded.model)
    trained = load_file(run / "bundle" / "reference.safetensors")
    assert torch.equal(now["tokens"], trained["tokens"])
    torch.testing.assert_close(now["adapter"], trained["adapter"], rtol=0, atol=1e-5)
    assert float((now["adapter"] - now["base"]).abs().mean()) > 1e-3


def test_its_app_is_used_in_a_browser(
    run: Path, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page that the package brings, in the gallery, before a gateway that serves the bundle."""
    assert CHROMIUM, "this test drives Chromium: apt-get install chromium"
    monkeypatch.setenv("PYTHONPATH", python_path(site))
    monkeypatch.setenv("APPKIT_CACHE", str(tmp_path / "cache"))
    sentence = "the kettle is on"
    with (
        running(str(run / "bundle"), "--engine", "transformers", "--uncertified", cwd=tmp_path) as gateway,
        serving("demo", "--gateway", gateway, "--port=0", until="gallery:", cwd=tmp_path) as gallery,
        Client(gateway) as client,
        sync_playwright() as driver,
    ):
        (served,) = client.tasks()
        (answer,) = client.task(served["alias"], [sentence])
        assert answer.text.strip()
        with driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]) as browser:
            page = browser.new_page()
            page.goto(gallery)
            page.get_by_role("navigation").get_by_role("link", name=served["alias"]).click()
            expect(page.locator("h1")).to_have_text("Louder", timeout=60_000)
            page.locator("#sentence textarea").fill(sentence)
            page.get_by_role("button", name="Shout").click()
            expect(page.locator("#facts").first).to_contain_text(answer.model, timeout=60_000)
            expect(page.locator("#facts").first).to_contain_text(f"{answer.tokens} tokens")
            expect(page.locator("#shout textarea")).to_have_value(answer.text)
            page.goto(f"{gallery}/{served['alias']}?sentence=my+shoe")
            expect(page.locator("#sentence textarea")).to_have_value("my shoe", timeout=60_000)
            page.get_by_role("button", name="Shout").click()
            expect(page.locator("#facts").first).to_contain_text("tokens", timeout=60_000)
            page.locator("#sentence textarea").fill(" ")
            page.get_by_role("button", name="Shout").click()
            expect(page.get_by_test_id("toast-body")).to_contain_text("write something into sentence")
            page.goto(f"{gallery}/evidence-of-all")
            expect(page.locator("#evidence").first).to_contain_text(answer.model, timeout=60_000)
            expect(page.locator("#bundle input")).to_have_value(served["alias"])
