"""Shared by all tests: the helpers beside this file are importable; one base, one trained run, one server."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from forked import Commands

import appkit  # noqa: F401  # before torch, which it tells how to wait

SUBJECTS = ("Wombats", "Ocelots", "Marmosets", "Narwhals", "Quokkas")
ENGINES = pytest.StashKey[Any]()
VERBS = ("yodel", "juggle", "snorkel", "hibernate", "dawdle", "somersault")


@dataclass(frozen=True)
class Project:
    """A directory with a base and rows, and the words that train on them in seconds.

    The training rows all have the same formula, so that the tiny base can learn it.
    """

    folder: Path
    words: tuple[str, ...]


def write_rows(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    from tiny import save_tiny

    folder = tmp_path_factory.mktemp("project")
    save_tiny(folder / "base", scale=8.0)
    both = [f"{subject} {verb}." for subject in SUBJECTS for verb in VERBS]
    files = {
        "train": [{"sentence": sentence, "formula": "P(a)"} for sentence in both],
        "dev": [{"sentence": f"No {sentence}", "formula": "P(a)"} for sentence in both[:4]],
        "test": [{"sentence": f"All {both[n]}", "formula": "P(a)" if n % 2 else "Q(b)"} for n in range(4)],
    }
    words = ["train", "task=nl2fol", f"model={folder / 'base'}", "model.dtype=float32"]
    for name, rows in files.items():
        words.append(f"data.{name}={write_rows(folder / f'{name}.jsonl', rows)}")
    words += [
        "task.instruction=Go.",
        "task.notation=symbols",
        "method.rank=4",
        "method.dropout=0.1",
        "threads=1",
    ]
    # 15 steps of 2 micro-batches; the dev metric is 0 at step 4 and best at 12, which is not the last
    words += ["train.epochs=3", "train.batch_rows=6", "train.batch_tokens=200", "train.learning_rate=1e-2"]
    words += [
        "train.beta2=0.99",
        "train.warmup=1",
        "train.eval_steps=4",
        "train.save_steps=3",
        "train.select=best",
    ]
    words += ["train.trackers=[]", "decoding.max_new_tokens=4", "eval.resamples=100", "eval.few_shot=1"]
    return Project(folder, tuple(words))


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """The command line without its start-up; all of them share one cache."""
    client = Commands(tmp_path_factory.mktemp("cache"))
    yield client
    client.close()


@pytest.fixture(scope="session")
def trained(project: Project, commands: Commands) -> Path:
    """The directory of a run that nothing disturbed."""
    done = commands.run(*project.words, "run_dir=unbroken", cwd=project.folder)
    assert done.code == 0, done.stderr
    return project.folder / "unbroken"


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Any]:
    """vLLM, one engine a role."""
    from engines import Engines

    shared = Engines(tmp_path_factory.mktemp("engines"))
    request.config.stash[ENGINES] = shared
    yield shared
    shared.close()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """The engines end with the last test that may ask for one: the tests behind it need their memory."""
    last = item.get_closest_marker("vllm") and not (nextitem and nextitem.get_closest_marker("vllm"))
    if last and (shared := item.config.stash.get(ENGINES, None)):
        shared.close()


@pytest.fixture(scope="module")
def shared_vllm(engines: Any) -> Iterator[Any]:
    """Whoever makes a vLLM engine in this process gets one of the shared ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("appkit.serving.engines.vllm.VllmEngine", engines.vllm)
        yield engines


@pytest.fixture
def letters(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What an index embeds with, instead of a model."""
    from letters import Letters

    one = Letters()
    monkeypatch.setattr("appkit.rag.index.encoder", lambda name: one)
    return one
