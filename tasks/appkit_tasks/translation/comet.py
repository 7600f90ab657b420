"""Defines `appkit comet`: COMET scores of a run's translations, by `comet-score` in an environment of its own.

unbabel-comet needs transformers < 5 and numpy < 2 and is never imported here: it gets files, and gives JSON.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from appkit.errors import shortened
from appkit.task import Command, Outcome

__all__ = ["COMET", "CometOptions"]

FREE = ("wmt22-comet-da", "wmt20-comet-da", "wmt20-comet-qe-da", "eamt22-cometinho-da", "unite-mup")
"""Unbabel's models under Apache-2.0; XCOMET, CometKiwi and the other UniTE are CC BY-NC-SA"""
SETUP = (
    "python -m venv comet && comet/bin/pip install unbabel-comet==2.2.7; APPKIT_COMET=comet/bin/comet-score"
)

Rows = Sequence[Mapping[str, Any]]
"""lines of a file of predictions: input, reference and text of each row"""


class CometOptions(BaseModel):
    """Options of `appkit comet`."""

    run: Path = Field(description="run directory, or the folder of `appkit eval --to`")
    program: Path | None = Field(
        None, description="comet-score of an environment of its own; none: $APPKIT_COMET"
    )
    model: str = Field(FREE[0], description=f"of Unbabel's: {', '.join(FREE)} (Apache-2.0)")
    gpus: int = Field(0, ge=0, description="GPUs that it uses; 0: the CPU")


def score_run(options: CometOptions, _: Any, answer: Any) -> Outcome:
    """Scores every file of predictions on the run's test rows: the mean of each, with its interval.

    Raises ValueError for a missing program, a forbidden model, a run without predictions, and a program that fails.
    """
    import numpy as np

    from appkit.stats.intervals import bootstrap
    from appkit.task import row_mean

    model = options.model.removeprefix("Unbabel/")
    if model not in FREE:
        raise ValueError(
            f"model {shortened(model)} is not used: only those are whose licence allows every use "
            f"({', '.join(FREE)}); XCOMET and CometKiwi are non-commercial"
        )
    program = _find_program(options.program)
    systems = _read_predictions(options.run)
    lines = []
    for name, scores in _call_program(program, systems, f"Unbabel/{model}", options.gpus).items():
        mean = bootstrap(np.array(scores)[:, None], row_mean)
        lines.append(f"{name}: {mean.value:.4f} [{mean.low:.4f}, {mean.high:.4f}] (n = {mean.n})")
    note = f"Unbabel/{model} (Apache-2.0); means, 95 % percentile bootstrap over rows, not documents"
    return Outcome("\n".join(lines), (note,))


def _find_program(named: Path | None) -> Path:
    """Returns comet-score's absolute path. Raises ValueError if it is missing, or of this environment."""
    value = named or os.environ.get("APPKIT_COMET")
    if not value:
        raise ValueError(f"no COMET scorer is named by --program or APPKIT_COMET; set it up: {SETUP}")
    program = Path(os.path.abspath(value))
    if not (program.is_file() and os.access(program, os.X_OK)):
        raise ValueError(f"{program} is no program; set it up: {SETUP}")
    if program.parent == Path(sys.prefix, "bin"):
        raise ValueError(f"{program} is in appkit's own environment, which it breaks; set it up: {SETUP}")
    return program


def _read_predictions(run: Path) -> dict[str, Rows]:
    """Reads all files of predictions on the rows that the adapter was measured on: name -> rows, the adapter last."""
    systems: dict[str, Rows] = {}
    for file in sorted(run.glob("predictions.*.jsonl"), key=lambda file: ".adapter." in file.name):
        try:
            rows = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
            fields = [{key: row[key] for key in ("input", "reference", "text")} for row in rows]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file} holds no predictions ({error!r}); name another run") from None
        systems[file.name.removeprefix("predictions.").removesuffix(".jsonl")] = fields
    if not any(systems.values()):
        raise ValueError(f"{run} has no predictions; name a run directory, or a folder of appkit eval --to")
    measured = _list_sides([*systems.values()][-1])
    return {name: rows for name, rows in systems.items() if _list_sides(rows) == measured}


def _list_sides(rows: Rows) -> list[tuple[str, str]]:
    return [(row["input"], row["reference"]) for row in rows]


def _call_program(
    program: Path, systems: Mapping[str, Rows], model: str, gpus: int
) -> dict[str, list[float]]:
    """Runs comet-score once over all systems; returns the scores of each one's rows."""
    files = [f"{name}.txt" for name in systems]
    words = ["-s", "source", "-t", *files, "-r", "reference", "--model", model, "--gpus", str(gpus)]
    words += ["--quiet", "--only_system", "--to_json", "scores.json"]
    # it runs in another Python, for which our module paths are wrong
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    with tempfile.TemporaryDirectory(prefix="appkit-comet-") as place:
        folder = Path(place)
        for name, rows in systems.items():
            _write_lines(folder / "source", rows, "input")
            _write_lines(folder / "reference", rows, "reference")
            _write_lines(folder / f"{name}.txt", rows, "text")
        done = subprocess.run(
            [program, *words], cwd=folder, env=environment, capture_output=True, text=True, errors="replace"
        )
        if done.returncode:
            last = "".join(done.stderr.split("\n")[-2:]).strip() or "it said nothing"
            raise ValueError(f"{program} ended with {done.returncode}: {shortened(last)}")
        try:
            values = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
            scores = {name: [float(row["COMET"]) for row in values[f"{name}.txt"]] for name in systems}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{program} wrote no scores ({error!r}); is it comet-score 2.2?") from None
    for name, column in scores.items():
        if len(column) != len(systems[name]) or not all(map(math.isfinite, column)):
            raise ValueError(f"{program} gave no number for some rows of {name}; score fewer, or on a GPU")
    return scores


def _write_lines(path: Path, rows: Rows, field: str) -> None:
    """Writes a text a line, as comet-score reads them: with one blank for any run of white space."""
    path.write_text("".join(" ".join(row[field].split()) + "\n" for row in rows), encoding="utf-8")


COMET = Command(
    options=CometOptions,
    run=score_run,
    arguments=("run",),
    asks=False,
)
