"""Every program in benchmarks/ runs, in its smallest settings: what is measured by hand may not rot unseen."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from appkit_apps.tests.conftest import MYSTERY, stub
from recordings import recorded
from tiny import save_tiny

from appkit.serving.engines.vllm import installed_version

PLACE = Path(__file__).parents[2] / "benchmarks"
TEXTS = {file.name: file.read_text(encoding="utf-8") for file in sorted(PLACE.glob("*.py"))}
PROGRAMS = [name for name, text in TEXTS.items() if '__name__ == "__main__"' in text]
PARTS = [name for name in PROGRAMS if any(f'"{name}"' in text for text in TEXTS.values())]
"""Programs that others start, and so run with them."""
VLLM = re.compile("vllm.entrypoints|from served import Gateway")
REAL = re.compile("from appkit.rag import")
"""They index with the embedder's real weights."""
LABELS = MYSTERY | {
    "task": "classification",
    "kind": "label",
    "input": "text",
    "output": "label",
    "row": {"properties": {"text": {"type": "string"}}, "required": ["text"]},
    "labels": ["Billing", "Refund"],
}
SMALLEST = {
    "--adapters": "1",
    "--attention": "causal",
    "--baselines": "none",
    "--batch-rows": "2",
    "--busy": "0",
    "--concurrency": "1",
    "--contenders": "appkit-none,plain",
    "--epochs": "1",
    "--passages": "100",
    "--pairs": "300",
    "--quick": "",
    "--requests": "1",
    "--rounds": "1",
    "--rows": "4",
    "--seconds": "4",
    "--sentences": "40",
    "--sets": "trec6",
    "--terms": "80",
    "--threads": "1",
    "--times": "1",
    "--users": "1",
}
OTHERWISE = {
    "products.py": {"--seconds": "0.001"},
    "serve_load.py": {"--contenders": "plugin,peft-each"},
    "soak.py": {"--replay": "soak.json", "--seconds": "1"},
}


MINUTES = ("serve_load.py", "gateway_overhead.py")
"""They start vLLM for themselves: five minutes each, which `make nightly` has."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("bench") / "base")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some rows of each set that a program reads, in the form of the real ones."""
    folder = tmp_path_factory.mktemp("data")
    questions = [
        {"question": f"How many bells has tower {n}?", "answers": [f"{n + 2}"], "gold_pid": f"a{n:02}p0"}
        for n in range(16)
    ]
    corpus = [
        {"pid": f"a{n:02}p0", "text": f"The tower {n} has {n + 2} bells. They ring at noon."}
        for n in range(16)
    ]
    tickets = str(files("appkit_data").joinpath("tickets/train.jsonl"))
    write(folder / "train.jsonl", questions)
    write(folder / "corpus.jsonl", corpus)
    (folder / "classification" / "trec6").mkdir(parents=True)
    lines = Path(tickets).read_text(encoding="utf-8").splitlines(keepends=True)[:160]
    (folder / "classification" / "trec6" / "train.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def write(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture(scope="module")
def gateway() -> Iterator[str]:
    with stub({"tickets": LABELS}, text="Billing", parsed={"label": "Billing"}) as url:
        yield url


@pytest.fixture
def gallery(gateway: str, tmp_path: Path) -> Iterator[tuple[str, int]]:
    """The URL of one, and its process."""
    words = ("demo", "--gateway", gateway, "--port=0", "--no-feedback")
    command = [sys.executable, "-c", "from appkit.cli.main import main; main()", *words]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            said = next(line for line in process.stderr if "gallery:" in line)
            yield re.findall(r"http://[\d.]+:\d+", said)[0], process.pid
        finally:
            process.terminate()


def options(name: str) -> list[str]:
    """That the program has."""
    said = subprocess.run(
        [sys.executable, str(PLACE / name), "--help"], check=True, capture_output=True, text=True, timeout=120
    )
    return re.findall(r"^ +(--[a-z-]+)", said.stdout, re.MULTILINE)


def words(name: str, values: dict[str, str]) -> list[str]:
    """The smallest settings, for those options that it has."""
    given = SMALLEST | values | OTHERWISE.get(name, {})
    found = [word for option in options(name) if option in given for word in (option, given[option])]
    return [word for word in found if word]


def marks(name: str) -> list[pytest.MarkDecorator]:
    if name in MINUTES:
        return [pytest.mark.nightly]
    if VLLM.search(TEXTS[name]) and name not in ("soak.py",):
        missing = installed_version() is None and not os.environ.get("CI")
        return [
            pytest.mark.vllm,
            pytest.mark.skipif(missing, reason="vLLM is not here; make serve-setup"),
        ]
    return [pytest.mark.real] if REAL.search(TEXTS[name]) else []


def test_all_are_found() -> None:
    assert len(PROGRAMS) >= 12
    assert len(PARTS) <= 2


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=marks(name)) for name in PROGRAMS if name not in PARTS]
)
def test_a_program_runs(
    name: str, base: Path, data: Path, gateway: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    values = {"--model": str(base), "--data": str(data), "--gateway": gateway}
    has = options(name)
    if "--gallery" in has:
        url, process = request.getfixturevalue("gallery")
        values |= {"--gallery": url, "--pid": str(process)}
    if "--bundle" in has and name not in OTHERWISE | {"soak.py": {}}:
        values["--bundle"] = str(request.getfixturevalue("real").bundle)
    if name == "train_speed.py":
        del values["--data"]
    if name == "serve_load.py":
        values["--bundle"] = str(request.getfixturevalue("real").bundle)
    if name == "soak.py":
        (tmp_path / "soak.json").write_text(json.dumps(recorded()))
    if "--with" in has:
        values["--with"] = f"model={base}"
    done = subprocess.run(
        [sys.executable, str(PLACE / name), *words(name, values)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()
