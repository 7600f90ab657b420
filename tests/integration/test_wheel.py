"""The built wheel holds everything that the source tree does, and works without it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)],
        check=True,
        capture_output=True,
        text=True,
    )
    return next(out.glob("appkit-*.whl"))


def test_files_are_inside(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    packages = {
        "appkit": ROOT / "appkit",
        "appkit_tasks": ROOT / "tasks/appkit_tasks",
        "appkit_apps": ROOT / "apps/appkit_apps",
        "appkit_data": ROOT / "data/appkit_data",
    }
    wanted = {
        f"{name}/{path.relative_to(folder)}"
        for name, folder in packages.items()
        for path in folder.rglob("*")
        if path.suffix in {".py", ".yaml", ".jsonl", ".lark", ".typed"}
        and not {"tests", "sources"} & set(path.parts)
    }
    assert len(wanted) > 60
    assert wanted <= inside, sorted(wanted - inside)
    assert not {name.split("/")[0] for name in inside} & {"tasks", "data", "apps", "tests"}


def test_it_runs_from_the_wheel_alone(wheel, tmp_path):
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--target",
            str(tmp_path / "site"),
            str(wheel),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    code = (
        "import appkit, appkit_data, sys; from appkit.config import load_run_config, presets;"
        "from appkit.plugins import load_task; from appkit.data.splits import load_splits;"
        "config = load_run_config(['task=nl2fol']);"
        "splits = load_splits(load_task('nl2fol'), config.task, config.data);"
        "print(appkit.__file__, len(splits.train), len(presets('model')), 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
    )
    path, rows, models, torch_loaded = done.stdout.split()
    assert path.startswith(str(tmp_path / "site"))
    assert int(rows) > 1000
    assert int(models) >= 8
    assert torch_loaded == "False"
