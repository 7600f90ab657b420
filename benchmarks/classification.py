"""Label heads beside their baselines on real data: `python benchmarks/classification.py --data DIR --write`.

DIR holds `classification/{banking77,snips,trec6}/train.jsonl` and `ner/{wnut17,wikigold}/train.jsonl` (SNIPS rows carry
slot tags too). A tenth of each file is dev and a tenth test, carved by hash; the files' own test sides are not looked
at. Every contender learns from the same rows; what has something to choose, chooses it on the same dev rows. Quick
settings: minutes on two cores, for each run.
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
    """One contender on one data set: its metrics by name, seconds of fitting and answering."""

    data: str
    contender: str
    seed: int
    metrics: dict[str, float]
    seconds: float


def runs_of(
    name: str, attention: str, seed: int, baselines: str | None, folder: Path, root: Path
) -> list[Run]:
    """A head trained, and with `baselines` what stands beside it."""
    import appkit

    task, file, train = SETS[name]
    columns = {"tags": "ner_tags"} if task == "ner" else {}
    began = time.monotonic()
    result = appkit.train(
        task=task,
        seed=seed,
        head={"attention": attention},
        method={"rank": 12},
        data={"train": str(root / file), "columns": columns, "test_share": 0.1, "dev_share": 0.1},
        train={"name": "quick", "max_tokens": None, "trackers": [], **train},
        eval={
            "baseline": baselines is not None,
            "baselines": baselines or "quick",
            "quant_rows": 0,
            "rows": TEST_ROWS,
            "resamples": 200,
        },
        run_dir=str(folder / f"{name.replace(' ', '-')}-{attention}-{seed}"),
        say=lambda line: print(f"  {line}", file=sys.stderr),
    )
    found = []
    state = json.loads((result.run_dir / "run.json").read_text(encoding="utf-8"))
    for who, summary in state["results"].items():
        metrics = {key: one["value"] for key, one in summary["metrics"].items()}
        contender = f"LS {attention}" if who == "adapter" else who
        seconds = time.monotonic() - began if who == "adapter" else summary["seconds"]
        found.append(Run(name, contender, seed, metrics, round(seconds, 1)))
    return found


def markdown(runs: list[Run]) -> str:
    """A table for each data set: mean over seeds, and how far the seeds are apart."""
    parts = []
    for name in dict.fromkeys(run.data for run in runs):
        own = [run for run in runs if run.data == name]
        metrics = list(own[0].metrics)
        rows = []
        for contender in dict.fromkeys(run.contender for run in own):
            these = [run for run in own if run.contender == contender]
            cells = [_cell([run.metrics[metric] for run in these]) for metric in metrics]
            rows.append(
                [contender, str(len(these)), *cells, f"{sum(run.seconds for run in these) / len(these):.0f}"]
            )
        parts.append(f"## {name}\n\n{table(['contender', 'seeds', *metrics, 's'], rows)}\n")
    return "\n".join(parts)


def _cell(values: list[float]) -> str:
    mean = sum(values) / len(values)
    return f"{mean:.3f}" + (f" ± {(max(values) - min(values)) / 2:.3f}" if len(values) > 1 else "")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder with the data sets")
    parser.add_argument("--sets", default=",".join(SETS), help=f"of {', '.join(SETS)}")
    parser.add_argument("--attention", default="causal,unmasked")
    parser.add_argument("--seeds", type=int, default=1)
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
    asked = parser.parse_args()
    kept = (
        asked.results.read_text(encoding="utf-8").splitlines()
        if asked.results and asked.results.exists()
        else []
    )
    runs = [Run(**json.loads(line)) for line in kept]
    with tempfile.TemporaryDirectory(prefix="appkit-bench-") as folder:
        for seed in range(asked.seeds):
            for name in asked.sets.split(","):
                for number, attention in enumerate(asked.attention.split(",")):
                    if any(
                        (run.data, run.contender, run.seed) == (name, f"LS {attention}", seed) for run in runs
                    ):
                        continue
                    with_baselines = (
                        asked.baselines if number == seed == 0 and asked.baselines != "none" else None
                    )
                    print(f"{name}, {attention}, seed {seed}", file=sys.stderr)
                    new = runs_of(name, attention, seed, with_baselines, Path(folder), asked.data)
                    runs += new
                    for run in new:
                        print(
                            f"{run.data:12} {run.contender:12} {run.metrics} {run.seconds} s", file=sys.stderr
                        )
                    if asked.results:
                        with asked.results.open("a", encoding="utf-8") as handle:
                            handle.writelines(json.dumps(asdict(run)) + "\n" for run in new)
    text = markdown(runs)
    print(text)
    if asked.write:
        asked.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
