"""Measures label heads beside their baselines: `python benchmarks/classification.py --data DIR --write`.

DIR holds `classification/{banking77,snips,trec6}/train.jsonl` and `ner/{wnut17,wikigold}/train.jsonl` (SNIPS rows carry
slot tags too). A tenth of each file is dev and a tenth test, carved by hash; the files' own test sides are not used.
Every contender learns from the same rows; those that choose settings choose them on the same dev rows.
`--side dev --with train.learning_rate=3e-4` measures other settings on the dev side. A run takes minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tables import table

SETS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "trec6": ("classification", "classification/trec6/train.jsonl", {"max_rows": 2000}),
    "snips": ("classification", "classification/snips/train.jsonl", {"max_rows": 1500}),
    "banking77": ("classification", "classification/banking77/train.jsonl", {"max_rows": 3000}),
    "wnut17": ("ner", "ner/wnut17/train.jsonl", {"max_rows": 1500}),
    "wikigold": ("ner", "ner/wikigold/train.jsonl", {"max_rows": 1200}),
    "snips slots": ("ner", "classification/snips/train.jsonl", {"max_rows": 1500}),
}
TEST_ROWS = 500


@dataclass(frozen=True)
class Run:
    """One contender on one data set: its metrics by name, and the seconds of fitting and answering.

    settings: those that are not the default, as KEY=VALUE words.
    """

    data: str
    contender: str
    seed: int
    metrics: dict[str, float]
    seconds: float
    side: str = "test"
    settings: str = ""


@dataclass(frozen=True)
class Settings:
    """Holds what is the same for every run of a call."""

    data: Path
    side: str
    overrides: tuple[str, ...]
    baselines: str


def carve(task: str, file: Path, folder: Path) -> dict[str, str]:
    """Writes train, dev and test rows as files of their own; runs on the dev side read no test row."""
    from appkit.config import DataConfig, build_run_config
    from appkit.data.splits import load_splits
    from appkit.plugins import load_task

    columns = {"tags": "ner_tags"} if task == "ner" else {}
    config = DataConfig(train=str(file), columns=columns, test_share=0.1, dev_share=0.1)
    splits = load_splits(load_task(task), build_run_config({"task": task}).task, config)
    paths = {}
    for side in ("train", "dev", "test"):
        path = folder / f"{side}.jsonl"
        rows = (record.value.model_dump(exclude_none=True) for record in getattr(splits, side))
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        paths[side] = str(path)
    return paths


def runs_of(
    name: str, attention: str, seed: int, settings: Settings, folder: Path, compared: bool
) -> list[Run]:
    """Trains a head; when `compared`, also measures its baselines."""
    import appkit
    from appkit.config import merge_over, parse_overrides

    task, file, train = SETS[name]
    folder = folder / f"{name.replace(' ', '-')}-{attention}-{seed}"
    folder.mkdir(parents=True)
    data = carve(task, settings.data / file, folder)
    values = {
        "task": task,
        "seed": seed,
        "head": {"attention": attention},
        "method": {"rank": 12},
        "data": {**data, "test": data[settings.side]},
        "train": {"name": "quick", "max_tokens": None, "trackers": [], **train},
        "eval": {
            "baseline": compared,
            "baselines": settings.baselines if compared else "quick",
            "quant_rows": 0,
            "rows": TEST_ROWS,
            "resamples": 200,
        },
        "run_dir": str(folder / "run"),
    }
    began = time.monotonic()
    result = appkit.train(
        **merge_over(values, parse_overrides(settings.overrides)),
        say=lambda line: print(f"  {line}", file=sys.stderr),
    )
    runs = []
    state = json.loads((result.run_dir / "run.json").read_text(encoding="utf-8"))
    for who, summary in state["results"].items():
        metrics = {key: score["value"] for key, score in summary["metrics"].items()}
        contender = f"LS {attention}" if who == "adapter" else who
        seconds = time.monotonic() - began if who == "adapter" else summary["seconds"]
        words = " ".join(settings.overrides)
        runs.append(Run(name, contender, seed, metrics, round(seconds, 1), settings.side, words))
    return runs


def markdown(runs: list[Run]) -> str:
    """Writes a table for each data set: mean over seeds, and how far the seeds are apart."""
    parts = []
    for name, side, settings in dict.fromkeys((run.data, run.side, run.settings) for run in runs):
        runs_of_table = [run for run in runs if (run.data, run.side, run.settings) == (name, side, settings)]
        metrics = list(dict.fromkeys(metric for run in runs_of_table for metric in run.metrics))
        rows = []
        for contender in dict.fromkeys(run.contender for run in runs_of_table):
            runs_of_contender = [run for run in runs_of_table if run.contender == contender]
            cells = [
                _cell([run.metrics[metric] for run in runs_of_contender if metric in run.metrics])
                for metric in metrics
            ]
            rows.append(
                [
                    contender,
                    str(len(runs_of_contender)),
                    *cells,
                    f"{sum(run.seconds for run in runs_of_contender) / len(runs_of_contender):.0f}",
                ]
            )
        title = ", ".join(part for part in (name, f"{side} side" if side != "test" else "", settings) if part)
        parts.append(f"## {title}\n\n{table(['contender', 'seeds', *metrics, 's'], rows)}\n")
    return "\n".join(parts)


def _cell(values: list[float]) -> str:
    if not values:
        return "no value"
    mean = sum(values) / len(values)
    return f"{mean:.3f}" + (f" ± {(max(values) - min(values)) / 2:.3f}" if len(values) > 1 else "")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder with the data sets")
    parser.add_argument("--sets", default=",".join(SETS), help=f"of {', '.join(SETS)}")
    parser.add_argument("--attention", default="causal,unmasked")
    parser.add_argument("--seeds", type=int, default=1, help="0 to N - 1")
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--side", choices=("test", "dev"), default="test", help="what is measured")
    parser.add_argument(
        "--with", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="over the settings"
    )
    parser.add_argument(
        "--baselines", choices=("none", "quick", "all"), default="all", help="with the first run of each set"
    )
    parser.add_argument(
        "--results", type=Path, help="JSON lines to add to; what is there already is not run again"
    )
    parser.add_argument(
        "--write",
        nargs="?",
        type=Path,
        const=Path(__file__).with_suffix(".tables.md"),
        help="file for the tables",
    )
    options = parser.parse_args()
    settings = Settings(options.data, options.side, tuple(options.settings), options.baselines)
    lines = []
    if options.results and options.results.exists():
        lines = options.results.read_text(encoding="utf-8").splitlines()
    runs = [Run(**json.loads(line)) for line in lines]
    done = {(run.data, run.contender, run.seed, run.side, run.settings) for run in runs}
    with tempfile.TemporaryDirectory(prefix="appkit-bench-") as folder:
        for seed in range(options.seeds) if options.seed is None else (options.seed,):
            for name in options.sets.split(","):
                for number, attention in enumerate(options.attention.split(",")):
                    if (name, f"LS {attention}", seed, settings.side, " ".join(settings.overrides)) in done:
                        continue
                    compared = number == seed == 0 and settings.baselines != "none"
                    print(f"{name}, {attention}, seed {seed}", file=sys.stderr)
                    new = runs_of(name, attention, seed, settings, Path(folder), compared)
                    runs += new
                    for run in new:
                        print(
                            f"{run.data:12} {run.contender:12} {run.metrics} {run.seconds} s", file=sys.stderr
                        )
                    if options.results:
                        with options.results.open("a", encoding="utf-8") as handle:
                            handle.writelines(json.dumps(asdict(run)) + "\n" for run in new)
    text = markdown(runs)
    print(text)
    if options.write:
        options.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
