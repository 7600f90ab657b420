"""Measures training beside other work: `python benchmarks/beside.py`, 5 minutes on 2 cores.

Prints tokens a second of `appkit train`, alone and beside processes that never pause. OpenMP's threads wait as appkit
sets it, and as libgomp would (each spins 300,000 times before it sleeps). Runs go one after the other, on a machine
that does nothing else.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from appkit.runs.events import Step, read_events

APPKIT = (sys.executable, "-c", "from appkit.cli.main import main; main()")
BUSY = (sys.executable, "-c", "while True: pass")
WAITING = {"appkit": {}, "libgomp": {"GOMP_SPINCOUNT": "300000"}}
QUICK = "task=nl2fol train=quick train.trackers=[] eval.rows=2 eval.quant_rows=0 eval.baseline=false"


def speed(model: str, rows: int, busy: int, waiting: dict[str, str]) -> int:
    """Measures tokens a second of a training of so many rows, beside so many processes."""
    with ExitStack() as processes, tempfile.TemporaryDirectory() as folder:
        for _ in range(busy):
            process = processes.enter_context(subprocess.Popen(BUSY, start_new_session=True))
            processes.callback(process.kill)
        words = [
            *APPKIT,
            "train",
            f"model={model}",
            *QUICK.split(),
            f"train.max_rows={rows}",
            f"run_dir={folder}/run",
        ]
        run = subprocess.run(
            words,
            check=False,
            env=os.environ | waiting,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        if run.returncode:
            raise SystemExit(run.stderr)
        events, _ = read_events(Path(folder) / "run", 0)
        return round([event.tokens_per_s for event in events if isinstance(event, Step)][-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--model", default="smollm2-135m", help="preset, hub id or directory")
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1], help="numbers of such processes")
    args = parser.parse_args()
    print("| busy processes beside it |", " | ".join(f"tokens/s, as {name} waits" for name in WAITING), "|")
    print("|---:|" + "---:|" * len(WAITING))
    for busy in args.busy:
        print(
            f"| {busy} |",
            *(f"{speed(args.model, args.rows, busy, waiting)} |" for waiting in WAITING.values()),
            flush=True,
        )


if __name__ == "__main__":
    main()
