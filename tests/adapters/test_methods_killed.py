"""Methods as users train them: a run that is killed and gone on with ends as the unbroken one, bit for bit.

`test_methods.py` cuts and resumes every method inside one process; here are those whose resumption differs in kind.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cases import KINDS, PACKAGE, Case, firsts, write_entry_points
from forked import Commands

from appkit.bundles.manifest import read_manifest
from conftest import Project


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Where the fixture package is found."""
    site = tmp_path_factory.mktemp("entry-points")
    write_entry_points(site)
    return [str(site), str(PACKAGE)]


def as_word(option: str, value: Any) -> str:
    return f"method.{option}={value if isinstance(value, str) else json.dumps(value)}"


@pytest.mark.parametrize(("name", "case"), firsts(names=KINDS))
def test_a_killed_run_ends_as_the_unbroken_one(
    name: str, case: Case, sites: list[str], project: Project, commands: Commands, tmp_path: Path
) -> None:
    words = [word for word in project.words if not word.startswith("method.")]
    words += [f"method={name}", *(as_word(*option) for option in case.options.items())]

    def run(*more: str, **disturbance: Any) -> tuple[int, str]:
        done = commands.run(*more, cwd=project.folder, sites=sites, **disturbance)
        return done.code, done.stderr

    unbroken, killed = tmp_path / "unbroken", tmp_path / "killed"
    code, stderr = run(*words, f"run_dir={unbroken}")
    assert code == 0, stderr
    # as the checkpoint of step 9 gets its name
    code, stderr = run(
        *words, f"run_dir={killed}", at={"path": r"os.rename .*step-0*9\b", "nth": 1, "do": "kill"}
    )
    assert code == -9, stderr
    saved = sorted(path.name for path in (killed / "checkpoints").glob("step-*"))
    assert saved
    assert saved[-1].endswith("8")
    code, stderr = run("train", "--resume", str(killed))
    assert code == 0, stderr
    assert "going on from step 8" in stderr
    for file in ("metrics.jsonl", "bundle/adapter_model.safetensors", "predictions.adapter.jsonl"):
        assert (killed / file).read_bytes() == (unbroken / file).read_bytes(), file
    assert read_manifest(killed / "bundle")["sha"] == read_manifest(unbroken / "bundle")["sha"]
