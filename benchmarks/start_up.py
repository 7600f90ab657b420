"""Measures the seconds until a command answers: `python benchmarks/start_up.py`.

The program starts the import of the package, `appkit --help` and the settings of a run, each in a process of its own,
in turn. With `--beside PYTHON` it starts those of another installation in the same turns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

MAIN = "from appkit.cli.main import main; main()"
COMMANDS = {
    "import appkit": ["import appkit"],
    "appkit --help": [MAIN, "--help"],
    "appkit train task=nl2fol --print-config": [MAIN, "train", "task=nl2fol", "--print-config"],
}


def start(python: str, words: list[str]) -> tuple[float, float]:
    """Returns the seconds by the clock, and those of the processor."""
    before, began = os.times(), time.perf_counter()
    subprocess.run([python, "-c", *words], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - began, spent


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=11, help="of each command (default 11)")
    parser.add_argument("--beside", type=Path, metavar="PYTHON", help="of another installation")
    options = parser.parse_args()
    pythons = [sys.executable, *([str(options.beside)] if options.beside else [])]
    for name, words in COMMANDS.items():
        times_of: dict[str, list[tuple[float, float]]] = {python: [] for python in pythons}
        for _ in range(options.times):
            for python in pythons:
                times_of[python].append(start(python, words))
        for python, seconds in times_of.items():
            clock, processor = (statistics.median(column) for column in zip(*seconds, strict=True))
            print(f"{name:<40} {clock:.3f} s, {processor:.2f} s of a core  {python}")


if __name__ == "__main__":
    main()
