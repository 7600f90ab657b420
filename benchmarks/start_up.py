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

# -P: else the package of the current directory would be imported, whichever installation is asked
COMMANDS = (
    ("python", "-P", "-c", "import appkit"),
    ("appkit", "--help"),
    ("appkit", "train", "task=nl2fol", "--print-config"),
)


def start(folder: Path, program: str, *words: str) -> tuple[float, float]:
    """Runs a program of a folder: -> (seconds by the clock, seconds of a core)."""
    before, began = os.times(), time.perf_counter()
    subprocess.run([folder / program, *words], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - began, spent


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=11, help="of each command (default 11)")
    parser.add_argument(
        "--beside", type=Path, metavar="BIN", help="folder with another installation's programs"
    )
    options = parser.parse_args()
    if options.times < 1:
        parser.error(f"--times is {options.times}; give 1 or more")
    folders = [Path(sys.executable).parent, *([options.beside] if options.beside else [])]
    for folder in folders:
        if not os.access(folder / "appkit", os.X_OK):
            parser.error(f"{folder} holds no appkit; install it there, or give --beside the folder that does")
    for command in COMMANDS:
        times_of: dict[Path, list[tuple[float, float]]] = {folder: [] for folder in folders}
        for _ in range(options.times):
            for folder in folders:
                times_of[folder].append(start(folder, *command))
        for folder, seconds in times_of.items():
            clock, processor = (statistics.median(column) for column in zip(*seconds, strict=True))
            print(f"{' '.join(command):<40} {clock:.3f} s, {processor:.2f} s of a core  {folder}")


if __name__ == "__main__":
    main()
