"""`appkit comet` before a program that takes what comet-score 2.2.7 takes, and writes what it writes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from appkit_tasks.translation.comet import COMET, FREE, CometOptions

from appkit.cli.doctor import diagnose
from appkit.cli.main import main
from appkit.stats.intervals import bootstrap
from appkit.task import row_mean

# the options, the check of files, the stripped lines and the JSON are those of comet/cli/score.py of 2.2.7
PROGRAM = """#!{python}
import argparse, json, os, sys
parser = argparse.ArgumentParser()
parser.add_argument("-s", "--sources", type=open)
parser.add_argument("-t", "--translations", nargs="+")
parser.add_argument("-r", "--references", type=open)
parser.add_argument("-d", "--sacrebleu_dataset")
parser.add_argument("--batch_size", type=int, default=16)
parser.add_argument("--gpus", type=int, default=1)
parser.add_argument("--enable-context", action="store_true")
parser.add_argument("--quiet", action="store_true")
parser.add_argument("--only_system", action="store_true")
parser.add_argument("--to_json", default="")
parser.add_argument("--model", default="wmt20-comet-da")
parser.add_argument("--model_storage_path")
parser.add_argument("--num_workers", type=int)
for name in ("cache", "length_batching"):
    parser.add_argument("--disable_" + name, action="store_true")
parser.add_argument("--print_cache_info", action="store_true")
told = parser.parse_args()
if os.environ.get("FAIL"):
    sys.exit("OSError: " + told.model + " cannot be fetched")
assert not any(name.startswith("PYTHON") for name in os.environ)
sources = [line.strip() for line in told.sources]
references = [line.strip() for line in told.references]
data = {{}}
for file in told.translations:
    answers = [line.strip() for line in open(file)]
    data[file] = []
    for triple in zip(sources, answers, references):
        score = sum(a == b for a, b in zip(triple[1], triple[2])) / max(len(triple[2]), 1)
        data[file].append(dict(zip(("src", "mt", "ref"), triple)) | {{"COMET": score}})
    print(file + "\\tscore: " + str(sum(row["COMET"] for row in data[file]) / len(answers)))
with open(told.to_json, "w") as written:
    json.dump(data if not os.environ.get("SHORT") else {{file: data[file][1:] for file in data}}, written)
with open({log!r}, "w") as written:
    json.dump([told.model, told.gpus, data], written)
"""
ROWS = [
    ("Open\nit", "Ouvrez-le", "Ouvrez-la"),
    ("Close", "Fermer", "Fermer"),
    ("Save", "Garder", "Enregistrer"),
]


@pytest.fixture
def program(tmp_path: Path) -> Path:
    place = tmp_path / "comet" / "bin" / "comet-score"
    place.parent.mkdir(parents=True)
    place.write_text(PROGRAM.format(python=sys.executable, log=str(tmp_path / "log.json")), encoding="utf-8")
    place.chmod(0o755)
    return place


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with its adapter, its base, and rows of eval.general, which are others."""
    folder = tmp_path / "run"
    folder.mkdir()
    for name, rows in {
        "adapter": ROWS,
        "base": [(source, reference, "") for source, reference, _ in ROWS],
        "general-after": ROWS[:1],
    }.items():
        lines = [
            {"input": source, "reference": reference, "text": text, "line": 1}
            for source, reference, text in rows
        ]
        file = folder / f"predictions.{name}.jsonl"
        file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return folder


def score(run: Path, **options: Any) -> Any:
    return COMET.run(CometOptions(run=run, **options), None, None)


def test_the_mean_of_each_system_comes_with_its_interval_and_the_model(
    run: Path, program: Path, tmp_path: Path
) -> None:
    outcome = score(run, program=program, model="Unbabel/wmt20-comet-da")
    expected = bootstrap(np.array([[8 / 9], [1], [1 / 6]]), row_mean)
    assert outcome.text.splitlines() == [
        "base: 0.0000 [0.0000, 0.0000] (n = 3)",
        f"adapter: {expected.value:.4f} [{expected.low:.4f}, {expected.high:.4f}] (n = 3)",
    ]
    assert outcome.notes[0].startswith(
        "Unbabel/wmt20-comet-da (Apache-2.0); means, 95 % percentile bootstrap"
    )
    model, gpus, data = json.loads((tmp_path / "log.json").read_text())
    assert (model, gpus) == ("Unbabel/wmt20-comet-da", 0)
    assert {name: len(rows) for name, rows in data.items()} == {"base.txt": 3, "adapter.txt": 3}
    assert data["adapter.txt"][0] | {"COMET": 0} == {
        "src": "Open it", "mt": "Ouvrez-la", "ref": "Ouvrez-le", "COMET": 0,
    }  # fmt: skip


def stopped(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: Any) -> str:
    """Runs the command line; returns its one line of an error."""
    monkeypatch.setattr(sys, "argv", ["appkit", "comet", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_what_cannot_be_scored_is_one_line_and_exit_2(
    run: Path,
    program: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("APPKIT_COMET", raising=False)
    told = stopped(capsys, monkeypatch, run)
    assert told.startswith(
        "error: no COMET scorer is named by --program or APPKIT_COMET; set it up: python -m venv"
    )
    monkeypatch.setenv("APPKIT_COMET", str(tmp_path / "none"))
    assert f"{tmp_path / 'none'} is no program" in stopped(capsys, monkeypatch, run)
    assert "in appkit's own environment" in stopped(capsys, monkeypatch, run, "--program", sys.executable)
    monkeypatch.setenv("APPKIT_COMET", str(program))
    for model in ("Unbabel/XCOMET-XL", "wmt22-cometkiwi-da", "Unbabel/wmt22-unite-da", "other/model"):
        told = stopped(capsys, monkeypatch, run, "--model", model)
        assert "only those are whose licence allows every use (wmt22-comet-da, " in told
    assert "has no predictions; name a run" in stopped(capsys, monkeypatch, tmp_path)
    monkeypatch.setenv("FAIL", "1")
    told = stopped(capsys, monkeypatch, run)
    assert told == (f"error: {program} ended with 1: 'OSError: Unbabel/wmt22-comet-da cannot be fetched'")
    monkeypatch.delenv("FAIL")
    monkeypatch.setenv("SHORT", "1")
    assert "gave no number for some rows of base" in stopped(capsys, monkeypatch, run)
    (run / "predictions.adapter.jsonl").write_text('{"input": "a"}\n')
    assert "predictions.adapter.jsonl holds no predictions (KeyError('reference'))" in stopped(
        capsys, monkeypatch, run
    )


def test_only_models_under_apache_are_offered() -> None:
    assert not any(word in name for name in FREE for word in ("kiwi", "xcomet", "XCOMET", "wmt22-unite"))
    assert FREE[0] == CometOptions(run=Path()).model


def test_the_doctor_tells_of_the_scorer(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def examined() -> Any:
        return next(check for check in diagnose() if check.name == "comet")

    monkeypatch.delenv("APPKIT_COMET", raising=False)
    missing = examined()
    assert missing.state == "info"
    assert "XCOMET and CometKiwi are non-commercial" in missing.detail
    assert [line.split()[0] for line in missing.mend.splitlines()] == ["python", "export"]
    monkeypatch.setenv("APPKIT_COMET", str(tmp_path / "none"))
    assert examined().state == "fault"
    monkeypatch.setenv("APPKIT_COMET", str(program))
    (tmp_path / "comet" / "lib/python3.11/site-packages/unbabel_comet-2.2.7.dist-info").mkdir(parents=True)
    found = examined()
    assert found.state == "ok"
    assert found.detail.startswith(
        f"{program}, 2.2.7; models whose licence allows it: wmt22-comet-da is Apache-2.0"
    )
